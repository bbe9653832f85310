"""What another draw of a layer's units would do, against samples."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import jensenshannon

from actrace.analysis.comparison.noise import redrawn

EDGES = np.linspace(-4, 4, 33)


def histogram(x: np.ndarray) -> np.ndarray:
    return np.bincount(np.digitize(x, EDGES), minlength=len(EDGES) + 1)


def cells(*rows: np.ndarray) -> xr.DataArray:
    layers = [str(i) for i in range(len(rows))]
    counts = np.stack([histogram(row) for row in rows])[:, None].astype(np.uint64)
    return xr.DataArray(counts, dims=("layer", "position", "cell"), coords={"layer": layers})


@pytest.mark.parametrize("units", [1, 4, 64])
def test_it_is_the_distance_to_the_samples_moved_by_their_standard_error(units: int) -> None:
    x = np.random.default_rng(0).normal(0.3, 0.5, 400_000)
    found = float(redrawn(cells(x), np.array([units]), EDGES)[0, 0])
    moved = x + x.std() * np.sqrt(2 / units)
    expected = jensenshannon(histogram(x), histogram(moved), base=2) ** 2
    # Within a bin a normal distribution is not even, and neither is a moment of its middles.
    assert found == pytest.approx(expected, rel=0.1, abs=1e-3)


def test_spikes_are_far_from_where_they_would_stand_and_smooth_layers_are_not() -> None:
    rng = np.random.default_rng(1)
    smooth, spikes = rng.normal(0, 1, 4000), np.repeat(rng.normal(0, 1, 8), 500)
    found = redrawn(cells(smooth, spikes), np.array([8, 8]), EDGES)[:, 0]
    assert found[0] < 0.1
    assert found[1] > 0.5


def test_nobody_knows_of_layers_without_units_and_the_empty_have_no_distance() -> None:
    x = np.random.default_rng(2).normal(0, 1, 100)
    found = redrawn(cells(x, x[:0]), np.array([0, 8]), EDGES)[:, 0]
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert np.isnan(found[1])
