"""Jensen-Shannon and Wasserstein, against SciPy, and their laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from actrace.analysis.kernels.divergence import (
    DISTANCES,
    distances,
    hellinger,
    jensen_shannon,
    jensen_shannon_by_chance,
    kolmogorov_smirnov,
    wasserstein,
)
from actrace.store.axis import Asinh, Linear

EDGES = np.array([-3.0, -1.0, 0.0, 0.5, 2.0, 7.0])
counts = st.lists(st.integers(0, 1000), min_size=7, max_size=7).filter(any)


@given(counts, counts)
def test_jensen_shannon_is_scipys_distance_squared(p, q) -> None:
    expected = jensenshannon(p, q, base=2) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-9)


@given(counts, counts, counts)
def test_they_are_symmetric_zero_for_the_same_and_obey_the_triangle(p, q, r) -> None:
    for distance in (
        lambda a, b: np.sqrt(jensen_shannon(a, b)),
        lambda a, b: wasserstein(a, b, EDGES),
        hellinger,
        kolmogorov_smirnov,
    ):
        assert distance(p, q) == pytest.approx(distance(q, p))
        assert distance(p, p) == pytest.approx(0, abs=1e-7)
        assert distance(p, r) <= distance(p, q) + distance(q, r) + 1e-7


@given(counts, counts)
def test_wasserstein_is_scipys_with_the_mass_spread_over_each_bin(p, q) -> None:
    fine = 400
    middle = np.concatenate(
        [a + (b - a) * (np.arange(fine) + 0.5) / fine for a, b in itertools.pairwise(EDGES)]
    )
    places = np.concatenate([[EDGES[0]], middle, [EDGES[-1]]])

    def weights(c: list[int]) -> np.ndarray:
        return np.concatenate([[c[0]], np.repeat(np.array(c[1:-1]) / fine, fine), [c[-1]]])

    expected = wasserstein_distance(places, places, weights(p), weights(q))
    assert wasserstein(p, q, EDGES) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("axis", [Asinh(), Linear(-20, 20, 400)])
def test_wasserstein_is_that_of_the_samples_within_a_bin(axis) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, 2000), rng.normal(0.7, 2, 3000)
    cells = [np.pad(np.histogram(v, axis.edges)[0], 1) for v in (x, y)]
    width = np.diff(axis.edges)
    bound = sum((c[1:-1] * width).sum() / c.sum() for c in cells) / 2
    assert abs(wasserstein(*cells, axis.edges) - wasserstein_distance(x, y)) <= bound


def test_they_work_over_leading_dims_and_say_nan_for_nothing() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.integers(0, 50, (2, 3, 7)), rng.integers(0, 50, (2, 3, 7))
    p[1, 2] = 0
    js, w = jensen_shannon(p, q), wasserstein(p, q, EDGES)
    assert js.shape == w.shape == (2, 3)
    assert np.isnan(js[1, 2])
    assert np.isnan(w[1, 2])
    assert js[0, 1] == jensen_shannon(p[0, 1], q[0, 1])
    assert w[0, 1] == wasserstein(p[0, 1], q[0, 1], EDGES)


def test_chance_is_what_samples_of_one_distribution_show() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.full(60, 5.0))
    first, second = rng.multinomial(5000, p, 300), rng.multinomial(9000, p, 300)
    shown = jensen_shannon(first, second).mean()
    assert jensen_shannon_by_chance(first, second).mean() == pytest.approx(shown, rel=0.05)


@given(counts, counts)
def test_hellinger_and_kolmogorov_smirnov_are_those_of_the_expanded_samples(p, q) -> None:
    x, y = (np.repeat(np.arange(7), c) for c in (p, q))
    assert kolmogorov_smirnov(p, q) == pytest.approx(ks_2samp(x, y).statistic)
    roots = np.sqrt(np.array(p) / sum(p)) - np.sqrt(np.array(q) / sum(q))
    assert hellinger(p, q) == pytest.approx(np.linalg.norm(roots) / np.sqrt(2), abs=1e-7)


def test_nothing_has_no_distance_to_anything() -> None:
    for distance in (hellinger, kolmogorov_smirnov, jensen_shannon):
        assert np.isnan(distance(np.zeros(3), np.ones(3)))


@given(st.lists(st.lists(st.integers(0, 9), min_size=7, max_size=7), min_size=1, max_size=9))
def test_all_four_at_once_are_each_alone(rows) -> None:
    """Also of nothing."""
    p = np.array(rows, np.uint64)
    q = np.roll(p, 1, axis=-1)
    found = dict(zip(DISTANCES, distances(p, q[::-1], EDGES), strict=True))
    alone = {
        "jensen_shannon": jensen_shannon(p, q[::-1]),
        "wasserstein": wasserstein(p, q[::-1], EDGES),
        "kolmogorov_smirnov": kolmogorov_smirnov(p, q[::-1]),
        "hellinger": hellinger(p, q[::-1]),
    }
    for name, want in alone.items():
        np.testing.assert_array_equal(found[name], want, err_msg=name)


def test_many_histograms_at_once_are_each_pair_alone() -> None:
    rng = np.random.default_rng(2)
    p, q = rng.integers(0, 50, (2, 3, 200, 7))
    p[..., 4:] = 0
    for found, name in zip(distances(p, q, EDGES), DISTANCES, strict=True):
        assert found.shape == (3, 200)
        one = distances(p[2, 150], q[2, 150], EDGES)[DISTANCES.index(name)]
        np.testing.assert_array_equal(found[2, 150], one)
