"""`actrace.check` finds every damage, says where it is, and finds none in a whole run."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.store import recording as rec
from tests.store.checking import sound

import actrace
from actrace.cli import main
from actrace.errors import DamagedRunError, NotARunError
from actrace.store.document import dumps
from actrace.store.layout import encode_chunk
from actrace.store.manifest import read_manifest


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        return sound.write_run(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "a.zarr")


def put(path, key, row, change):
    """Rewrite a chunk with another value, its checksum right."""
    entry = read_manifest(path).arrays[key.partition("/c/")[0]]
    values = np.array(entry.layout.decode((path / key).read_bytes(), key))
    values[row] = change(values[row])
    (path / key).write_bytes(entry.layout.encode(values))


def test_a_whole_run_is_whole(path):
    report = actrace.check(path)
    assert report.whole
    assert bool(report)
    assert report.damages == report.unreferenced == report.notes == ()
    assert report.files == len(sound.chunk_files(path))
    assert report.pieces > report.files
    assert [(p.name, p.batches, p.whole) for p in report.phases] == [
        ("train", 100, 100),
        ("valid", 25, 25),
    ]
    assert "a.zarr: whole" in repr(report)


@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "zeros", "delete"])
def test_each_damaged_chunk_file_is_found(path, kind):
    """Whichever file it is, its array and the range of rows that it holds are named."""
    rng = random.Random(kind)
    arrays = read_manifest(path).arrays
    every = sound.chunk_files(path)
    for first in range(7):
        some = every[first::7]
        whole = {file: file.read_bytes() for file in some}
        for file in some:
            sound.damage(file, kind, rng)
        damages = actrace.check(path).damages
        for file, data in whole.items():
            key = file.relative_to(path).as_posix()
            name, _, index = key.partition("/c/")
            found = [d for d in damages if d.path == name and d.key == key]
            assert found, key
            entry = arrays[name]
            if entry.dims[-1] in ("batch", "window"):
                start = int(index.rpartition("/")[2]) * entry.chunk[-1]
                stop = min(start + entry.chunk[-1], entry.shape[-1])
                assert {d.rows for d in found} == {(start, stop)}
                assert all(d.phase == name.split("/")[0] for d in found)
                if entry.dims[-1] == "batch":
                    assert all(d.batches == d.rows for d in found)
            file.write_bytes(data)
        assert {d.key for d in damages} == {f.relative_to(path).as_posix() for f in some}


def test_a_layers_own_chunk_is_named_by_its_layer_and_batches(path):
    file = path / "train/count/c/0/0/2"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    (damage,) = actrace.check(path).damages
    assert (damage.phase, damage.variable, damage.dim) == ("train", "count", "layer")
    assert (damage.names, damage.batches) == (("layer0",), (32, 48))
    assert actrace.check(path).phases[0].whole == 84
    assert "train/count, layer 'layer0', batches 32 to 47: its checksum" in str(damage)


def test_a_damaged_window_is_told_in_batches(path):
    (path / "train/unit/active/c/0/0").unlink()
    (damage,) = actrace.check(path).damages
    assert (damage.rows, damage.batches) == ((0, 25), (0, 100))
    (path / "train/unit/first_batch/c/0").unlink()
    report = actrace.check(path)
    assert {d.batches for d in report.damages} == {None}
    assert report.phases[0].whole == 0


def test_damage_side_by_side_is_one(path):
    for index in (1, 2, 3):
        (path / f"train/count/c/0/0/{index}").unlink()
    (damage,) = actrace.check(path).damages
    assert (damage.batches, damage.at, damage.problem) == ((16, 64), (), "is missing")


def test_counts_that_do_not_add_up_are_found(path):
    put(path, "train/underflow/c/0/1", (5, 1), lambda n: n + 1)
    put(path, "valid/gradient/nan/c/0/0", (3, 0), lambda n: n + 2)
    put(path, "train/output/count_by_class/c/0/0/0/0", (2, 1, 0, 3), lambda n: n + 1)
    found = {d.path: d for d in actrace.check(path).damages}
    assert (found["train/count"].batches, found["train/count"].names) == ((37, 38), ("layer1",))
    assert found["valid/gradient/count"].names == ("w",)
    assert found["valid/gradient/count"].batches == (3, 4)
    assert found["train/output/count_by_class"].batches == (8, 12)
    assert found["train/output/count_by_class"].names == ("dog",)
    assert len(found) == 3
    assert "do not add up to 'elements'" in found["train/count"].problem


def test_a_mean_of_nothing_is_found(path):
    put(path, "train/mean/c/0/0", (9, 2), lambda _: 0.5)
    (damage,) = actrace.check(path).damages
    assert (damage.batches, damage.names) == ((9, 10), ("layer2",))
    assert "moments where 'elements' is 0" in damage.problem


def test_steps_that_fall_and_windows_that_overlap_are_found(path):
    put(path, "train/step/c/2", 0, lambda _: 3)
    put(path, "train/output/first_batch/c/0", 3, lambda _: 11)
    put(path, "valid/unit/batches/c/0", 5, lambda _: 9)
    found = {(d.path, d.rows, d.problem.split()[1]) for d in actrace.check(path).damages}
    assert found == {
        ("train/step", (64, 65), "step"),
        ("train/output/first_batch", (3, 4), "window"),
        ("valid/unit/first_batch", (5, 6), "window"),
    }


def test_edges_that_are_not_the_axis_are_found(path):
    entry = read_manifest(path).arrays["bin_left"]
    edges = np.array([-1, -0.5, 0.25, 0.5])
    (path / entry.key((0,))).write_bytes(encode_chunk(edges))
    (damage,) = actrace.check(path).damages
    assert (damage.path, damage.problem) == ("bin_left", "an edge is not that of the run's axis")


def test_a_file_older_than_its_commit_is_told_by_its_missing_rows(path, tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    older = sound.write_run(tmp_path / "older", 90)
    for key in ("train/count/c/0/0/5", "train/mean/c/0/2"):
        shutil.copy(older / key, path / key)
    found = {d.path: d for d in actrace.check(path).damages}
    assert found["train/count"].batches == (90, 96)
    assert found["train/mean"].batches == (90, 96)
    assert "older than the commit" in found["train/mean"].problem


def test_documents_and_files_that_do_not_belong(path):
    (path / "train/mean/zarr.json").unlink()
    text = (path / "train/zarr.json").read_bytes()
    (path / "train/zarr.json").write_bytes(text.replace(b"99", b"98"))
    (path / "valid/zarr.json").write_text("{")
    (path / "notes.txt").write_text("mine")
    (path / "train/count/c/0/0/77").write_text("chunk")
    (path / "link").symlink_to("/")
    report = actrace.check(path)
    assert {(d.path, d.problem) for d in report.damages} == {
        ("train/mean", "its zarr.json is missing"),
        ("train", "its zarr.json differs from its copy in the root's"),
        ("valid", "its zarr.json is not JSON"),
    }
    assert report.unreferenced == ("link", "notes.txt", "train/count/c/0/0/77")
    assert all(phase.whole == phase.batches for phase in report.phases)


def test_a_live_run_is_checked_as_it_was_committed(tmp_path, monkeypatch):
    sound.small_chunks(monkeypatch)
    writer = rec.new_writer(tmp_path / "a")
    writer.declare_gradients(sound.INFO)
    for index in range(40):
        writer.append_batch(sound.batch_row("train", index))
    writer.commit()
    writer.append_batch(sound.batch_row("train", 40))
    writer._contents.write_chunks(writer._files)
    nodes = writer._contents.documents()
    for name, node in nodes.items():
        (writer.path / name / "zarr.json").write_bytes(dumps(node))
    report = actrace.check(writer.path)
    assert report.status == "recording"
    assert report.phases[0].batches == 40
    assert report.whole
    writer._lock.release()
    report = actrace.check(writer.path)
    assert report.status == "interrupted"
    assert report.whole


def test_ranks_are_checked_one_by_one(source, tmp_path, capsys):
    for rank in range(3):
        shutil.copytree(source, tmp_path / "a" / f"rank-{rank}.zarr")
    assert actrace.check(tmp_path / "a").whole
    (tmp_path / "a/rank-1.zarr/train/step/c/0").unlink()
    (tmp_path / "a/rank-2.zarr/zarr.json").write_text("")
    report = actrace.check(tmp_path / "a")
    assert [rank.whole for rank in report.ranks] == [True, False, False]
    assert not report.whole
    assert main(["check", str(tmp_path / "a"), "--list"]) == 1
    printed = capsys.readouterr().out
    assert "train/step, batches 0 to 31: is missing" in printed
    assert "rank 2 cannot be read" in printed


def test_the_command_says_it_by_its_exit_code(path, tmp_path, capsys):
    assert main(["check", str(path)]) == 0
    assert "whole" in capsys.readouterr().out
    (path / "train/mean/c/0/0").unlink()
    assert main(["check", str(path)]) == 1
    assert "train/mean, every layer, batches 0 to 31: is missing" in capsys.readouterr().out
    assert main(["check", str(path), "--quiet"]) == 1
    assert main(["check", str(tmp_path / "none")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no run" in said.err


def test_what_cannot_be_read_at_all_is_an_error(path, tmp_path):
    (path / "zarr.json").write_text("{")
    with pytest.raises(DamagedRunError):
        actrace.check(path)
    with pytest.raises(NotARunError):
        actrace.check(tmp_path)
    with pytest.raises(NotARunError, match="in memory alone"):
        actrace.check(actrace.Run())


def test_a_root_document_that_names_millions_of_files_is_refused(path):
    document = json.loads((path / "zarr.json").read_text())
    nodes = document["consolidated_metadata"]["metadata"]
    for name, node in nodes.items():
        if name.split("/")[0] == "train" and node.get("dimension_names", [0])[-1] == "batch":
            node["shape"][-1] = 10**7
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DamagedRunError, match=r"names [\d,]+ chunk files and \d+ files are there"):
        actrace.check(path)


def test_nothing_is_written(path: Path):
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    (path / "train/mean/c/0/0").write_bytes(b"")
    before[path / "train/mean/c/0/0"] = (path / "train/mean/c/0/0").stat().st_mtime_ns
    actrace.check(actrace.open(path))
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_a_level_that_is_not_the_merge_of_its_batches_is_found(tmp_path, monkeypatch):
    """Numbers whose checksums and sums are right, as a faulty merge would leave them."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.checking.levels._COLUMNS", 5)
    path = sound.write_run(tmp_path / "a", 4200, phases=("train",))
    assert sorted(p.name for p in (path / "levels/train").glob("x*")) == ["x16", "x64"]
    assert actrace.check(path).whole

    def other_bins(values):
        values[1] = np.roll(values[1], 1, axis=-1)
        return values

    put(path, "levels/train/x64/count/c/0/0/1", 3, other_bins)
    words = "a column is not the merge of the batches that it stands for"
    (damage,) = actrace.check(path).damages
    layer = str(actrace.open(path)["layer"].values[1])
    assert (damage.path, damage.problem, damage.rows, damage.names) == (
        *("levels/train/x64/count", words),
        *((19, 20), (layer,)),
    )
    put(path, "levels/train/x16/mean/c/0/0", 7, lambda values: values + 1e-3)
    found = [(d.path, d.rows) for d in actrace.check(path).damages if d.problem == words]
    # A column of x64 stands for the column that is wrong by now.
    assert set(found) == {
        ("levels/train/x16/mean", (7, 8)),
        ("levels/train/x64/mean", (1, 2)),
        ("levels/train/x64/std", (1, 2)),
        ("levels/train/x64/count", (19, 20)),
    }
    # Where a batch is damaged nothing is known of the columns that stand for it.
    sound.damage(path / "levels/train/x16/count/c/0/0/4", "delete", random.Random(0))
    (path / "levels/train/x16/mean/c/0/0").write_bytes(b"")
    found = [d.path for d in actrace.check(path).damages if d.problem == words]
    assert found == []


def test_a_run_with_levels_is_whole_and_damage_to_them_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    path = sound.write_run(tmp_path / "a", 2200, phases=("train",))
    assert actrace.check(path).whole
    (path / "levels/train/x16/count/c/0/0/0").unlink()
    report = actrace.check(path)
    (damage,) = report.damages
    assert (damage.path, damage.phase) == ("levels/train/x16/count", "train")
    assert report.phases[0].whole == 2200
    # The batches are whole, so nothing of the run is lost but what can be built again.
    assert set(actrace.repair(path).lost) == {"levels/train/x16/count"}
