"""Any window of any layers, at the coarsest level that has the columns."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import xarray as xr
from tests.store import recording as rec
from tests.store.levels.test_levels import a_row, write

from actrace.errors import (
    DamagedRunError,
    LayerNotFoundError,
    NotRecordedError,
    PhaseNotFoundError,
)
from actrace.store.levels import ladder
from actrace.store.reader import open_run
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "FEWEST", 1)
        return write(tmp_path_factory.mktemp("window") / "a", 700)


@pytest.fixture
def run(path):
    with open_run(path) as found:
        yield found


@pytest.mark.parametrize(
    ("start", "stop", "width", "factor", "first", "columns"),
    [
        (0, None, 1000, 1, 0, 700),
        (0, None, 44, 1, 0, 700),
        (0, None, 43, 16, 0, 43),
        (0, None, 10, 64, 0, 10),
        (0, None, 2, 256, 0, 2),
        (0, None, 1, 256, 0, 2),
        (100, 420, 20, 16, 96, 21),
        (100, 420, 21, 1, 100, 320),
        (100, 420, 5, 64, 64, 6),
        (690, 9999, 1, 1, 690, 10),
        (650, 700, 3, 16, 640, 3),
        (700, 700, 5, 1, 700, 0),
    ],
)
def test_the_coarsest_level_that_has_the_columns(run, start, stop, width, factor, first, columns):
    found = run.window("train", start, stop, width=width)
    assert found.attrs["factor"] == factor
    assert found.sizes["batch"] == columns
    starts = first + factor * np.arange(columns)
    np.testing.assert_array_equal(found["first_batch"], starts)
    assert (found["batches"] == factor).all()
    whole = run["train"]["count"].values
    expected = [whole[..., at : at + factor].sum(-1) for at in starts]
    for at, want in enumerate(expected):
        np.testing.assert_array_equal(found["count"][..., at].values, want)


def test_a_window_is_lazy_and_names_its_layers(run):
    found = run.window("train", width=10, layers=["layer2", "layer0"])
    assert found["layer"].values.tolist() == ["layer2", "layer0"]
    assert found["count"].chunks is not None
    assert run.window("train", width=10, layers="layer1").sizes["layer"] == 1
    some = run.window("train", width=10, layers=["*2", "layer?"])
    assert some["layer"].values.tolist() == ["layer2", "layer0", "layer1"]
    assert found["bin_left"].values.tolist() == run["bin_left"].values.tolist()


def test_a_window_reads_its_level_alone(path):
    """Batches that are gone are not missed by a window of a level."""
    count = path / "train" / "count"
    with open_run(path) as run:
        count.rename(count.with_name("elsewhere"))
        try:
            run.window("train", width=40)["count"].load()
            with pytest.raises(DamagedRunError):
                run.window("train", width=400)["count"].load()
        finally:
            count.with_name("elsewhere").rename(count)


def test_a_level_that_is_behind_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "FEWEST", 1)
    path = write(tmp_path / "a", 128)
    monkeypatch.setattr(ladder.Ladder, "grow", lambda *_: None)
    writer = RunWriter.resume(path)
    writer.append_batches(rec.batch_rows([a_row(index) for index in range(128, 300)]))
    writer.close()
    with open_run(path) as run:
        assert run.levels("train") == {16: 8, 64: 2}
        assert run.window("train", width=4).attrs["factor"] == 1
        assert run.window("train", 0, 128, width=4).attrs["factor"] == 16
        assert run.window("train", 0, 130, width=1).attrs["factor"] == 64


def test_what_is_not_there_is_refused(run):
    with pytest.raises(PhaseNotFoundError):
        run.window("valid")
    with pytest.raises(PhaseNotFoundError):
        run.levels("valid")
    with pytest.raises(LayerNotFoundError, match="'fc' is not in this run; it has 'layer0'"):
        run.window("train", layers="fc")
    with pytest.raises(NotRecordedError, match="it has 16, 64, 256"):
        run.at_level("train", 32)
    for start, stop, width in ((-1, 5, 5), (0, 5, 0), (6, 5, 5), (701, None, 5)):
        with pytest.raises(ValueError, match="has 700 batches"):
            run.window("train", start, stop, width=width)


def test_a_closed_run_opens_no_level(path):
    run = open_run(path)
    found = run.window("train", width=40)
    run.close()
    for look in (lambda: run.window("train", width=10), lambda: found["count"].load()):
        with pytest.raises(ValueError, match="the run was closed"):
            look()


def test_a_run_that_was_moved_while_open_still_shows_its_levels(tmp_path, path):
    moved = shutil.copytree(path, tmp_path / "a.zarr")
    with open_run(moved) as run:
        moved.rename(tmp_path / "b.zarr")
        assert run.window("train", width=40)["count"].values.any()


def test_a_run_travels_with_its_levels(path):
    run = pickle.loads(pickle.dumps(open_run(path)))
    assert run.window("train", width=40)["count"].values.sum() > 0
    run.close()
    assert run.copy().levels("train") == {16: 43, 64: 10, 256: 2}


def test_a_merged_run_of_several_processes_shows_its_batches(tmp_path, monkeypatch):
    """Their levels are of each rank's own batches, which need not be the same ones."""
    monkeypatch.setattr(ladder, "FEWEST", 1)
    for rank in (0, 1):
        write(tmp_path / "a" / f"rank-{rank}", 64, rank=rank, world_size=2)
    with open_run(tmp_path / "a") as run:
        assert run.levels("train") == {}
        found = run.window("train", 16, 48, width=1)
        assert (found.attrs["factor"], found.sizes["batch"]) == (1, 32)
        own = run.ranks[0].window("train", 16, 48, width=1)
        assert (own.attrs["factor"], own.sizes["batch"]) == (16, 2)
        np.testing.assert_array_equal(
            found["count"].values.sum(-1), 2 * own["count"].values.sum(-1)
        )


@pytest.mark.parametrize(("start", "stop", "width"), [(0, None, 40), (100, 420, 21), (690, 700, 1)])
def test_a_window_without_blocks_is_the_same_and_is_read_when_asked(run, start, stop, width):
    found = run.window("train", start, stop, width=width, layers="layer1", blocks=False)
    assert found["count"].chunks is None
    want = run.window("train", start, stop, width=width, layers="layer1")
    xr.testing.assert_identical(found.load(), want.load())


def test_without_blocks_what_is_missing_is_told_when_it_is_read(path):
    count = path / "train" / "count"
    with open_run(path) as run:
        found = run.window("train", width=400, blocks=False)
        count.rename(count.with_name("elsewhere"))
        try:
            with pytest.raises(DamagedRunError):
                found["count"].load()
        finally:
            count.with_name("elsewhere").rename(count)
