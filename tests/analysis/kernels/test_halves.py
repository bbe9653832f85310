"""Two groups of a histogram, against NumPy and scikit-learn on the samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from actrace.analysis.kernels.halves import top_gap, two_normals
from actrace.store.axis import Asinh, Linear


def samples(distance: float, share: float = 0.1, n: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(int(distance * 10))
    yes = rng.random(n) < share
    return rng.normal(distance * yes, np.where(yes, 1.5, 1.0))


@pytest.mark.parametrize("axis", [Asinh(), Linear(-12, 20, 2000)])
@pytest.mark.parametrize("distance", [5.0, 8.0])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_the_fit_is_scikit_learns_on_the_samples(axis, distance: float, share: float) -> None:
    x = samples(distance, share)
    start = np.array([[0.0], [distance]])
    expected = GaussianMixture(2, means_init=start, tol=1e-7, max_iter=500).fit(x[:, None])
    found = two_normals(np.histogram(x, axis.edges)[0], axis.edges)
    np.testing.assert_allclose(found.mean, expected.means_.ravel(), atol=0.05)
    np.testing.assert_allclose(found.std, np.sqrt(expected.covariances_.ravel()), rtol=0.03)
    assert found.share == pytest.approx(expected.weights_[1], rel=0.02)
    spread = np.sqrt(expected.covariances_.sum())
    distance_found = np.sqrt(2) * np.ptp(expected.means_) / spread
    assert found.ashmans_d == pytest.approx(distance_found, rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("distance", [0.0, 2.0, 6.0])
def test_the_gap_is_that_of_the_sorted_samples(share: float, distance: float) -> None:
    x = np.sort(samples(distance))
    cut = round((1 - share) * len(x))
    axis = Linear(-12, 20, 4000)
    found = top_gap(np.histogram(x, axis.edges)[0], axis.edges, share)
    assert found == pytest.approx(x[cut:].mean() - x[:cut].mean(), abs=0.005)


def test_nothing_and_one_bin_have_no_groups() -> None:
    assert two_normals(np.zeros(5), np.arange(6.0)) is None
    assert two_normals([0, 0, 7, 0, 0], np.arange(6.0)) is None
    assert np.isnan(top_gap(np.zeros(5), np.arange(6.0), 0.1))
    assert np.isnan(top_gap(np.ones(5), np.arange(6.0), np.nan))
