"""Movement, quantiles and lasting differences, against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actrace.analysis.kernels.divergence import jensen_shannon
from actrace.analysis.kernels.parting import (
    first_lasting,
    movement,
    shifted,
    upper_quantile,
    within,
)
from actrace.analysis.kernels.stretches import merge_stretches, sum_stretches


def test_movement_is_the_distance_to_each_neighbour_that_holds_anything() -> None:
    rng = np.random.default_rng(0)
    h = rng.integers(0, 50, (3, 7, 5))
    h[:, 2] = 0
    found = movement(h, 2, jensen_shannon)
    held = [0, 1, 3, 4, 5, 6]
    for layer in range(3):
        assert np.isnan(found[layer, 2]).all()
        for k, p in enumerate(held):
            near = [held[j] for j in (k - 2, k - 1, k + 1, k + 2) if 0 <= j < len(held)]
            expected = sorted(float(jensen_shannon(h[layer, p], h[layer, q])) for q in near)
            some = np.sort(found[layer, p])
            assert some[~np.isnan(some)] == pytest.approx(expected)


@given(arrays(np.float64, 9, elements=st.floats(0, 1)), st.floats(0.01, 1))
def test_the_quantile_is_the_smallest_value_that_so_many_reach(x, q) -> None:
    found = float(upper_quantile(np.append(x, np.nan), q))
    assert found in x
    assert (x <= found).mean() >= q - 1e-12
    assert (x < found).mean() < q


def test_the_quantile_of_few_values_is_the_largest_and_of_none_zero() -> None:
    assert upper_quantile(np.arange(20.0), 0.95) == 18
    assert upper_quantile(np.arange(19.0), 0.95) == 18
    assert upper_quantile(np.full((2, 3), np.nan), 0.5).tolist() == [0, 0]


def test_within_gathers_both_sides() -> None:
    x = np.arange(12.0).reshape(2, 6)
    found = within(x, 2)
    for p in range(6):
        near = x[:, max(0, p - 2) : p + 3]
        assert np.nansum(found[:, p], axis=-1) == pytest.approx(near.sum(axis=-1))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
    st.integers(1, 4),
)
def test_first_lasting_is_what_a_loop_finds(cells, patience) -> None:
    beyond = np.array([c[0] for c in cells], bool)
    known = np.array([c[1] for c in cells], bool)
    at = [i for i, c in enumerate(cells) if c[1]]
    expected = -1
    for k in range(len(at) - patience + 1):
        if all(beyond[i] for i in at[k : k + patience]):
            expected = at[k]
            break
    assert int(first_lasting(beyond, known, patience)) == expected


def test_stretches_are_what_all_their_elements_have_together() -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(i, 1 + i, int(n)) for i, n in enumerate(rng.integers(1, 9, 12))]
    parts[4] = np.array([])
    n = np.array([len(x) for x in parts])
    mean = np.array([x.mean() if len(x) else np.nan for x in parts])
    std = np.array([x.std() if len(x) else np.nan for x in parts])
    rate = np.where(n > 0, rng.random(12), np.nan)
    starts = [0, 3, 4, 5, 11]
    found = merge_stretches(n, n, mean, std, rate, rate, starts=starts)
    for i, (a, b) in enumerate(zip(starts, [*starts[1:], 12], strict=True)):
        x = np.concatenate(parts[a:b])
        if not len(x):
            assert all(np.isnan(values[i]) for values in found)
            continue
        assert found[0][i] == pytest.approx(x.mean())
        assert found[1][i] == pytest.approx(x.std())
        assert found[2][i] == pytest.approx(np.nansum(n[a:b] * rate[a:b]) / n[a:b].sum())
        assert found[3][i] == np.nanmin(rate[a:b])
    assert sum_stretches(n, starts=starts).tolist() == [
        int(n[a:b].sum()) for a, b in zip(starts, [*starts[1:], 12], strict=True)
    ]


EDGES = np.array([-2.0, -1.5, -0.5, 0.0, 1.0, 4.0])


@given(arrays(np.int64, (2, 7), elements=st.integers(0, 50)), st.floats(0, 20))
def test_moving_loses_nothing_and_moves_nothing_down(h: np.ndarray, by: float) -> None:
    found = shifted(h, EDGES, by)
    assert found.sum(axis=-1) == pytest.approx(h.sum(axis=-1))
    assert (found >= -1e-9).all()
    assert found[:, 0] == pytest.approx(h[:, 0])  # nobody knows how far below they lie
    assert (np.cumsum(found, -1) <= np.cumsum(h, -1) + 1e-9).all()
    assert shifted(h, EDGES, 0.0) == pytest.approx(h)


@given(arrays(np.int64, 7, elements=st.integers(0, 20)), st.floats(0, 7))
def test_moving_is_that_of_elements_that_lie_evenly_in_their_bins(h, by) -> None:
    h[0] = 0
    per_bin = 400
    where = [
        np.linspace(low, high, per_bin, endpoint=False) + (high - low) / per_bin / 2
        for low, high in itertools.pairwise(EDGES)
    ]
    expected = np.zeros(7)
    for n, places in zip(h[1:-1], where, strict=True):
        expected += n / per_bin * np.bincount(np.digitize(places + by, EDGES), minlength=7)
    expected[-1] += h[-1]
    assert shifted(h, EDGES, by) == pytest.approx(expected, abs=20 / per_bin * 5)
