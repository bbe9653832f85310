"""A picture of a long run is drawn from its levels, and is the same picture."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.store.levels.test_levels import write

from actrace.analysis.charts.colorful.data import colorful_layers
from actrace.analysis.charts.grammar import columns as columns_module
from actrace.analysis.charts.grammar.columns import Columns, at_level, choose_columns
from actrace.store.levels import ladder
from actrace.store.reader import open_run


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "FEWEST", 1)
        return write(tmp_path_factory.mktemp("pictures") / "a", 640)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Pictures of few columns are drawn from levels too."""
    monkeypatch.setattr(columns_module, "FINE", 2)


@pytest.mark.parametrize(
    ("max_columns", "batches"), [(40, None), (10, None), (5, (0, 576)), (10, (32, 288))]
)
def test_the_picture_is_that_of_the_batches(path, monkeypatch, max_columns, batches):
    with open_run(path) as run:
        drawn = list(colorful_layers(run, max_columns=max_columns, batches=batches))
        assert drawn[0].attrs["batches_per_column"] >= 16
        monkeypatch.setattr(type(run), "levels", lambda *_: {})
        for got, want in zip(
            drawn, colorful_layers(run, max_columns=max_columns, batches=batches), strict=True
        ):
            xr.testing.assert_allclose(got, want)
            np.testing.assert_array_equal(got["count"], want["count"])
            assert got.attrs == want.attrs


def test_few_batches_are_drawn_as_they_are(path):
    with open_run(path) as run:
        columns = choose_columns(640, 80)
        assert columns.width == 8
        assert at_level(run, "train", columns) == (1, columns)


def test_ends_lie_between_columns_of_the_level(path):
    with open_run(path) as run:
        assert at_level(run, "train", Columns(70, 639, 16)) == (16, Columns(64, 624, 16))
        assert at_level(run, "train", Columns(70, 639, 64)) == (64, Columns(64, 576, 64))


def test_a_level_of_which_a_picture_is_few_columns_is_too_coarse_for_it(path, monkeypatch):
    """Or the batches after its last whole column would be seen to be missing."""
    monkeypatch.setattr(columns_module, "FINE", 20)
    with open_run(path) as run:
        assert at_level(run, "train", Columns(0, 639, 64)) == (16, Columns(0, 624, 64))
        assert at_level(run, "train", Columns(0, 319, 64)) == (1, Columns(0, 319, 64))


def test_the_batches_are_not_read_where_a_level_is(path):
    count = path / "train" / "count"
    with open_run(path) as run:
        count.rename(count.with_name("elsewhere"))
        try:
            assert len(list(colorful_layers(run, max_columns=40))) == 3
        finally:
            count.with_name("elsewhere").rename(count)
