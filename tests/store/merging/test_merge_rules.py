"""The rules by which ranks merge: exact, associative, with an identity."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from actrace.store.merging import rules

SOME = st.lists(
    hnp.arrays(np.float64, st.integers(0, 6), elements=st.integers(-64, 64).map(lambda i: i / 8)),
    min_size=1,
    max_size=5,
)


def moments(values):
    """Return n, mean and std as the store has them: NaN where there is no element."""
    if not len(values):
        return np.array(0), np.array(np.nan), np.array(np.nan)
    return np.array(len(values)), np.mean(values), np.std(values)


def extremes(values):
    return (np.min(values), np.max(values)) if len(values) else (np.nan, np.nan)


def merged(parts):
    """Return n, mean and std of parts that are such triples."""
    n, mean, std = zip(*parts, strict=True)
    return (rules.total(n), *rules.merge_moments(n, list(mean), list(std)))


@given(SOME)
def test_moments_of_parts_are_those_of_the_whole(parts):
    got, want = merged([moments(part) for part in parts]), moments(np.concatenate(parts))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-7)
    assert int(got[0]) == int(want[0])


@given(SOME, st.integers(0, 5))
def test_moments_merge_in_any_grouping_and_nothing_changes_nothing(parts, cut):
    triples = [moments(part) for part in parts]
    whole = merged(triples)
    grouped = [merged(some) for some in (triples[:cut], triples[cut:]) if some]
    np.testing.assert_allclose(merged(grouped), whole, rtol=1e-12, atol=1e-7)
    one_by_one = reduce(lambda a, b: merged([a, b]), triples)
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-12, atol=1e-7)
    nothing = moments(np.zeros(0))
    np.testing.assert_allclose(merged([nothing, *triples, nothing]), whole, rtol=1e-12)


@given(SOME)
def test_extremes_of_parts_are_those_of_the_whole(parts):
    low, high = (np.array(side) for side in zip(*map(extremes, parts), strict=True))
    np.testing.assert_array_equal(
        [rules.smallest(list(low)), rules.largest(list(high))], extremes(np.concatenate(parts))
    )
    np.testing.assert_array_equal(rules.smallest([*low, np.float64("nan")]), rules.smallest([*low]))


@given(SOME)
def test_a_norm_of_pieces_is_that_of_the_whole(parts):
    norms = [np.array(np.linalg.norm(part) if len(part) else np.nan) for part in parts]
    whole = np.concatenate(parts)
    want = np.linalg.norm(whole) if len(whole) else np.nan
    np.testing.assert_allclose(rules.root_of_squares(norms), want, rtol=1e-12)


@given(SOME)
def test_weighted_means_of_parts_are_that_of_the_whole(parts):
    n, mean, _ = zip(*map(moments, parts), strict=True)
    whole = np.concatenate(parts)
    want = whole.mean() if len(whole) else np.nan
    np.testing.assert_allclose(rules.weighted_mean(n, list(map(np.array, mean))), want, atol=1e-9)


@given(
    parts=st.lists(
        hnp.arrays(np.uint32, 4, elements=st.integers(0, 2**32 - 1)), min_size=1, max_size=5
    )
)
def test_counts_add_up_beyond_32_bits(parts):
    want = [sum(int(part[i]) for part in parts) for i in range(4)]
    assert rules.total(parts).tolist() == want
    assert rules.total([rules.total(parts), np.zeros(4, np.uint32)]).tolist() == want


def test_a_value_comes_from_the_first_that_is_there():
    held = [np.array([True, False, False]), np.array([True, True, False])]
    parts = [np.array([1.0, 2.0, np.nan]), np.array([3.0, 4.0, 5.0])]
    np.testing.assert_array_equal(rules.first_held(held, parts), [1.0, 4.0, np.nan])


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=6).map(np.array),
    seed=st.integers(0, 99),
)
def test_runs_of_windows_are_pooled_as_their_elements_are(lengths, seed):
    rng = np.random.default_rng(seed)
    windows = [rng.normal(3, 2, rng.integers(0, 5)) for _ in range(lengths.sum())]
    n, mean, std = (np.array(side, float) for side in zip(*map(moments, windows), strict=True))
    ends = np.cumsum(lengths)
    want = [
        moments(np.concatenate(windows[end - length : end]))
        for end, length in zip(ends, lengths, strict=True)
    ]
    got = rules.pooled_moments(n, mean, std, lengths)
    whole = rules.sum_runs(n, lengths)
    for i, (number, centre, spread) in enumerate(want):
        assert whole[i] == number
        if number:
            np.testing.assert_allclose([got[0][i], got[1][i]], [centre, spread], atol=1e-9)
        else:
            assert np.isnan(got[0][i])
            assert np.isnan(got[1][i])


def test_runs_of_32_bit_counts_do_not_wrap():
    assert rules.sum_runs(np.full(2, 2**32 - 1, np.uint32), np.array([2])).tolist() == [2**33 - 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_are_worked_out_in_float64(dtype):
    mean = [np.array(1e4, dtype), np.array(1e4 + 1, dtype)]
    got = rules.merge_moments([1, 1], mean, [np.array(0, dtype)] * 2)
    assert got[0].dtype == got[1].dtype == np.float64
    assert got[1] == 0.5
