"""How many peaks: never a false one, never a clear one missed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from actrace.analysis.kernels.peaks import (
    VISIBLE,
    Peaks,
    ashmans_d,
    bimodality_coefficient,
    peak_curve,
    peaks_of,
)
from actrace.store.axis import Asinh, Axis, Linear

Sampler = Callable[[np.random.Generator, int], NDArray[np.float64]]
SIZES = [1000, 10_000, 100_000]
SCALES = [0.01, 0.1, 1.0, 10.0, 100.0]


def peaks(x: NDArray, axis: Axis) -> Peaks:
    return peaks_of(np.histogram(x, axis.edges)[0], axis.edges)


def axes_for(x: NDArray) -> list[Axis]:
    """The default axis and linear ones, fine and coarse, that hold the samples."""
    pad = 0.1 * (x.max() - x.min())
    held = [Linear(x.min() - pad, x.max() + pad, bins) for bins in (60, 200, 1000)]
    return [Asinh(), *held]


def drawn_peaks(found: Peaks) -> int:
    """Peaks that one can see in the curve."""
    f = np.concatenate([[0.0], found.curve.value, [0.0]])
    return len(scipy.signal.find_peaks(f, prominence=VISIBLE * f.max())[0])


@pytest.mark.parametrize("n", [300, *SIZES])
@pytest.mark.parametrize("scale", SCALES)
def test_normal_samples_have_one_peak_whatever_scale_and_offset(scale: float, n: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, n])
        x = rng.normal(rng.choice([0, -2.5, 0.7, 3]) * scale, scale, n)
        for axis in axes_for(x):
            found = peaks(x, axis)
            assert len(found) == 1, (seed, axis)
            assert drawn_peaks(found) == 1, (seed, axis)
            assert abs(found.position[0] - x.mean()) < 0.5 * scale + 0.02 * abs(x.mean())


def test_a_million_normal_samples_have_one_peak() -> None:
    for scale in SCALES:
        x = np.random.default_rng(9).normal(scale, scale, 1_000_000)
        assert len(peaks(x, Asinh())) == 1
        assert len(peaks(x, Linear(-6 * scale, 8 * scale, 300))) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-2, 2),
    st.floats(-30, 30),
    st.integers(300, 5000),
    st.integers(0, 2**32),
)
def test_one_normal_is_one_peak_wherever_it_lies(log_scale, offset, n, seed) -> None:
    x = np.random.default_rng(seed).normal(offset, 10**log_scale, n)
    assert len(peaks(x, Asinh())) == 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_two_normals_six_deviations_apart_are_two_peaks(scale: float, share: float, n: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng([seed, n, 1])
        first = np.arange(n) < share * n
        start = rng.uniform(-6, 0) * scale
        x = rng.normal(0, scale, n) + start + 6 * scale * first
        for axis in axes_for(x):
            found = peaks(x, axis)
            assert len(found) == drawn_peaks(found) == 2, (seed, axis)
            np.testing.assert_allclose(found.mass, [1 - share, share], atol=0.02)
            np.testing.assert_allclose(found.position, [start, start + 6 * scale], atol=0.8 * scale)
            assert found.position[0] < found.valley < found.position[1]
            assert 0.4 < found.valley_depth <= 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(lambda r, n: r.uniform(-1, 3, n), id="uniform"),
        pytest.param(lambda r, n: r.exponential(1.0, n), id="exponential"),
        pytest.param(lambda r, n: r.exponential(50.0, n), id="wide exponential"),
        pytest.param(lambda r, n: r.laplace(0, 1, n), id="laplace"),
        pytest.param(lambda r, n: r.laplace(5, 20, n), id="wide laplace"),
        pytest.param(lambda r, n: r.standard_t(3, n), id="heavy tails"),
        pytest.param(lambda r, n: r.standard_t(1.5, n), id="heavier tails"),
        pytest.param(lambda r, n: r.lognormal(0, 1, n), id="heavy on one side"),
        pytest.param(lambda r, n: np.maximum(r.normal(0, 1, n), 0), id="ReLU"),
        pytest.param(lambda r, n: np.zeros(n), id="all zero"),
        pytest.param(lambda r, n: np.full(n, 0.73), id="constant"),
    ],
)
def test_one_sided_flat_heavy_and_pointlike_samples_have_one_peak(sampler: Sampler, n: int) -> None:
    for seed in range(4):
        x = sampler(np.random.default_rng([seed, n, 2]), n)
        found = peaks(x, Asinh())
        assert len(found) == drawn_peaks(found) == 1, seed


@pytest.mark.parametrize("n", [300, *SIZES])
def test_three_normals_well_apart_are_three_peaks(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(0, 1, n) + 8 * rng.integers(0, 3, n) - 8
    for axis in axes_for(x):
        assert len(peaks(x, axis)) == 3


@pytest.mark.parametrize("n", [10_000, 100_000])
@pytest.mark.parametrize(("distance", "spread"), [(8, 1), (12, 1), (12, 2)])
def test_one_in_a_hundred_far_above_is_a_peak(distance: float, spread: float, n: int) -> None:
    for seed in range(3):
        rng = np.random.default_rng([seed, n, 4])
        yes = np.arange(n) < n // 100
        x = rng.normal(distance * yes, np.where(yes, spread, 1))
        for axis in axes_for(x)[:3:2]:
            found = peaks(x, axis)
            assert len(found) == 2, (seed, axis)
            np.testing.assert_allclose(found.mass, [0.99, 0.01], atol=0.002)


@pytest.mark.parametrize("n", [1000, 100_000])
@pytest.mark.parametrize("distance", [0.0, 1.0, 1.9])
def test_two_equal_normals_merge_at_two_deviations(distance: float, n: int) -> None:
    # Holzmann and Vollmer (2008), AStA 92:57: their mixture has one mode up to 2.
    x = np.random.default_rng(n).normal(np.arange(n) % 2 * distance, 1)
    for axis in axes_for(x):
        assert len(peaks(x, axis)) == 1


def test_zeros_of_a_relu_and_what_lies_far_above_are_two_peaks() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([np.zeros(5000), rng.normal(4, 1, 5000)])
    found = peaks(x, Asinh())
    assert len(found) == 2
    np.testing.assert_allclose(found.mass, [0.5, 0.5], atol=0.01)


def test_nothing_counted_has_no_peak_and_one_element_has_one() -> None:
    axis = Linear(0, 1, 50)
    assert len(peaks(np.empty(0), axis)) == 0
    assert len(peaks(np.array([0.3]), axis)) == 1


def test_what_lies_outside_the_axis_adds_to_the_outer_peaks() -> None:
    rng = np.random.default_rng(4)
    axis = Linear(-10, 10, 200)
    count = np.histogram(
        np.concatenate([rng.normal(-5, 1, 900), rng.normal(5, 1, 100)]), axis.edges
    )[0]
    found = peaks_of(count, axis.edges, underflow=0, overflow=1000)
    np.testing.assert_allclose(found.mass, [0.45, 0.55], atol=0.001)


def test_peaks_are_those_of_the_curve_that_is_drawn() -> None:
    x = np.random.default_rng(5).normal(0, 1, 2000)
    axis = Asinh()
    count = np.histogram(x, axis.edges)[0]
    found, curve = peaks_of(count, axis.edges), peak_curve(count, axis.edges)
    np.testing.assert_array_equal(found.curve.value, curve.value)
    grid = np.linspace(-6, 6, 601)
    again = peak_curve(count, axis.edges, grid=grid, total=4000)
    at = np.interp(again.centers, curve.centers, curve.value)
    np.testing.assert_allclose(again.value, at / 2, atol=0.002)


def test_ashmans_d_is_that_of_the_samples_on_both_sides() -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.normal(-3, 1, 4000), rng.normal(4, 0.5, 1000)])
    axis = Linear(-10, 10, 2000)
    left, right = x[x < 1.003], x[x >= 1.003]
    expected = np.sqrt(2) * (right.mean() - left.mean()) / np.sqrt(left.var() + right.var())
    found = ashmans_d(np.histogram(x, axis.edges)[0], axis.edges, 1.003)
    assert found == pytest.approx(expected, rel=1e-3)
    assert np.isnan(ashmans_d(np.ones(5), np.arange(6.0), np.nan))


@pytest.mark.parametrize("seed", range(3))
def test_the_bimodality_coefficient_is_that_of_the_samples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.gamma(2.0, 1.0, 300), rng.normal(9, 1, 200)])
    n = len(x)
    g, k = skew(x, bias=False), kurtosis(x, bias=False)
    expected = (g**2 + 1) / (k + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    axis = Linear(-5, 20, 5000)
    found = bimodality_coefficient(np.histogram(x, axis.edges)[0], axis.edges)
    assert found == pytest.approx(expected, rel=1e-3)
    assert np.isnan(bimodality_coefficient([1, 1, 1], np.arange(4.0)))
