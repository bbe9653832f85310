"""d', AUC and best threshold against the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from actrace.analysis.kernels.separation import auc, best_threshold, d_prime
from actrace.store.axis import Asinh, Axis, Linear

counts = st.lists(st.integers(0, 1000), min_size=7, max_size=7)


def cells(x: np.ndarray, axis: Axis) -> np.ndarray:
    """Counts with under- and overflow outermost."""
    inside = np.histogram(x, axis.edges)[0]
    return np.concatenate([[(x < axis.edges[0]).sum()], inside, [(x > axis.edges[-1]).sum()]])


def samples(gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(gap, 1.3, 700), rng.normal(0, 1, 4000)


@pytest.mark.parametrize("axis", [Asinh(), Linear(-10, 10, 200), Linear(0, 1, 5)])
@pytest.mark.parametrize("gap", [0.0, 1.0, 4.0])
def test_auc_lies_within_its_own_bound_of_scikit_learns(axis: Axis, gap: float) -> None:
    yes, no = samples(gap)
    area, error = auc(cells(yes, axis), cells(no, axis))
    labels = np.r_[np.ones(len(yes)), np.zeros(len(no))]
    expected = roc_auc_score(labels, np.r_[yes, no])
    assert abs(area - expected) <= error + 1e-12
    assert error < (0.3 if axis.n_bins == 5 else 0.02)


@given(counts, counts)
def test_auc_of_no_over_yes_is_the_rest(yes: list[int], no: list[int]) -> None:
    first, error = auc(yes, no)
    second, same = auc(no, yes)
    if sum(yes) and sum(no):
        assert first + second == pytest.approx(1)
        assert error == pytest.approx(same)
        assert 0 <= first <= 1
    else:
        assert np.isnan(first)
        assert np.isnan(second)


@pytest.mark.parametrize("gap", [0.5, 2.0])
def test_the_threshold_is_as_good_as_the_best_of_the_samples(gap: float) -> None:
    yes, no = samples(gap)
    axis = Linear(-10, 10, 4000)
    threshold, j, error = best_threshold(cells(yes, axis), cells(no, axis), axis.edges)
    labels = np.r_[np.ones(len(yes)), np.zeros(len(no))]
    false, true, _ = roc_curve(labels, np.r_[yes, no])
    best = (true - false).max()
    assert j - 1e-12 <= best <= j + error + 1e-12
    assert error < 0.02
    assert (yes >= threshold).mean() - (no >= threshold).mean() == pytest.approx(j, abs=0.004)


def test_the_threshold_of_parted_peaks_lies_in_the_middle_of_the_gap() -> None:
    axis = Linear(-10, 10, 20)
    yes, no = np.full(50, 4.5), np.full(70, -4.5)
    threshold, j, _ = best_threshold(cells(yes, axis), cells(no, axis), axis.edges)
    assert (threshold, j) == (0.0, 1.0)


def test_the_threshold_works_over_leading_dims_and_says_nan_for_nothing() -> None:
    axis = Linear(-10, 10, 20)
    yes = np.stack([cells(np.full(5, 4.5), axis), np.zeros(22)])
    no = np.stack([cells(np.full(5, 0.5), axis)] * 2)
    threshold, j, _ = best_threshold(yes, no, axis.edges)
    assert threshold[0] == 2.5
    assert np.isnan(threshold[1])
    assert np.isnan(j[1])


def test_d_prime_is_the_gap_by_the_common_spread() -> None:
    yes, no = samples(3.0)
    expected = (yes.mean() - no.mean()) / np.sqrt((yes.var() + no.var()) / 2)
    assert d_prime(yes.mean(), no.mean(), yes.std(), no.std()) == pytest.approx(expected)
    assert np.isnan(d_prime(1.0, 0.0, 0.0, 0.0))
