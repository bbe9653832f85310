"""Rebinning and density, against numpy.interp and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actrace.analysis.kernels.density import (
    cumulative,
    density,
    occupied_range,
    overlap_matrix,
    rebin,
)
from actrace.store.axis import Asinh

widths = st.lists(st.floats(0.01, 10), min_size=1, max_size=12)


def edges_of(start: float, steps: list[float]) -> NDArray[np.float64]:
    return start + np.concatenate([[0.0], np.cumsum(steps)])


def slow_rebin(count: NDArray, edges: NDArray, grid: NDArray) -> NDArray:
    below = np.concatenate([[0.0], np.cumsum(count)])
    return np.diff(np.interp(grid, edges, below))


@given(widths, widths, st.floats(-20, 20), st.floats(-20, 20), st.data())
def test_rebin_interpolates_the_cumulative_count(steps, cells, start, first, data) -> None:
    edges, grid = edges_of(start, steps), edges_of(first, cells)
    count = np.array(
        data.draw(st.lists(st.integers(0, 10**6), min_size=len(steps), max_size=len(steps)))
    )
    np.testing.assert_allclose(
        rebin(count, edges, grid), slow_rebin(count, edges, grid), rtol=1e-6, atol=1e-4
    )


@given(widths, widths, st.data())
def test_rebin_keeps_the_mass_on_a_grid_that_covers_the_bins(steps, cells, data) -> None:
    edges, grid = edges_of(0.0, steps), edges_of(0.0, cells)
    grid = grid * (edges[-1] / grid[-1])
    grid[-1] = edges[-1]
    count = np.array(
        data.draw(st.lists(st.integers(0, 2**32), min_size=len(steps), max_size=len(steps)))
    )
    moved = rebin(count, edges, np.concatenate([[-1.0], grid, [grid[-1] + 1]]))
    assert (moved >= 0).all()
    np.testing.assert_allclose(moved.sum(), count.sum(), rtol=1e-12)


@given(widths, st.data())
def test_rebin_to_its_own_bins_changes_nothing(steps, data) -> None:
    edges = edges_of(-3.0, steps)
    count = np.array(
        data.draw(st.lists(st.integers(0, 2**40), min_size=len(steps), max_size=len(steps)))
    )
    np.testing.assert_array_equal(rebin(count, edges, edges), count)


def test_rebin_works_along_any_axis_for_all_layers_and_batches_at_once() -> None:
    rng = np.random.default_rng(0)
    edges, grid = Asinh(bins=32).edges, np.linspace(-50, 900, 41)
    count = rng.integers(0, 100, (3, 32, 7)).astype(np.uint32)
    moved = rebin(count, edges, grid, axis=1)
    assert moved.shape == (3, 40, 7)
    for layer in range(3):
        for batch in range(7):
            np.testing.assert_allclose(
                moved[layer, :, batch], slow_rebin(count[layer, :, batch], edges, grid), atol=1e-9
            )


def test_a_grid_away_from_the_bins_gets_nothing() -> None:
    np.testing.assert_array_equal(rebin([5, 5], [0, 1, 2], [7, 8, 9]), [0, 0])


def test_density_is_that_of_numpy_histogram() -> None:
    rng = np.random.default_rng(1)
    edges = Asinh().edges
    count = np.histogram(rng.normal(0, 2, 5000), edges)
    expected = np.histogram(rng.normal(0, 2, 0), edges)[0]
    np.testing.assert_array_equal(density(expected, edges), np.zeros(512))
    values = rng.normal(0, 2, 5000)
    count = np.histogram(values, edges)[0]
    np.testing.assert_allclose(density(count, edges), np.histogram(values, edges, density=True)[0])


def test_density_on_a_grid_integrates_to_one_and_to_less_with_overflow() -> None:
    edges, grid = Asinh().edges, np.linspace(-1000, 1000, 301)
    count = np.histogram(np.random.default_rng(2).normal(0, 2, 900), edges)[0]
    assert (density(count, edges, grid) * np.diff(grid)).sum() == pytest.approx(1)
    assert (density(count, edges, grid, total=1000) * np.diff(grid)).sum() == pytest.approx(0.9)


def test_density_and_range_work_over_batches() -> None:
    count = np.zeros((2, 4, 3))
    count[0, 1, 0] = count[1, 2, 2] = 4
    edges = np.array([0.0, 1, 3, 4, 5])
    assert occupied_range(count, edges, axis=1) == (1.0, 4.0)
    np.testing.assert_array_equal(density(count, edges, axis=1)[0, :, 0], [0, 0.5, 0, 0])


def test_occupied_range_may_leave_stray_elements_out() -> None:
    count, edges = [1, 0, 500, 499, 0, 1], np.arange(7.0)
    assert occupied_range(count, edges) == (0.0, 6.0)
    assert occupied_range(count, edges, trim=0.01) == (2.0, 4.0)
    assert np.isnan(occupied_range([0] * 6, edges)).all()


def test_cumulative_starts_at_zero_along_any_axis() -> None:
    count = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(cumulative(count, axis=0), [[0, 0], [0, 1], [2, 4], [6, 9]])


@pytest.mark.parametrize(
    ("edges", "message"),
    [([0, 1, 1], "increase"), ([0], "2 or more"), ([0, np.nan, 2], "increase")],
)
def test_edges_that_make_no_bins_are_refused(edges, message) -> None:
    with pytest.raises(ValueError, match=message):
        overlap_matrix(edges, [0, 1])


def test_edges_that_do_not_fit_the_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold the 3 bins"):
        rebin([1, 2], [0, 1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="trim"):
        occupied_range([1, 2], [0, 1, 2], trim=0.7)
