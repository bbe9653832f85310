"""Tags, notes, names and the end of a run: nothing else of it changes, nothing else goes."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.store import recording as rec

import actrace
from actrace.errors import (
    DamagedRunError,
    NewerSchemaError,
    NotARunError,
    RunExistsError,
    RunLockedError,
)
from actrace.store.writer import RunWriter


@pytest.fixture
def path(tmp_path):
    return rec.write_run(tmp_path / "a", 12, attributes={"tags": ["new"]})


@pytest.fixture
def ranks(tmp_path):
    folder = tmp_path / "several"
    for rank in range(2):
        told = {"rank": rank, "world_size": 2}
        rec.write_run(folder / f"rank-{rank}", 4, attributes=told)
    return folder


def files_of(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_tags_come_and_go_and_nothing_else_changes(path):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["from_a_later_version"] = {"x": [1, 2.5, None]}
    document["something"] = {"else": True}
    (path / "zarr.json").write_text(json.dumps(document))
    before = files_of(path)
    assert actrace.tag_run(path, add=["good", "new"], remove="bad") == ("new", "good")
    assert actrace.tag_run(path, remove=["new"]) == ("good",)
    after = files_of(path)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert {str(name) for name in changed} == {"zarr.json"}
    document["attributes"]["tags"] = ["good"]
    assert json.loads((path / "zarr.json").read_text()) == document
    assert actrace.runs(path).loc["a"].tags == ("good",)


def test_a_note_is_written_and_taken_away(path):
    actrace.note_run(path, "the one with\nthe seed bug \ud800")
    assert actrace.open(path).attrs["note"] == "the one with\nthe seed bug ?"
    actrace.note_run(path, "")
    assert "note" not in actrace.open(path).attrs


@pytest.mark.parametrize("tag", ["", " ", 3])
def test_an_empty_tag_is_refused(path, tag):
    with pytest.raises(ValueError, match="a text that is not empty"):
        actrace.tag_run(path, add=[tag])


def test_a_changed_run_is_resumed_with_what_was_said_of_it(path):
    actrace.tag_run(path, add="good")
    writer = RunWriter.resume(path)
    writer.append_batch(rec.batch_row("train", 12, lr=0.1))
    writer.close()
    run = actrace.open(path)
    assert run.attrs["tags"] == ["new", "good"]
    rec.assert_rows(run["train"], "train", list(range(13)))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: actrace.tag_run(path, add="x"),
        lambda path: actrace.note_run(path, "x"),
        lambda path: actrace.rename_run(path, path.with_name("b")),
        actrace.delete_run,
    ],
)
def test_a_run_being_recorded_is_left_alone(tmp_path, change):
    writer = rec.new_writer(tmp_path / "live")
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    before = files_of(writer.path)
    with pytest.raises(RunLockedError, match=r"is being recorded, so its .* close its recorder"):
        change(writer.path)
    assert files_of(writer.path) == before
    writer.close()


@pytest.mark.parametrize("to", ["b", "deep/er/b.zarr"])
def test_a_run_is_renamed(path, to):
    before = files_of(path)
    moved = actrace.rename_run(path.with_suffix(""), path.with_name("x").parent / to)
    assert moved.name == "b.zarr"
    assert files_of(moved) == before
    assert not path.exists()
    rec.assert_rows(actrace.open(moved)["train"], "train", list(range(12)))


def test_a_run_takes_nobodys_place(path):
    other = rec.write_run(path.with_name("b"), 1)
    with pytest.raises(RunExistsError, match=r"b\.zarr' exists"):
        actrace.rename_run(path, other)
    assert len(actrace.open(path)["train"]["step"]) == 12


def test_a_run_is_deleted_and_links_in_it_are_not_followed(path, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (path / "link").symlink_to(kept)
    actrace.delete_run(path)
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert (kept / "file").exists()


def test_only_a_run_is_deleted(path, tmp_path):
    folder = tmp_path / "mine.zarr"
    folder.mkdir()
    (folder / "thesis.txt").touch()
    (tmp_path / "link.zarr").symlink_to(path)
    damaged = shutil.copytree(path, tmp_path / "copy.zarr")
    (damaged / "zarr.json").write_text("{")
    for target, error, said in (
        (folder, NotARunError, "without a run"),
        (tmp_path / "link", NotARunError, "is a link"),
        (tmp_path / "nothing", NotARunError, "there is no run"),
        (tmp_path, NotARunError, "it holds runs"),
    ):
        with pytest.raises(error, match=said):
            actrace.delete_run(target)
    assert (folder / "thesis.txt").exists()
    assert path.exists()
    actrace.delete_run(damaged)  # its lock says that it was a run
    assert not damaged.exists()
    other = tmp_path / "other.zarr"
    other.mkdir()
    (other / "zarr.json").write_text("{")
    with pytest.raises(DamagedRunError):
        actrace.delete_run(other)


def test_a_newer_run_is_renamed_and_deleted_but_never_edited(path):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["actrace_schema"] = 2
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(NewerSchemaError, match="has schema 2 and this actrace reads up to 1"):
        actrace.tag_run(path, add="x")
    moved = actrace.rename_run(path, path.with_name("b"))
    actrace.delete_run(moved)
    assert not moved.exists()


def test_ranks_are_one_run(ranks, tmp_path):
    assert actrace.tag_run(ranks, add="x") == ("x",)
    assert all(actrace.open(p).attrs["tags"] == ["x"] for p in ranks.iterdir())
    moved = actrace.rename_run(ranks, tmp_path / "moved.zarr")
    assert moved == tmp_path / "moved"
    (moved / "log.txt").touch()
    live = RunWriter.resume(moved / "rank-1.zarr")
    with pytest.raises(RunLockedError):
        actrace.delete_run(moved)
    assert len(list(moved.glob("rank-*.zarr"))) == 2
    live.close()
    actrace.delete_run(moved)
    assert [p.name for p in moved.iterdir()] == ["log.txt"]
    (moved / "log.txt").unlink()


def test_a_folder_of_ranks_goes_whole(ranks):
    actrace.delete_run(ranks)
    assert not ranks.exists()
