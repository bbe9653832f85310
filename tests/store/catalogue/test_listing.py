"""The list of runs in a folder."""

from __future__ import annotations

import json

import pytest
import zarr
from tests.store import recording as rec

from actrace.errors import NotARunError
from actrace.store.catalogue.listing import list_runs
from actrace.store.writer import RunWriter


def test_runs_are_found_at_any_depth_and_summarised(tmp_path):
    rec.write_run(tmp_path / "b" / "deep", 12, attributes={"tags": ["x"], "config": {"lr": 1}})
    live = rec.new_writer(tmp_path / "a")
    rec.write_run(tmp_path / "a_failed", 1)
    RunWriter.resume(tmp_path / "a_failed").close("failed", {"lost_batches": {"train": 2}})
    killed = rec.new_writer(tmp_path / "killed")
    killed._lock.release()
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert {name: run.status for name, run in runs.items()} == {
        "a": "recording",
        "a_failed": "failed",
        "b/deep": "finished",
        "killed": "interrupted",
    }
    deep = runs["b/deep"]
    assert deep.path == tmp_path / "b" / "deep.zarr"
    assert (tuple(deep.phases), deep.batches, deep.epochs) == (("train",), {"train": 12}, 2)
    assert (deep.layers, deep.tags, deep.config) == (3, ("x",), {"lr": 1})
    for run in runs.values():
        assert run.size == sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())
    assert deep.started <= deep.ended
    assert runs["a_failed"].lost == {"train": 2}
    live.close()


def test_a_run_itself_is_a_list_of_one(tmp_path):
    path = rec.write_run(tmp_path / "a", 1)
    assert [run.name for run in list_runs(path)] == ["a"]


def test_damaged_and_newer_runs_are_listed_as_such(tmp_path):
    for name in ("bad", "newer", "cut"):
        rec.write_run(tmp_path / name, 1)
    document = json.loads((tmp_path / "newer.zarr/zarr.json").read_text())
    document["attributes"]["actrace_schema"] = 9
    (tmp_path / "newer.zarr/zarr.json").write_text(json.dumps(document))
    (tmp_path / "bad.zarr/zarr.json").write_text("{")
    document = json.loads((tmp_path / "cut.zarr/zarr.json").read_text())
    del document["consolidated_metadata"]["metadata"]["train/mean"]
    del document["attributes"]["summary"]
    (tmp_path / "cut.zarr/zarr.json").write_text(json.dumps(document))
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert {name: run.status for name, run in runs.items()} == {
        "bad": "damaged",
        "newer": "newer",
        "cut": "damaged",
    }
    assert "not whole JSON" in runs["bad"].problem
    assert "upgrade" in runs["newer"].problem
    assert "lacks 'train/mean'" in runs["cut"].problem


def test_other_things_and_links_are_left_out(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    rec.write_run(elsewhere / "a", 1)
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "link").symlink_to(elsewhere)
    (folder / "notes.txt").touch()
    (folder / "empty.zarr").mkdir()
    zarr.create_group(folder / "other.zarr", zarr_format=3)
    rec.write_run(folder / ".b.zarr.new-1234" / "b", 1)
    assert list_runs(folder) == []


def test_a_place_that_is_no_folder_says_so(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(NotARunError, match="it is a file; give a directory that holds runs"):
        list_runs(tmp_path / "x")
    with pytest.raises(NotARunError, match="nothing is there"):
        list_runs(tmp_path / "y")
