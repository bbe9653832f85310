"""A run that is recorded into a bucket is the run that is recorded on a disk."""

from __future__ import annotations

import sys

import numpy as np
import obstore
import pytest
import xarray as xr
import zarr
from tests.store import recording as rec

import actrace
from actrace.errors import (
    MissingDependencyError,
    NotARunError,
    RemoteError,
    RunExistsError,
)
from actrace.store.axis import Linear
from actrace.store.paths import LOCK_NAME
from actrace.store.sources.bucket import connect
from actrace.store.writer import RunWriter


def keys(url):
    """Return the keys of everything below a URL."""
    return {found["path"] for batch in obstore.list(connect(url)) for found in batch}


def plainly(url):
    """Return a run as plain xarray opens it."""
    store = zarr.storage.ObjectStore(connect(url), read_only=True)
    return xr.open_datatree(store, engine="zarr", chunks={})


def test_it_is_the_same_run(bucket, tmp_path, monkeypatch):
    """Every variable of every group, levels too, also by plain xarray, and every object's bytes."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 32)
    url = rec.write_run(f"{bucket}/runs/a", 1100)
    assert url == f"{bucket}/runs/a.zarr"
    path = rec.write_run(tmp_path / "a", 1100)
    with actrace.open(f"{bucket}/runs/a") as run, actrace.open(path) as local:
        assert (run.status, run.name) == ("finished", "a")
        assert run.levels("train") == local.levels("train") != {}
        for a, b in zip(run.subtree, local.subtree, strict=True):
            one, two = (node.to_dataset(inherit=False).drop_attrs() for node in (a, b))
            xr.testing.assert_identical(one, two)
    rec.assert_rows(plainly(url)["train"], "train", list(range(1100)))
    files = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert keys(url) == files
    for key in files - {"zarr.json", LOCK_NAME}:
        assert bytes(obstore.get(connect(url), key).bytes()) == (path / key).read_bytes()


def test_the_size_in_the_summary_is_that_of_the_objects(bucket):
    writer = rec.new_writer(f"{bucket}/a")
    writer.append_batch(rec.batch_row("train", 0))
    writer.close()
    RunWriter.resume(f"{bucket}/a").close()
    run = actrace.open(f"{bucket}/a")
    there = {
        found["path"]: found["size"]
        for batch in obstore.list(connect(f"{bucket}/a.zarr"))
        for found in batch
    }
    del there[LOCK_NAME], there["zarr.json"]
    assert run.attrs["summary"]["bytes"] == sum(there.values())


def test_a_commit_sends_chunks_then_documents_then_the_root(gate, bucket):
    writer = rec.new_writer(f"{bucket}/a")
    for index in range(20):
        gate.puts.clear()
        writer.append_batch(rec.batch_row("train", index))
        writer.commit()
        kinds = [
            2 if key == "zarr.json" else 1 if key.endswith("/zarr.json") else 0
            for key in gate.puts
            if key != LOCK_NAME
        ]
        assert kinds == sorted(kinds)
        assert kinds.count(2) == 1
        assert 0 in kinds
    writer.close()


def test_each_opening_of_a_live_run_is_one_prefix(bucket):
    writer = rec.new_writer(f"{bucket}/a")
    seen = []
    for index in range(0, 40, 8):
        for at in range(index, index + 8):
            writer.append_batch(rec.batch_row("train", at))
        writer.commit()
        run = actrace.open(f"{bucket}/a")
        assert run.status == "recording"
        seen.append(run)
    writer.close()
    for n, run in enumerate(seen, 1):
        # The objects have grown since; the prefix has not.
        rec.assert_rows(run["train"], "train", list(range(8 * n)))


def test_it_is_resumed_where_it_ended(bucket, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    url, n = f"{bucket}/a", 0
    writer = rec.new_writer(url)
    for _ in range(3):
        for index in range(n, n + 27):
            writer.append_batch(rec.batch_row("train", index))
        n += 27
        writer.append_window(rec.unit_window("train", n, 27))
        writer.close()
        run = actrace.open(url)
        rec.assert_rows(run["train"], "train", list(range(n)))
        assert run["train/unit"].sizes["window"] == n // 27
        writer = RunWriter.resume(url)
        assert writer.n_committed("train") == n
        assert actrace.open(url).status == "recording"
    writer.close("failed")
    assert actrace.open(url).status == "failed"


def test_what_was_not_committed_is_not_there_after_a_resume(bucket):
    url = f"{bucket}/a"
    writer = rec.new_writer(url)
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    store = connect(f"{url}.zarr")
    root = bytes(obstore.get(store, "zarr.json").bytes())
    for index in range(1, 30):
        writer.append_batch(rec.batch_row("train", index))
        writer.append_batch(rec.batch_row("valid", index))
    writer.commit()
    writer.release()
    # As if it had died before the root document of its last commit.
    obstore.put(store, "zarr.json", root)
    writer = RunWriter.resume(url)
    assert (writer.n_batches("train"), writer.n_batches("valid")) == (1, 0)
    writer.append_batch(rec.batch_row("train", 1))
    writer.append_batch(rec.batch_row("valid", 5))
    writer.close()
    run = actrace.open(url)
    rec.assert_rows(run["train"], "train", [0, 1])
    rec.assert_rows(run["valid"], "valid", [5])


@pytest.mark.parametrize("axis", [rec.AXIS, Linear(-2, 2, 8)], ids=["same bins", "other bins"])
def test_a_run_is_replaced_only_if_asked(bucket, axis):
    url = rec.write_run(f"{bucket}/a", 300)
    obstore.put(connect(url), "mine.txt", b"x")
    with pytest.raises(RunExistsError, match="pass resume=True to go on"):
        RunWriter.create(url, axis=axis, attributes={})
    early = actrace.open(url)
    writer = RunWriter.create(url, axis=axis, attributes={}, overwrite=True)
    assert actrace.open(url).phases == ()
    assert not any(key.startswith("train/") for key in keys(url))
    assert "mine.txt" in keys(url)
    writer.declare_layers(rec.LAYERS)
    writer.append_batch(rec.batch_row("train", 7, n_bins=axis.n_bins))
    writer.close()
    np.testing.assert_array_equal(actrace.open(url)["train"]["step"].values, [7])
    # Who had the old run open never reads the new one's numbers as its own.
    with pytest.raises(actrace.errors.ActraceError, match="of another run"):
        early["train"]["step"].values  # noqa: B018


def test_what_is_no_run_is_never_replaced(bucket):
    obstore.put(connect(f"{bucket}/a.zarr"), "mine.txt", b"x")
    zarr.create_group(zarr.storage.ObjectStore(connect(f"{bucket}/b.zarr")))
    before = keys(bucket)
    for name in ("a", "b"):
        with pytest.raises(RunExistsError, match="that is not a run of actrace"):
            rec.new_writer(f"{bucket}/{name}", overwrite=True)
    assert keys(bucket) == before


def test_a_beginning_that_failed_leaves_a_place_that_is_free(bucket, gate):
    gate.refuse = lambda method, key: "before" if "bin_left" in key else None
    options = {"retry_config": {"max_retries": 0}}
    with pytest.raises(RemoteError, match="503"):
        rec.new_writer(f"{bucket}/a", storage_options=options)
    gate.refuse = lambda method, key: None
    rec.write_run(f"{bucket}/a", 3)
    assert actrace.open(f"{bucket}/a").n_batches("train") == 3


def test_what_cannot_be_says_so(bucket, monkeypatch, tmp_path):
    with pytest.raises(NotARunError, match="there is no run at"):
        RunWriter.resume(f"{bucket}/nothing")
    with pytest.raises(RemoteError, match="expected s3://BUCKET/PATH"):
        rec.new_writer("gs://bucket/run")
    with pytest.raises(ValueError, match="'process' or 'power'"):
        rec.new_writer(f"{bucket}/a", durability="sure")
    rec.new_writer(f"{bucket}/a", durability="power").close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "actrace\[remote\]"'):
        rec.new_writer(f"{bucket}/a")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_at_the_start_is_an_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    options = {"retry_config": {"max_retries": 0}}
    with pytest.raises(RemoteError, match="cannot be reached"):
        rec.new_writer(f"{bucket}/a", storage_options=options)


def test_what_works_on_a_disk_alone_says_so(bucket):
    url = rec.write_run(f"{bucket}/a", 3)
    for work in (
        actrace.check,
        actrace.repair,
        lambda url: actrace.tag_run(url, add="x"),
        actrace.delete_run,
        RunWriter.reopen,
    ):
        with pytest.raises(RemoteError, match=f"first, with actrace export {url} DIRECTORY"):
            work(url)
    with actrace.open(url) as run, pytest.raises(NotARunError, match="in an object store"):
        actrace.check(run)
