"""`actrace.compact_run` joins chunk files and changes nothing else."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store import recording as rec
from tests.store.checking import sound

import actrace
from actrace.cli import main
from actrace.errors import (
    DamagedRunError,
    NotARunError,
    RunExistsError,
    RunLockedError,
    StoreWriteError,
)
from actrace.store.manifest import read_manifest
from actrace.store.paths import LOCK_NAME
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of many small files, with levels and every group there is."""
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        return sound.write_run(tmp_path_factory.mktemp("source") / "a", 300)


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "a.zarr")


def plain(path):
    """Return group/name -> values of every array, as plain xarray reads them."""
    with xr.open_datatree(path, engine="zarr", decode_times=False) as tree:
        return {
            f"{group.path}/{name}": (np.array(variable.values), variable.attrs)
            for group in tree.subtree
            for name, variable in group.to_dataset(inherit=False).variables.items()
        }


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, (values, attributes) in want.items():
        assert got[name][0].dtype == values.dtype
        np.testing.assert_array_equal(got[name][0], values, err_msg=name)
        assert got[name][1] == attributes


def document(path):
    return json.loads((path / "zarr.json").read_text())


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_there_are_fewer_files_and_every_value_is_as_it_was(path):
    before, attributes = plain(path), document(path)["attributes"]
    (path / "notes.txt").write_text("mine")
    report = actrace.compact_run(path)
    assert report.changed
    assert report.files[1] < report.files[0] / 2
    assert "compacted run a.zarr" in repr(report)
    assert_same(plain(path), before)
    after = document(path)["attributes"]
    assert after["summary"].pop("bytes") < attributes["summary"].pop("bytes")
    assert after == attributes
    assert actrace.check(path).whole
    assert names_in(path.parent) == ["a.zarr"]
    assert (path / "notes.txt").read_text() == "mine"
    for entry in read_manifest(path).arrays.values():
        assert entry.n_files <= 1
    again = actrace.compact_run(path)
    assert not again.changed
    assert "stays as it is" in repr(again)


def test_a_chunk_stays_a_power_of_two_within_what_was_asked(path):
    actrace.compact_run(path, shard_mib=1)
    for entry in read_manifest(path).arrays.values():
        if entry.grows and entry.shape[-1]:
            length = entry.chunk[-1]
            assert length & (length - 1) == 0


def test_the_old_run_stays_where_an_output_is_given(path, source):
    report = actrace.compact_run(path, path.with_name("b"))
    assert report.path == path.with_name("b.zarr")
    assert document(path) == document(source)
    assert_same(plain(report.path), plain(path))
    assert actrace.check(report.path).whole
    with pytest.raises(RunExistsError):
        actrace.compact_run(path, path.with_name("b"))


def test_a_training_goes_on_in_a_compacted_run(tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    monkeypatch.setattr("actrace.store.levels.ladder.FEWEST", 1)
    path = sound.write_run(tmp_path / "a", 100, phases=("train",))
    actrace.compact_run(path)
    writer = RunWriter.resume(path)
    for index in range(100, 180):
        writer.append_batch(sound.batch_row("train", index))
    writer.close()
    other = sound.write_run(tmp_path / "b", 180, phases=("train",))
    with actrace.open(path) as one, actrace.open(other) as two:
        xr.testing.assert_equal(one["train"].to_dataset().load(), two["train"].to_dataset().load())
        assert one.levels("train") == two.levels("train") == {16: 11, 64: 2}
        xr.testing.assert_equal(one.at_level("train", 64).load(), two.at_level("train", 64).load())
    assert actrace.check(path).whole


@pytest.mark.filterwarnings("ignore:Consolidated metadata is:UserWarning")
def test_what_this_version_does_not_know_is_kept(path):
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    root.attrs["later"] = {"x": [1, None]}
    root["train"]["mean"].attrs["comment"] = "smoothed"
    values = np.arange(300.0)
    novel = {"dimension_names": ["batch"], "chunks": (64,)}
    root["train"].create_array("novel", data=values, **novel)
    extra = root["train"].create_group("extra", attributes={"made": "by hand"})
    extra.create_array("weights", data=values[:5].reshape(1, 5), dimension_names=["a", "b"])
    (path / LOCK_NAME).unlink()  # zarr would warn of it
    zarr.consolidate_metadata(path)
    before = plain(path)
    assert actrace.compact_run(path).changed
    assert_same(plain(path), before)
    assert document(path)["attributes"]["later"] == {"x": [1, None]}
    with actrace.open(path) as run:
        assert run["train"]["mean"].attrs["comment"] == "smoothed"
        assert run["train/extra"].attrs["made"] == "by hand"


def test_what_a_repair_marked_as_lost_stays_marked(path):
    (path / "train/count/c/0/0/1").unlink()
    lost = actrace.repair(path, in_place=True).lost
    assert lost
    before = plain(path)
    actrace.compact_run(path)
    assert_same(plain(path), before)
    assert actrace.repair(path).lost == lost


def test_a_damaged_run_is_refused_and_left_alone(path):
    file = path / "train/count/c/0/0/1"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(DamagedRunError, match=r"train/count/c/0/0/1.*actrace check"):
        actrace.compact_run(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert names_in(path.parent) == ["a.zarr"]


def test_numbers_that_contradict_themselves_are_refused(tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    writer = rec.new_writer(tmp_path / "a")
    for index in range(60):
        writer.append_batch(rec.batch_row("train", index))  # its counts do not add up
    writer.close()
    with pytest.raises(DamagedRunError, match="contradict themselves"):
        actrace.compact_run(writer.path)
    assert names_in(tmp_path) == ["a.zarr"]


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    with pytest.raises(RunLockedError, match="being written"):
        actrace.compact_run(writer.path)
    writer.release()
    with pytest.raises(RunLockedError, match=r"interrupted.*resume=True"):
        actrace.compact_run(writer.path)
    with pytest.raises(NotARunError):
        actrace.compact_run(tmp_path / "none")


def test_a_full_disk_leaves_the_run_as_it_was(path, monkeypatch):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}

    class Full:
        free = 1000

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Full)
        with pytest.raises(StoreWriteError, match=r"takes about .* room for 1.0 kB"):
            actrace.compact_run(path)

    def refuse(self, name, data):
        raise StoreWriteError("cannot write: No space left on device")

    monkeypatch.setattr("actrace.store.files.RunFiles.write", refuse)
    with pytest.raises(StoreWriteError, match="No space left"):
        actrace.compact_run(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert names_in(path.parent) == ["a.zarr"]


def test_ranks_are_compacted_one_by_one(source, tmp_path, capsys):
    for rank in range(2):
        shutil.copytree(source, tmp_path / "a" / f"rank-{rank}.zarr")
    before = plain(source)
    assert main(["compact", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "needs up to" in said
    assert "compacted run rank-1.zarr" in said
    for rank in range(2):
        assert_same(plain(tmp_path / "a" / f"rank-{rank}.zarr"), before)
    assert main(["compact", str(tmp_path / "a"), "-o", str(tmp_path / "b")]) == 0
    assert "stays as it is" in capsys.readouterr().out
    assert not (tmp_path / "b").exists()


def test_a_rank_with_nothing_to_do_is_not_left_out_elsewhere(source, tmp_path):
    for rank in range(2):
        shutil.copytree(source, tmp_path / "a" / f"rank-{rank}.zarr")
    actrace.compact_run(tmp_path / "a" / "rank-1")
    report = actrace.compact_run(tmp_path / "a", tmp_path / "b")
    assert report.path == tmp_path / "b"
    assert names_in(tmp_path / "b") == ["rank-0.zarr", "rank-1.zarr"]
    assert_same(plain(tmp_path / "b" / "rank-1.zarr"), plain(source))


def test_a_compacted_run_is_exported_and_opens_in_place(path, tmp_path):
    actrace.compact_run(path)
    zipped = actrace.export_run(path, tmp_path / "a.zip")
    with actrace.open(zipped) as one, actrace.open(path) as two:
        xr.testing.assert_identical(one["train"].to_dataset(), two["train"].to_dataset())


@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 90),
    shard=st.sampled_from([16, 32]),
    other=st.sampled_from([1, 2, 8]),
    resumed=st.booleans(),
)
def test_any_run_is_the_same_compacted(tmp_path_factory, n, shard, other, resumed):
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.group.LONGEST_SHARD", shard)
        patch.setattr("actrace.store.group.LONGEST", 16 * other)
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        path = sound.write_run(folder / "a", n)
    if resumed:
        writer = RunWriter.resume(path)
        for index in range(n, n + 20):
            writer.append_batch(sound.batch_row("train", index))
        writer.close()
    before = plain(path)
    report = actrace.compact_run(path)
    assert_same(plain(path), before)
    assert report.files[1] <= report.files[0]
