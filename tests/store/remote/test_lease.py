"""One writer a run in a bucket, and what becomes of one that is not heard of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import obstore
import pytest
from tests.store import recording as rec

import actrace
from actrace.errors import RunLockedError, StoreWriteError
from actrace.store.paths import LOCK_NAME
from actrace.store.remote import lease as lease_module
from actrace.store.remote.lease import BucketLease
from actrace.store.sources.bucket import connect
from actrace.store.writer import RunWriter


@pytest.fixture
def elsewhere(monkeypatch):
    """Let this process take leases as one on a machine that cannot be looked into."""
    monkeypatch.setattr(lease_module, "_machine", lambda: "")


def test_a_second_writer_is_refused_and_told_who_writes(bucket):
    writer = rec.new_writer(f"{bucket}/a")
    for begin in (RunWriter.resume, lambda url: rec.new_writer(url, overwrite=True)):
        with pytest.raises(RunLockedError) as caught:
            begin(writer.path)
        said = str(caught.value)
        assert f"process {os.getpid()}" in said
        assert str(datetime.now(UTC).year) in said
        assert "its lease ends in" in said
    writer.append_batch(rec.batch_row("train", 0))
    writer.close()
    rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", [0])
    RunWriter.resume(f"{bucket}/a").close()


def test_a_writer_of_this_machine_that_died_holds_nothing_up(bucket):
    code = (
        "import os, sys\nfrom tests.store import recording as rec\n"
        "writer = rec.new_writer(sys.argv[1])\nwriter.append_batch(rec.batch_row('train', 0))\n"
        "writer.commit()\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{bucket}/a"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == -9
    assert actrace.open(f"{bucket}/a").status == "interrupted"
    writer = RunWriter.resume(f"{bucket}/a")
    assert actrace.open(f"{bucket}/a").status == "recording"
    writer.append_batch(rec.batch_row("train", 1))
    writer.close()
    rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", [0, 1])


def test_an_export_never_writes_over_a_run_that_is_being_recorded(bucket, tmp_path):
    path = rec.write_run(tmp_path / "a", 3)
    writer = rec.new_writer(f"{bucket}/a")
    with pytest.raises(RunLockedError, match="is being recorded; export to another name"):
        actrace.export_run(path, f"{bucket}/a", overwrite=True)
    writer.close()
    actrace.export_run(path, f"{bucket}/a", overwrite=True)
    rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", [0, 1, 2])


@pytest.mark.usefixtures("elsewhere")
def test_a_lease_that_is_not_renewed_ends(bucket, monkeypatch):
    monkeypatch.setattr(lease_module, "LEASE", 3.0)
    monkeypatch.setattr(lease_module, "MARGIN", 0.0)
    store = connect(f"{bucket}/a")
    BucketLease(store, "a")
    with pytest.raises(RunLockedError, match=r"its lease ends in [0-9] s"):
        BucketLease(store, "a")
    deadline = time.monotonic() + 60
    while True:
        try:
            BucketLease(store, "a").release()
            break
        except RunLockedError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.usefixtures("elsewhere")
def test_a_lease_is_renewed_while_it_is_held(bucket, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT", 0.05)
    store = connect(f"{bucket}/a")
    lease = BucketLease(store, "a")
    first = obstore.head(store, LOCK_NAME)["e_tag"]
    deadline = time.monotonic() + 60
    while obstore.head(store, LOCK_NAME)["e_tag"] == first:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lease.release()
    lease.release()
    BucketLease(store, "a").release()


@pytest.mark.usefixtures("elsewhere")
def test_a_writer_that_was_given_up_writes_no_more(bucket, monkeypatch):
    """It was asleep, say: another took over, and nothing of its is written over."""
    monkeypatch.setattr(lease_module, "LEASE", 0.0)
    monkeypatch.setattr(lease_module, "BEAT", 3600.0)
    asleep = rec.new_writer(f"{bucket}/a")
    asleep.append_batch(rec.batch_row("train", 0))
    asleep.commit()
    other = RunWriter.resume(f"{bucket}/a")
    other.append_batch(rec.batch_row("train", 1))
    other.commit()
    for index in range(5):
        asleep.append_batch(rec.batch_row("train", 10 + index))
        with pytest.raises(RunLockedError, match="was taken over by"):
            asleep.commit()
    with pytest.raises(RunLockedError):
        asleep.close()
    other.append_batch(rec.batch_row("train", 2))
    other.close()
    rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", [0, 1, 2])


def test_a_root_document_of_another_is_never_replaced(bucket):
    """Whatever became of the lock: the commit itself is refused."""
    writer = rec.new_writer(f"{bucket}/a")
    store = connect(f"{bucket}/a.zarr")
    obstore.put(store, "zarr.json", b"{}")
    writer.append_batch(rec.batch_row("train", 0))
    with pytest.raises(RunLockedError, match="was written by another recorder meanwhile"):
        writer.commit()
    writer.release()
    assert bytes(obstore.get(store, "zarr.json").bytes()) == b"{}"


def test_a_forked_child_writes_nothing(bucket):
    lease = BucketLease(connect(f"{bucket}/a"), "a")
    lease._process = os.getpid() + 1
    with pytest.raises(StoreWriteError, match="by this process's parent"):
        lease.check()
    lease.release()
    with pytest.raises(RunLockedError):
        BucketLease(connect(f"{bucket}/a"), "a")


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe", b"[1]", b"[" * 500, b'{"lease_seconds": "x", "process": -4}', b"[" * 5000],
)
def test_a_lock_that_cannot_be_understood_counts_as_held(bucket, text):
    store = connect(f"{bucket}/a")
    obstore.put(store, LOCK_NAME, text)
    with pytest.raises(RunLockedError, match="being written by 'somebody unknown'"):
        BucketLease(store, "a")
    assert lease_module.is_leased(store)


def test_what_a_lock_says_is_shown_escaped(bucket):
    store = connect(f"{bucket}/a")
    obstore.put(store, LOCK_NAME, json.dumps({"holder": "\x1b[31mme\n"}).encode())
    with pytest.raises(RunLockedError) as caught:
        BucketLease(store, "a")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lost_answer_does_not_cost_the_lease(bucket, gate):
    """The server writes the lock and fails to say so; the second try finds what the first left."""
    puts = 0

    def lose_every_other(method, key):
        nonlocal puts
        if (method, key) != ("PUT", LOCK_NAME):
            return None
        puts += 1
        return "after" if puts % 2 else None

    gate.refuse = lose_every_other
    store = connect(f"{bucket}/a.zarr")
    lease = BucketLease(store, "a")
    for _ in range(3):
        lease.renew()
    lease.release()
    assert puts >= 10
    BucketLease(store, "a").release()


def test_nothing_but_the_lock_is_left(bucket):
    store = connect(f"{bucket}/a")
    lease = BucketLease(store, "a")
    with pytest.raises(RunLockedError):
        BucketLease(store, "a")
    lease.release()
    found = [one["path"] for batch in obstore.list(store) for one in batch]
    assert found == [LOCK_NAME]
