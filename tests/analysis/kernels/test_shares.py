"""Intervals of shares and their differences, against SciPy and the published figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from actrace.analysis.kernels.shares import behind, outscored, wilson


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.999]))
def test_the_interval_of_a_share_is_scipys(n: int, part: float, confidence: float) -> None:
    x = round(n * part)
    expected = binomtest(x, n).proportion_ci(confidence, method="wilson")
    low, high = wilson(x, n, confidence)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
    assert np.isnan(wilson(0, 0)).all()


def test_the_bound_of_a_difference_joins_the_exact_limits() -> None:
    # Newcombe's own example. Two classes, so each is asked at half of 0.05.
    gap, at_least = behind([48, 56], [80, 70], 0.95)
    assert gap[0] == pytest.approx(56 / 70 - 48 / 80)
    own, rest = (binomtest(x, n).proportion_ci(0.95) for x, n in ((48, 80), (56, 70)))
    assert at_least[0] == pytest.approx(0.2 - np.hypot(0.8 - rest.low, own.high - 0.6))


def test_equal_classes_are_called_behind_no_more_often_than_agreed() -> None:
    rng = np.random.default_rng(0)
    for n, p in ((20, 0.9), (100, 0.98), (200, 0.6), (1000, 0.98)):
        hits = rng.binomial(n, p, (2000, 10))
        _, at_least = behind(hits, np.full(10, n), 0.95)
        assert (at_least > 0).any(axis=-1).mean() < 0.06, (n, p)


def test_a_class_that_is_behind_is_found_with_enough_samples_alone() -> None:
    samples = np.full(10, 200)
    hits = np.full(10, 190)
    hits[3] = 150
    assert (behind(hits, samples)[1] > 0).tolist() == [i == 3 for i in range(10)]
    assert not (behind(hits // 20, samples // 20)[1] > 0).any()


def test_a_class_without_samples_is_nowhere() -> None:
    gap, at_least = behind([0, 9, 3], [0, 10, 10])
    assert np.isnan([gap[0], at_least[0]]).all()
    assert np.isfinite([gap[1:], at_least[1:]]).all()


def test_outscored_is_the_share_of_pairs_in_which_the_other_is_above() -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(2, 1, 200_000), rng.normal(1, 2, 200_000)
    found = outscored(own.mean(), own.std(), other.mean(), other.std())
    assert found == pytest.approx((other > own).mean(), abs=0.005)
    assert found == pytest.approx(norm.cdf(-1 / np.sqrt(5)), abs=0.005)
    assert outscored(1.0, 0.0, 2.0, 0.0) == 1.0
    assert outscored(1.0, 0.0, 1.0, 0.0) == 0.5
    assert np.isnan(outscored(np.nan, 1.0, 0.0, 1.0))
