"""Sums over stretches, however they overlap, are those of NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actrace.analysis.kernels.sums import sums_of

N = 24


@st.composite
def part(draw: st.DrawFn) -> slice | np.ndarray:
    if draw(st.booleans()):
        start, stop = sorted(draw(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1))))
        return slice(start, stop + 1)
    return np.array(sorted(draw(st.sets(st.integers(0, N - 1), min_size=1))))


@given(
    arrays(np.uint32, (3, N), elements=st.integers(0, 2**32 - 1)),
    st.lists(part(), max_size=6),
    st.sampled_from([np.uint32, np.uint64]),
)
def test_each_part_is_summed_exactly(values, parts, dtype):
    found = sums_of(values.astype(dtype), parts)
    assert found.shape == (3, len(parts))
    assert found.dtype == np.uint64
    for at, one in enumerate(parts):
        expected = [sum(row) for row in values[:, one].tolist()]
        assert found[:, at].tolist() == expected


def test_a_sum_that_32_bits_just_hold_and_one_that_they_do_not():
    for value in (2**32 // 4 - 1, 2**32 // 4, 2**32 - 1):
        found = sums_of(np.full((1, 4), value, np.uint32), [slice(0, 4)])
        assert found.tolist() == [[4 * value]]
