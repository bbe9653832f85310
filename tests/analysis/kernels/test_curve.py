"""The smooth curve, against a kernel density of the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gaussian_kde, norm

from actrace.analysis.kernels.curve import binned_quantile, reference_bandwidth, smooth_density
from actrace.store.axis import Asinh, Linear


def test_the_curve_is_the_kernel_density_of_the_samples() -> None:
    x = np.random.default_rng(0).normal(1, 2, 3000)
    axis = Linear(-12, 12, 4000)
    curve = smooth_density(np.histogram(x, axis.edges)[0], axis.edges, bandwidth=0.3)
    reference = gaussian_kde(x, bw_method=0.3 / x.std(ddof=1))(curve.centers)
    np.testing.assert_allclose(curve.value, reference, atol=0.01 * reference.max())


def test_the_bandwidth_is_silvermans() -> None:
    x = np.random.default_rng(1).normal(0, 3, 4000)
    axis = Linear(-20, 20, 8000)
    iqr = np.subtract(*np.quantile(x, [0.75, 0.25]))
    expected = 0.9 * min(x.std(), iqr / 1.34) * 4000**-0.2
    found = reference_bandwidth(np.histogram(x, axis.edges)[0], axis.edges)
    assert found == pytest.approx(expected, rel=2e-3)


def test_a_point_mass_does_not_set_the_bandwidth_of_the_rest() -> None:
    x = np.maximum(np.random.default_rng(2).normal(0, 1, 20_000), 0)
    axis = Asinh()
    with_zeros = reference_bandwidth(np.histogram(x, axis.edges)[0], axis.edges)
    without = reference_bandwidth(np.histogram(x[x > 0], axis.edges)[0], axis.edges)
    assert with_zeros == pytest.approx(without, rel=0.01)


def test_few_strays_beside_a_point_mass_do_not_blur_it() -> None:
    x = np.concatenate([np.zeros(100_000), [-50.0, 50.0]])
    axis = Asinh()
    curve = smooth_density(np.histogram(x, axis.edges)[0], axis.edges)
    assert curve.bandwidth < 0.01
    assert curve.grid[0] > -1
    assert curve.grid[-1] < 1


@pytest.mark.parametrize("scale", [0.01, 1, 100])
@pytest.mark.parametrize("n", [300, 100_000])
def test_the_curve_follows_a_normal_density_on_the_default_axis(scale: float, n: int) -> None:
    x = np.random.default_rng(3).normal(0, scale, n)
    axis = Asinh()
    curve = smooth_density(np.histogram(x, axis.edges)[0], axis.edges)
    width = np.diff(curve.grid)
    assert (curve.value * width).sum() == pytest.approx(1, abs=2e-3)
    missed = np.abs(curve.value - norm.pdf(curve.centers, 0, scale)) * width
    assert missed.sum() / 2 < 0.5 * n**-0.25


def test_heights_follow_the_total_and_the_grid_is_the_callers() -> None:
    axis = Linear(0, 10, 100)
    count = np.histogram(np.random.default_rng(4).normal(5, 1, 500), axis.edges)[0]
    grid = np.linspace(-5, 15, 81)
    curve = smooth_density(count, axis.edges, grid=grid, total=5000)
    np.testing.assert_array_equal(curve.grid, grid)
    assert (curve.value * np.diff(grid)).sum() == pytest.approx(0.1, abs=1e-6)


def test_an_empty_count_gives_a_flat_curve() -> None:
    curve = smooth_density(np.zeros(100), Linear(0, 1, 100).edges)
    assert not curve.value.any()
    assert curve.bandwidth == 0


def test_quantiles_are_those_of_the_samples_within_a_bin() -> None:
    x = np.random.default_rng(5).exponential(2, 10_000)
    axis = Linear(0, 60, 6000)
    q = np.linspace(0.01, 0.95, 21)
    found = binned_quantile(np.histogram(x, axis.edges)[0], axis.edges, q)
    np.testing.assert_allclose(found, np.quantile(x, q), atol=0.02)
    assert np.isnan(binned_quantile(np.zeros(6000), axis.edges, [0.5])).all()
