"""The table of the runs below a URL is that of the same runs in a directory."""

from __future__ import annotations

import obstore
import pandas as pd
import pytest
import zarr
from tests.store import recording as rec

import actrace
from actrace.cli import main
from actrace.errors import RemoteError
from actrace.store.catalogue.listing import list_runs
from actrace.store.sources.bucket import connect


def write_some(top):
    """Write runs at several depths, one of two ranks, one that is recording."""
    rec.write_run(f"{top}/a", 8, attributes={"tags": ["good"], "config": {"lr": 0.1}})
    rec.write_run(f"{top}/deep/er/b", 4, phase="valid")
    for rank in range(2):
        rec.write_run(f"{top}/c/rank-{rank}", 8, attributes={"rank": rank, "world_size": 2})
    writer = rec.new_writer(f"{top}/live")
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    return writer


def test_it_is_the_table_of_a_directory(bucket, tmp_path):
    here, there = write_some(tmp_path), write_some(f"{bucket}/runs")
    local, remote = actrace.runs(tmp_path), actrace.runs(f"{bucket}/runs/")
    varying = ["path", "started", "duration", "size"]
    pd.testing.assert_frame_equal(local.drop(columns=varying), remote.drop(columns=varying))
    assert remote.loc["live", "status"] == "recording"
    assert remote.loc["a", "path"] == f"{bucket}/runs/a.zarr"
    assert actrace.open(remote.loc["c", "path"]).ranks
    assert actrace.runs(f"{bucket}/runs", tags="good").index.tolist() == ["a"]
    for depth in (0, 1):
        shallow = actrace.runs(tmp_path, depth=depth).index.tolist()
        assert actrace.runs(f"{bucket}/runs", depth=depth).index.tolist() == shallow
    here.close()
    there.close()


def test_what_is_damaged_is_listed_and_what_is_no_run_is_not(bucket):
    rec.write_run(f"{bucket}/runs/a", 3)
    obstore.put(connect(f"{bucket}/runs/b.zarr"), "zarr.json", b"{")
    obstore.put(connect(f"{bucket}/runs/c.zarr"), "something", b"x")
    zarr.create_group(zarr.storage.ObjectStore(connect(f"{bucket}/runs/d.zarr")))
    found = {run.name: run for run in list_runs(f"{bucket}/runs")}
    assert {name: run.status for name, run in found.items()} == {"a": "finished", "b": "damaged"}
    assert "not whole JSON" in found["b"].problem
    assert [run.name for run in list_runs(f"{bucket}/runs/a.zarr")] == ["a"]
    assert list_runs(f"{bucket}/nothing") == []


def test_the_command_lists_them(bucket, capsys):
    rec.write_run(f"{bucket}/runs/a", 3)
    assert main(["ls", f"{bucket}/runs"]) == 0
    assert "finished" in capsys.readouterr().out
    with pytest.raises(RemoteError, match="expected s3://BUCKET/PATH"):
        list_runs("http://somewhere/runs")
