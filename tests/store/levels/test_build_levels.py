"""Levels for runs that were recorded without, and runs that go on behind theirs."""

from __future__ import annotations

import json

import pytest
from tests.store import recording as rec
from tests.store.levels.test_levels import a_row, assert_levels_of, write

from actrace.errors import DamagedRunError, RunLockedError, StoreWriteError
from actrace.store.files import RunFiles
from actrace.store.levels import build, ladder
from actrace.store.levels.build import build_levels
from actrace.store.reader import open_run
from actrace.store.writer import RunWriter


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short runs have levels, and a few batches fill a chunk."""
    monkeypatch.setattr(ladder, "FEWEST", 1)
    monkeypatch.setattr(ladder, "LAG", 2)
    monkeypatch.setattr(build, "_COLUMNS", 7)
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.group.CHUNK_BYTES", 2048)


def attributes_of(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]


def test_a_run_without_levels_gets_them_and_keeps_all_else(tmp_path):
    path = write(tmp_path / "a", 300, levels=False)
    before = attributes_of(path)
    told = []
    assert build_levels(path, told=lambda *numbers: told.append(numbers)) == {"train": 18 + 4 + 1}
    assert told[0] == (0, 23)
    after = attributes_of(path)
    assert after["summary"].pop("bytes") > before["summary"].pop("bytes")
    assert after == before
    assert_levels_of(path)
    assert build_levels(path) == {}


def test_a_run_that_was_killed_stays_interrupted(tmp_path):
    writer = rec.new_writer(tmp_path / "a", levels=False)
    writer.append_batches(rec.batch_rows([a_row(index) for index in range(40)]))
    writer.commit()
    writer.release()
    build_levels(tmp_path / "a")
    assert_levels_of(writer.path)
    with open_run(tmp_path / "a") as run:
        assert run.status == "interrupted"


def test_a_run_that_is_being_written_is_refused(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    with pytest.raises(RunLockedError):
        build_levels(tmp_path / "a")
    writer.close()


def test_a_resumed_run_without_levels_goes_on_without(tmp_path):
    """A long one: to build them all would hold up the training."""
    path = write(tmp_path / "a", 80, levels=False)
    writer = RunWriter.resume(path)
    writer.append_batches(rec.batch_rows([a_row(index) for index in range(80, 160)]))
    writer.close()
    with open_run(path) as run:
        assert run.levels("train") == {}
    build_levels(path)
    assert_levels_of(path)


def test_a_resumed_run_that_lags_little_catches_up(tmp_path):
    path = write(tmp_path / "a", 40, levels=False)
    RunWriter.resume(path).close()
    assert_levels_of(path)


def test_a_build_that_fails_half_way_keeps_what_it_committed(tmp_path, monkeypatch):
    path = write(tmp_path / "a", 300, levels=False)
    real, left = RunFiles.write, [200]

    def failing(self, key, data):
        left[0] -= 1
        if left[0] < 0:
            raise StoreWriteError("no space left")
        real(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "write", failing)
        with pytest.raises(StoreWriteError):
            build_levels(path)
    with open_run(path) as run:
        assert 0 < run.levels("train")[16] < 18
        at = run.at_level("train", 16)
        assert at["elements"].values.shape[1] == run.levels("train")[16]
    build_levels(path)
    assert_levels_of(path)


def test_damaged_batches_are_said_and_stop_the_levels_there(tmp_path):
    path = write(tmp_path / "a", 300, levels=False)
    chunk = path / "train" / "count" / "c" / "0" / "0" / "12"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DamagedRunError, match="train/count/c/0/0/12"):
        build_levels(path)
    chunk.unlink()
    with pytest.raises(DamagedRunError, match="cannot be read"):
        build_levels(path)
    with open_run(path) as run:
        assert 0 < run.levels("train")[16] <= 12


def test_a_training_goes_on_where_a_level_cannot_be_built(tmp_path):
    path = write(tmp_path / "a", 40, levels=False)
    (path / "train" / "count" / "c" / "0" / "0" / "1").unlink()
    writer = RunWriter.resume(path)
    writer.append_batches(rec.batch_rows([a_row(index) for index in range(40, 140)]))
    writer.close()
    with open_run(path) as run:
        assert run.n_batches("train") == 140
        assert run.levels("train") == {16: 1}
