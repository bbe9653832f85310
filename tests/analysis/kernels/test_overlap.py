"""The overlap of two densities against the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.neighbors import KernelDensity
from tests.analysis.kernels.test_separation import cells, samples

from actrace.analysis.kernels.curve import reference_bandwidth
from actrace.analysis.kernels.overlap import overlap, rung
from actrace.store.axis import Asinh, Axis, Linear


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("n", [300, 3000, 100_000])
@pytest.mark.parametrize("axis", [Asinh(), Linear(-20, 20, 400)])
def test_overlap_of_two_normals_is_the_known_one(axis: Axis, n: int, gap: float) -> None:
    rng = np.random.default_rng(n)
    yes, no = rng.normal(gap, 1, n), rng.normal(0, 1, 3 * n)
    found, error = overlap(cells(yes, axis), cells(no, axis), axis.edges)
    assert 0 < error < 0.3 + 0.7 * found
    assert found == pytest.approx(2 * norm.cdf(-gap / 2), abs=2.0 * n**-0.5 + 0.004)


@pytest.mark.parametrize("gap", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("axis", [Asinh(), Linear(-20, 20, 400), Linear(-20, 20, 40)])
def test_overlap_lies_within_its_own_bound_of_scikit_learns_on_the_samples(
    axis: Axis, gap: float
) -> None:
    yes, no = samples(gap)
    found, error = overlap(cells(yes, axis), cells(no, axis), axis.edges)
    grid = np.linspace(-20, 20, 8001)
    curves = [
        np.exp(
            KernelDensity(
                bandwidth=float(rung(reference_bandwidth(cells(x, axis)[1:-1], axis.edges)))
            )
            .fit(x[:, None])
            .score_samples(grid[:, None])
        )
        for x in (yes, no)
    ]
    expected = np.trapezoid(np.minimum(*curves), grid)
    assert abs(found - expected) <= error
    assert abs(found - expected) < (0.2 if axis.n_bins == 40 else 0.01)


def test_overlap_of_many_is_that_of_each() -> None:
    axis = Asinh()
    yes = np.stack([cells(samples(gap, 1)[0], axis) for gap in (0.0, 2.0, 5.0, 0.5)])
    no = np.stack([cells(samples(gap, 2)[1] * (1 + gap), axis) for gap in (0.0, 2.0, 5.0, 0.5)])
    yes[1] = 0
    together = overlap(yes.reshape(2, 2, -1), no.reshape(2, 2, -1), axis.edges)
    for i in range(4):
        each = overlap(yes[i], no[i], axis.edges)
        np.testing.assert_allclose([t.ravel()[i] for t in together], each, rtol=1e-12)


def test_overlap_counts_what_lies_outside_the_axis() -> None:
    axis = Linear(-1, 1, 20)
    yes = np.r_[np.full(50, 5.0), np.full(50, 0.5)]
    no = np.r_[np.full(30, 5.0), np.full(70, -0.8)]
    found, _ = overlap(cells(yes, axis), cells(no, axis), axis.edges)
    assert found == pytest.approx(0.3, abs=0.01)
    out = np.full(4, 9.0)
    # Nobody knows where beyond the axis the elements lie.
    assert overlap(cells(out, axis), cells(out, axis), axis.edges) == (1.0, 1.0)
    assert np.isnan(overlap(np.zeros(22), cells(no, axis), axis.edges)).all()
