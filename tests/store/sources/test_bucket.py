"""A run in a bucket is the run: read in place, and kept up to date by exporting it again."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import obstore
import pytest
import xarray as xr
from tests.store import recording as rec

import actrace
from actrace.errors import (
    DamagedRunError,
    MissingDependencyError,
    NotARunError,
    RemoteError,
    RunExistsError,
)
from actrace.store.sources import bucket as reading
from actrace.store.sources.bucket import TAIL, BucketSource, connect
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return rec.write_run(tmp_path_factory.mktemp("bucket") / "a", 40)


def objects(url):
    """Return key -> time of its last change and size of everything below a URL."""
    return {
        found["path"]: (found["last_modified"], found["size"])
        for batch in obstore.list(connect(url))
        for found in batch
    }


def test_a_run_in_a_bucket_is_the_run(path, bucket):
    place = actrace.export_run(path, f"{bucket}/runs/a")
    assert place == f"{bucket}/runs/a.zarr"
    for url in (place, f"{bucket}/runs/a", f"{place}/"):
        with actrace.open(url) as run, actrace.open(path) as original:
            assert (run.name, run.status, run.directory) == ("a", "finished", None)
            for a, b in zip(run.subtree, original.subtree, strict=True):
                xr.testing.assert_identical(
                    a.to_dataset(inherit=False), b.to_dataset(inherit=False)
                )


def test_it_comes_back_as_it_was(path, bucket, tmp_path):
    place = actrace.export_run(path, f"{bucket}/a")
    back = actrace.export_run(place, tmp_path / "back")
    one, two = (
        {p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.is_file()}
        for top in (path, tmp_path / "back.zarr")
    )
    assert back == str(tmp_path / "back.zarr")
    assert {k: v for k, v in one.items() if not k.name.startswith(".")} == two


def test_where_and_as_whom_can_be_told(path, bucket, endpoint, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    options = {
        "endpoint": endpoint,
        "access_key_id": "somebody",
        "secret_access_key": "secret",
        "region": "us-east-1",
    }
    place = actrace.export_run(path, f"{bucket}/a", storage_options=options)
    run = actrace.open(place, storage_options=options)
    rec.assert_rows(run["train"], "train", list(range(40)))
    again = pickle.loads(pickle.dumps(run["train"].to_dataset()))
    rec.assert_rows(again, "train", list(range(40)))
    with pytest.raises(RemoteError, match="nonsense"):
        actrace.open(place, storage_options={"nonsense": "x"})


def test_ranks_are_one_run(bucket, tmp_path):
    folder = tmp_path / "several"
    for rank in range(2):
        rec.write_run(folder / f"rank-{rank}", 8, attributes={"rank": rank, "world_size": 2})
    place = actrace.export_run(folder, f"{bucket}/several")
    assert place == f"{bucket}/several"
    with actrace.open(place) as run, actrace.open(folder) as original:
        assert len(run.ranks) == 2
        xr.testing.assert_identical(run["train"].to_dataset(), original["train"].to_dataset())


def test_exporting_again_sends_what_is_new_and_the_root_last(bucket, tmp_path):
    writer = rec.new_writer(tmp_path / "live")
    for index in range(1100):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    url = actrace.export_run(writer.path, f"{bucket}/live")
    before = objects(url)
    early = actrace.open(url)
    for index in range(1100, 1110):
        writer.append_batch(rec.batch_row("train", index))
    writer.close()
    actrace.export_run(writer.path, url)
    after = objects(url)
    assert set(before) <= set(after)
    kept = {key for key in before if before[key] == after[key]}
    assert "train/count/c/0/0/0" in kept  # full, so never sent again
    assert "train/count/c/0/0/1" not in kept
    assert "layer/c/0" in kept
    assert "zarr.json" not in kept
    rec.assert_rows(actrace.open(url)["train"], "train", list(range(1110)))
    # What was opened before is still the prefix that it was, or says that it is gone.
    rec.assert_rows(early["train"], "train", list(range(1100)))


def test_an_object_replaced_while_it_is_read_is_no_mixture(bucket, path, monkeypatch):
    monkeypatch.setattr(reading, "TAIL", 16)
    place = actrace.export_run(path, f"{bucket}/a")
    file = BucketSource(place).open("train/loss/c/0")
    assert file.size > 32
    assert len(file.read(0, 10)) == 10
    obstore.put(connect(place), "train/loss/c/0", b"x" * file.size)
    with pytest.raises(RemoteError, match="was replaced while it was read"):
        file.read(0, 10)


@pytest.mark.parametrize("tail", [1, 7, TAIL])
def test_a_range_of_an_object_is_that_range(bucket, monkeypatch, tail):
    monkeypatch.setattr(reading, "TAIL", tail)
    data = bytes(range(200))
    obstore.put(connect(f"{bucket}/a"), "k", data)
    file = BucketSource(f"{bucket}/a").open("k")
    for start, stop in ((0, 200), (0, 0), (190, 200), (195, 300), (3, 199), (199, 200), (250, 300)):
        assert file.read(start, stop) == data[start:stop]


def test_another_run_is_replaced_only_if_asked(path, bucket, tmp_path):
    other = rec.write_run(tmp_path / "other", 300, phase="valid")
    place = actrace.export_run(other, f"{bucket}/a")
    obstore.put(connect(place), "mine.txt", b"x")
    with pytest.raises(RunExistsError, match="another run lies at"):
        actrace.export_run(path, place)
    actrace.export_run(path, place, overwrite=True)
    rec.assert_rows(actrace.open(place)["train"], "train", list(range(40)))
    keys = set(objects(place))
    assert "mine.txt" in keys
    assert not any(key.startswith("valid/") for key in keys)


def test_damage_in_a_bucket_is_found(path, bucket):
    place = actrace.export_run(path, f"{bucket}/a")
    store = connect(place)
    data = bytearray(bytes(obstore.get(store, "train/loss/c/0").bytes()))
    data[20] ^= 1
    obstore.put(store, "train/loss/c/0", bytes(data))
    obstore.delete(store, "train/count/c/0/0/0")
    run = actrace.open(place)
    with pytest.raises(DamagedRunError, match="checksum does not match"):
        run["train"]["loss"].values  # noqa: B018
    with pytest.raises(DamagedRunError, match="is missing, though it was committed"):
        run["train"]["count"].values  # noqa: B018


def test_what_is_not_there_says_so(bucket, monkeypatch):
    with pytest.raises(NotARunError, match="there is no run at"):
        actrace.open(f"{bucket}/nothing")
    with pytest.raises(RemoteError, match="expected s3://BUCKET/PATH"):
        actrace.open("ftp://host/run.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(RemoteError, match="cannot be reached"):
        actrace.open(f"{bucket}/a", storage_options={"retry_config": {"max_retries": 0}})


def test_the_extra_is_named_where_it_is_missing(bucket, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "actrace\[remote\]"'):
        actrace.open(f"{bucket}/a")


def test_a_fetched_run_is_resumed_here(path, bucket, tmp_path):
    place = actrace.export_run(path, f"{bucket}/a")
    writer = RunWriter.resume(actrace.export_run(place, tmp_path / "here"))
    writer.append_batch(rec.batch_row("train", 40, lr=0.1))
    writer.close()
    actrace.export_run(writer.path, place)
    np.testing.assert_array_equal(actrace.open(place)["train"]["step"].values, range(41))
