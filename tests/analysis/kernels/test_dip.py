"""The dip of binned counts against the package diptest on samples, and against its definition."""

from __future__ import annotations

import diptest
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from actrace.analysis.kernels.dip import dip


def expanded(count: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return samples that lie evenly in their bins."""
    return np.concatenate(
        [
            left + (np.arange(n) + 0.5) / n * (right - left)
            for n, left, right in zip(count, edges[:-1], edges[1:], strict=True)
            if n
        ]
    )


def by_definition(count: np.ndarray, edges: np.ndarray) -> float:
    """Return the least distance from a function convex before a mode and concave after it."""
    f = np.concatenate([[0], np.cumsum(count)]) / count.sum()
    n, width = len(f), np.diff(edges)
    best = np.inf
    for mode in range(n):
        # Unknown: the function at each edge, and the distance d.
        rows, limits = [], []
        for i in range(n):
            for sign in (1, -1):
                row = np.zeros(n + 1)
                row[i], row[-1] = sign, -1
                rows.append(row)
                limits.append(sign * f[i])
        for i in range(1, n - 1):
            bend = np.zeros(n + 1)
            bend[i - 1 : i + 2] = [1 / width[i - 1], -1 / width[i - 1] - 1 / width[i], 1 / width[i]]
            if i != mode:
                rows.append(bend if i > mode else -bend)
                limits.append(0)
        goal = np.append(np.zeros(n), 1)
        best = min(best, linprog(goal, rows, limits, bounds=[(None, None)] * (n + 1)).fun)
    return best


counts = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any)


@given(counts, st.integers(0, 2**32))
def test_it_is_that_of_samples_that_lie_evenly_in_their_bins(count, seed) -> None:
    edges = np.cumsum(np.random.default_rng(seed).uniform(0.1, 2, len(count) + 1))
    found, _ = dip(count, edges)
    samples = expanded(np.array(count), edges)
    assert found == pytest.approx(diptest.dipstat(samples), abs=0.5 / len(samples) + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, edges = rng.integers(0, 20, 7), np.cumsum(rng.uniform(0.2, 2, 8))
    assert dip(count, edges)[0] == pytest.approx(by_definition(count, edges), abs=1e-9)


@pytest.mark.parametrize("gap", [0, 2, 4, 8])
def test_that_of_the_raw_values_lies_within_its_error(gap: int) -> None:
    rng = np.random.default_rng(gap)
    x = rng.normal(0, 1, 2000) + gap * (rng.random(2000) < 0.3)
    edges = np.sinh(np.linspace(-3, 4, 65))
    found, error = dip(np.histogram(x, edges)[0], edges)
    assert abs(found - diptest.dipstat(x)) <= error
    assert error < 0.1


@given(counts, st.integers(1, 50))
def test_it_knows_no_number_and_no_side(count, times) -> None:
    edges = np.arange(len(count) + 1.0) ** 1.5
    found, error = dip(count, edges)
    assert 0 <= found <= 0.25 + 1e-12
    assert dip(np.array(count) * times, edges) == pytest.approx((found, error))
    assert dip(count[::-1], -edges[::-1])[0] == pytest.approx(found, abs=1e-12)


def test_one_peak_has_none_and_nothing_no_answer() -> None:
    assert dip([1, 3, 9, 9, 4, 0, 0], np.arange(8.0))[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(dip([0, 0], [0, 1, 2])).all()
