"""`actrace.repair` saves every good cell, marks each lost one and leaves the original alone."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
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
from actrace.store.checking.lost import Lost, lost_cells
from actrace.store.reader import open_run
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        return sound.write_run(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture(scope="module")
def right(source):
    return sound.read_all(source)


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "a.zarr")


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_whole_run_is_copied_bit_for_bit(path, right):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    report = actrace.repair(path)
    assert report.path == path.with_name("a-repaired.zarr")
    assert report.lost == report.derived == report.windows == {}
    assert "lost     nothing" in repr(report)
    for name, values in sound.read_all(report.path).items():
        np.testing.assert_array_equal(values, right[name])
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert names_in(path.parent) == ["a-repaired.zarr", "a.zarr"]
    for file in sound.chunk_files(path):
        assert (report.path / file.relative_to(path)).read_bytes() == file.read_bytes()


def test_a_damaged_layer_costs_no_other_layer_and_no_other_variable(path, right):
    file = path / "train/count/c/0/0/2"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    report = actrace.repair(path)
    assert report.lost == {"train/count": [Lost(32, 48, (0,))]}
    assert lost_cells(open_run(report.path).attrs) == report.lost
    got = sound.read_all(report.path)
    assert (got["train/count"][0, :, 32:48] == 0).all()
    want = right["train/count"].copy()
    want[0, :, 32:48] = 0
    np.testing.assert_array_equal(got["train/count"], want)
    assert all(
        np.array_equal(got[n], v, equal_nan=v.dtype.kind == "f")
        for n, v in right.items()
        if n != "train/count"
    )
    assert actrace.check(report.path).whole
    assert "train/count: 16 rows" in repr(actrace.check(report.path))
    assert "train/count" in repr(actrace.open(report.path))
    # What the catalogue shows may be the mean of what is lost.
    assert "summary" in actrace.open(path).attrs
    assert "summary" not in actrace.open(report.path).attrs
    table = actrace.runs(path.parent)
    assert table["batches"].nunique() == 1


def test_the_index_of_a_shard_costs_nothing(path, right):
    file = path / "valid/output_gradient/count/c/0/0/0"
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)
    report = actrace.repair(path)
    assert report.lost == {}
    name = "valid/output_gradient/count"
    np.testing.assert_array_equal(sound.read_all(report.path)[name], right[name])


def test_the_end_of_a_shard_costs_only_the_layers_in_it(path, right):
    file = path / "train/count/c/0/0/1"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    report = actrace.repair(path)
    (one,) = report.lost["train/count"]
    assert one.at == (1, 2)
    np.testing.assert_array_equal(
        sound.read_all(report.path)["train/count"][0], right["train/count"][0]
    )


@pytest.mark.parametrize(
    "name",
    [
        *(f"train/{n}" for n in ("underflow", "overflow", "nan", "posinf", "neginf", "elements")),
        "valid/gradient/elements",
        "train/output/nonfinite_by_unit",
        "train/output/elements_by_class",
        "train/output/first_batch",
        "bin_left",
        "train/gradient/gradient_bin_right",
        "train/unit/unit_channel",
        "layer_units",
        "valid/output/role",
    ],
)
def test_what_follows_from_the_rest_is_put_back(path, right, name):
    for file in sound.chunk_files(path / name):
        file.unlink()
    report = actrace.repair(path)
    assert report.lost == report.windows == {}
    assert list(report.derived) == [name]
    np.testing.assert_array_equal(sound.read_all(report.path)[name], right[name])
    assert "damaged" not in actrace.open(report.path).attrs


def test_two_lost_parts_of_a_sum_are_lost(path):
    for name in ("nan", "elements"):
        (path / f"train/{name}/c/0/1").unlink()
    report = actrace.repair(path)
    assert {n: [(one.start, one.stop) for one in v] for n, v in report.lost.items()} == {
        "train/nan": [(32, 64)],
        "train/elements": [(32, 64)],
    }
    assert report.check.whole
    assert (sound.read_all(report.path)["train/elements"][:, 32:64] == 0).all()


def test_steps_and_epochs_that_are_lost_never_fall(path):
    (path / "train/step/c/1").write_bytes(b"")
    (path / "train/epoch/c/0").unlink()
    report = actrace.repair(path)
    got = sound.read_all(report.path)
    assert got["train/step"].tolist() == [*range(32), *[31] * 32, *range(64, 100)]
    assert got["train/epoch"][:33].tolist() == [*[0] * 32, 3]
    assert report.check.whole


def test_what_the_user_logged_and_moments_become_nan(path):
    for name in ("lr", "mean"):
        file = sorted(sound.chunk_files(path / "train" / name))[0]
        file.write_bytes(file.read_bytes()[:-1])
    got = sound.read_all(actrace.repair(path).path)
    assert np.isnan(got["train/lr"][:32]).all()
    assert not np.isnan(got["train/lr"][32:]).any()
    assert np.isnan(got["train/mean"][:, :32]).all()


def test_windows_of_which_nothing_says_where_they_lie_are_left_out(path, right):
    """Twenty-five windows in one file: their lengths are lost, and the group is empty then."""
    (path / "train/output/batches/c/0").unlink()
    report = actrace.repair(path)
    assert report.windows == {"train/output": 25}
    run = actrace.open(report.path)
    assert run["train/output"].sizes["window"] == 0
    assert run["train/unit"].sizes["window"] == 25
    assert report.check.whole


def test_some_windows_left_out_leave_the_others_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.group.LONGEST", 8)
    path = sound.write_run(tmp_path / "a")
    whole = sound.read_all(path)
    (path / "train/unit/batches/c/1").unlink()
    (path / "train/unit/active/c/0/2").unlink()
    report = actrace.repair(path)
    got = sound.read_all(report.path)
    kept = [*range(8), *range(16, 25)]
    assert report.windows == {"train/unit": 8}
    for name in ("first_batch", "batches", "total", "epoch"):
        want = whole[f"train/unit/{name}"][..., kept]
        np.testing.assert_array_equal(got[f"train/unit/{name}"], want)
    assert [(one.start, one.stop) for one in report.lost["train/unit/active"]] == [(8, 16)]
    np.testing.assert_array_equal(
        got["train/unit/active"][:, [*range(8), 16]], whole["train/unit/active"][:, [*range(8), 24]]
    )
    assert report.check.whole


def test_an_old_file_gives_the_rows_it_has(path, right, tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    older = sound.write_run(tmp_path / "older", 90)
    shutil.copy(older / "train/count/c/0/0/5", path / "train/count/c/0/0/5")
    report = actrace.repair(path)
    assert [(one.start, one.stop) for one in report.lost["train/count"]] == [(90, 96)]
    np.testing.assert_array_equal(
        sound.read_all(report.path)["train/count"][..., :90], right["train/count"][..., :90]
    )


def test_lost_names_become_numbers(path):
    (path / "layer/c/0").unlink()
    (path / "train/output/target_class/c/0").unlink()
    report = actrace.repair(path)
    run = actrace.open(report.path)
    assert run.layer.values.tolist() == ["layer 0", "layer 1", "layer 2"]
    # The other phase has the same list.
    assert run["train/output"].target_class.values.tolist() == ["cat", "dog"]
    assert set(report.lost) == {"layer", "train/output/target_class"}


def test_a_repaired_run_can_be_repaired_again_and_remembers(path):
    (path / "train/mean/c/0/0").unlink()
    first = actrace.repair(path)
    (first.path / "train/std/c/0/1").unlink()
    again = actrace.repair(first.path, path.with_name("b"))
    assert set(again.lost) == {"train/mean", "train/std"}
    assert set(lost_cells(actrace.open(again.path).attrs)) == {"train/mean", "train/std"}


def test_an_interrupted_run_is_finished_and_can_be_resumed(tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    writer = rec.new_writer(tmp_path / "a")
    writer.declare_gradients(sound.INFO)
    for index in range(40):
        writer.append_batch(sound.batch_row("train", index))
    writer.commit()
    with pytest.raises(RunLockedError, match="is being written; close its recorder"):
        actrace.repair(writer.path)
    writer.append_batch(sound.batch_row("train", 40))
    writer._contents.write_chunks(writer._files)
    writer._lock.release()
    report = actrace.repair(writer.path)
    run = actrace.open(report.path)
    assert (run.status, run.n_batches("train")) == ("failed", 40)
    assert run.attrs["ended"] is not None
    assert report.lost == {}
    resumed = RunWriter.resume(report.path)
    resumed.append_batch(sound.batch_row("train", 40))
    resumed.close()
    assert actrace.check(report.path).whole
    assert actrace.open(writer.path).status == "interrupted"


def test_in_place_the_run_is_replaced_and_the_users_files_stay(path, right):
    (path / "notes.txt").write_text("mine")
    (path / "train/mean/c/0/0").unlink()
    report = actrace.repair(path, in_place=True)
    assert report.path == path
    assert names_in(path.parent) == ["a.zarr"]
    assert (path / "notes.txt").read_text() == "mine"
    assert actrace.check(path).whole
    np.testing.assert_array_equal(sound.read_all(path)["train/count"], right["train/count"])


def test_where_directories_cannot_be_exchanged_they_are_renamed(path, monkeypatch):
    monkeypatch.setattr("actrace.store.repair.exchange._in_one_step", lambda new, old: False)
    (path / "train/mean/c/0/0").unlink()
    actrace.repair(path, in_place=True)
    assert names_in(path.parent) == ["a.zarr"]
    assert actrace.check(path).whole


def test_what_stands_at_the_output_is_never_touched(path, tmp_path):
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(RunExistsError, match="exists; give another output"):
        actrace.repair(path, tmp_path / "b")
    with pytest.raises(NotARunError):
        actrace.repair(tmp_path / "none")
    with pytest.raises(ValueError, match="has no output"):
        actrace.repair(path, tmp_path / "c", in_place=True)
    (path / "zarr.json").write_text("{")
    with pytest.raises(DamagedRunError):
        actrace.repair(path)
    assert names_in(tmp_path) == ["a.zarr", "b.zarr"]


def test_a_full_disk_leaves_nothing_behind(path, monkeypatch):
    def refuse(self, name, data):
        raise StoreWriteError("cannot write: No space left on device")

    monkeypatch.setattr("actrace.store.files.RunFiles.write", refuse)
    with pytest.raises(StoreWriteError, match="No space left"):
        actrace.repair(path)
    assert names_in(path.parent) == ["a.zarr"]


def test_ranks_are_repaired_one_by_one(source, tmp_path, capsys):
    for rank in range(3):
        shutil.copytree(source, tmp_path / "a" / f"rank-{rank}.zarr")
    (tmp_path / "a/rank-1.zarr/train/mean/c/0/0").unlink()
    (tmp_path / "a/rank-2.zarr/zarr.json").write_text("")
    assert main(["repair", str(tmp_path / "a")]) == 1
    printed = capsys.readouterr().out
    assert "train/mean: rows 0 to 31" in printed
    assert "rank 2: run" in printed
    assert names_in(tmp_path / "a-repaired") == ["rank-0.zarr", "rank-1.zarr"]
    assert main(["repair", str(tmp_path / "a" / "rank-0.zarr"), "-o", str(tmp_path / "b")]) == 0
    assert actrace.check(tmp_path / "b").whole


def test_what_a_killed_repair_left_is_cleared_away(path):
    left = path.with_name(".a-repaired.zarr.repair-00000000")
    shutil.copytree(path, left)
    actrace.repair(path)
    assert names_in(path.parent) == ["a-repaired.zarr", "a.zarr"]


@pytest.mark.parametrize("many", [1, 5, 20])
def test_every_good_cell_survives_random_damage(source, right, tmp_path, many):
    rng = random.Random(many)
    for trial in range(3):
        path: Path = shutil.copytree(source, tmp_path / f"{trial}.zarr")
        for file in rng.sample(sound.chunk_files(path), many):
            sound.damage(file, rng.choice(sound.KINDS), rng)
        report = actrace.repair(path)
        assert report.check.whole, report.check
        sound.assert_only_lost_differ(sound.read_all(report.path), right, report)
