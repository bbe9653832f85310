"""Answers by epoch of a thinned run are those of the whole one, or one clear error."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr
from tests.store.rewriting import thinning

import actrace
from actrace.analysis.charts.colorful.data import colorful_data
from actrace.analysis.charts.peaks.twin_peaks_data import twin_peaks_data
from actrace.analysis.thinned import count_over
from actrace.errors import ThinnedError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a whole run and the same thinned, all but one layer of one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 64)
        attributes = {"output_layer": "layer2"}
        whole = thinning.write_run(folder / "a", attributes=attributes)
        thin = actrace.thin_run(whole, folder / "b", keep_epochs=1, keep_layers="layer1").path
    with actrace.open(whole) as one, actrace.open(thin) as two:
        yield one, two


@pytest.mark.parametrize(
    "ask",
    [
        actrace.twin_peaks,
        actrace.rates,
        lambda run: actrace.divergence(run, null=False),
        lambda run: actrace.divergence(
            run, window="epoch", layers=["layer2", "layer0"], null=False
        ),
        lambda run: actrace.find_peaks(run, window=(32, 112), phases="train"),
        actrace.find_peaks,
        lambda run: actrace.find_peaks(run, layer="layer1", window="epoch"),
    ],
)
def test_what_is_asked_by_epoch_is_as_it_was(runs, ask):
    whole, thin = runs
    xr.testing.assert_identical(ask(thin).compute(), ask(whole).compute())


def test_a_null_band_needs_the_batches(runs):
    whole, thin = (actrace.divergence(run, layers="layer0").compute() for run in runs)
    gone = thin["null_windows"] == 0
    assert gone.any()
    assert np.isnan(thin["wasserstein_null"].where(gone, drop=True)).all()
    for name in thin:
        if not name.endswith("_null") and name != "null_windows":
            xr.testing.assert_identical(thin[name], whole[name])


def test_the_twin_peaks_of_a_layer_are_as_they_were(runs):
    whole, thin = (twin_peaks_data(run, layer="layer0") for run in runs)
    xr.testing.assert_identical(thin, whole)


def test_a_picture_of_the_whole_run_is_its_level(runs):
    whole, thin = runs
    mine = colorful_data(thin, layer="layer0")
    right = colorful_data(whole, layer="layer0", max_columns=13)
    assert mine.attrs["batches_per_column"] == 16
    n = mine.sizes["column"]
    assert n == 12  # the last batches are in no column
    np.testing.assert_array_equal(mine["elements"], right["elements"][:n])
    assert mine["count"].sum() > 0


def test_a_picture_of_what_was_kept_is_of_its_batches(runs):
    whole, thin = runs
    options = {"layer": "layer1", "batches": (50, 100)}
    xr.testing.assert_identical(colorful_data(thin, **options), colorful_data(whole, **options))


def test_a_window_that_ends_within_a_column_is_refused(runs):
    _, thin = runs
    with pytest.raises(ThinnedError, match="a multiple of 16"):
        count_over(thin, "train", np.array([0]), {0: slice(0, 20)})


def test_what_a_repair_lost_of_the_level_is_no_answer(runs, tmp_path):
    _, thin = runs
    path = shutil.copytree(thin.directory, tmp_path / "a.zarr")
    (path / "levels/train/x16/count/c/0/0/0").unlink()
    actrace.repair(path, in_place=True)
    with actrace.open(path) as run, pytest.raises(ThinnedError, match="was lost since"):
        actrace.divergence(run, window="epoch")


def test_a_sum_is_lazy_and_right_however_layers_are_asked(runs):
    whole, thin = runs
    parts = {0: slice(0, 50), 3: np.array([0, *range(64, 80), 199])[1:]}
    right = whole["train"]["count"].values
    for layers in (np.array([2, 1]), np.array([1]), 1, 0):
        found = count_over(thin, "train", layers, parts)
        assert found.chunks is not None
        for at, part in enumerate(parts.values()):
            np.testing.assert_array_equal(
                found.values[..., at], right[layers][..., part].sum(-1), err_msg=str(layers)
            )
