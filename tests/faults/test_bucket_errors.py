"""The object store refuses: the training goes on, what was acknowledged stays, the rest follows."""

from __future__ import annotations

import time
import warnings

import pytest
import torch
from tests.store import recording as rec

import actrace
from actrace.errors import ActraceWarning, RemoteError, StoreWriteError
from actrace.store.remote import shipping
from actrace.store.rows import BatchRows
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

#: No second try within a request, so that a refusal is one at once.
OPTIONS = {"retry_config": {"max_retries": 0}}


def refusing(method, key):
    """Refuse every object of the run, but not its lock."""
    return "before" if method == "PUT" and "lock" not in key else None


def willing(method, key):
    """Refuse nothing."""


def put(thread, start, stop):
    for index in range(start, stop):
        thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", index)))


def test_an_outage_costs_one_warning_and_no_batch(bucket, gate):
    """What fits the memory waits, and goes with the next commit once the server is back."""
    thread = WriterThread(rec.new_writer(f"{bucket}/a", storage_options=OPTIONS), flush_seconds=1e9)
    put(thread, 0, 10)
    assert thread.flush()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gate.refuse = refusing
        for start in range(10, 60, 10):
            put(thread, start, start + 10)
            assert not thread.flush()
        assert thread.committed == {"train": 10}
        rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", list(range(10)))
        gate.refuse = willing
        put(thread, 60, 70)
        assert thread.flush()
        assert thread.close()
    assert [w.category for w in seen] == [ActraceWarning]
    assert "503" in str(seen[0].message)
    run = actrace.open(f"{bucket}/a")
    rec.assert_rows(run["train"], "train", list(range(70)))
    assert run.lost_batches == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("every", [2, 7])
def test_a_server_that_refuses_every_nth_object_costs_no_batch(
    bucket, gate, monkeypatch, when, every
):
    """Also where it stored the object and the answer was lost, the root document's too."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.worker.RETRY_SECONDS", 0.0)
    thread = WriterThread(rec.new_writer(f"{bucket}/a", storage_options=OPTIONS), flush_seconds=1e9)
    count = 0

    def refuse(method, key):
        nonlocal count
        if method != "PUT" or "lock" in key:
            return None
        count += 1
        return when if count % every == 0 or (key == "zarr.json" and count % 2) else None

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gate.refuse = refuse
        for start in range(0, 60, 10):
            put(thread, start, start + 10)
            thread.flush()
            with actrace.open(f"{bucket}/a") as run:
                n = run.n_batches("train") if run.phases else 0
                if n:
                    rec.assert_rows(run["train"], "train", list(range(n)))
        gate.refuse = willing
        assert thread.close()
    assert len(seen) == 1
    rec.assert_rows(actrace.open(f"{bucket}/a")["train"], "train", list(range(60)))


def test_a_long_outage_loses_what_does_not_fit_and_counts_it(bucket, gate, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.worker.RETRY_SECONDS", 0.0)
    monkeypatch.setattr(shipping, "WAITING_BYTES", 20_000)
    thread = WriterThread(rec.new_writer(f"{bucket}/a", storage_options=OPTIONS), flush_seconds=1e9)
    put(thread, 0, 10)
    assert thread.flush()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gate.refuse = refusing
        for start in range(10, 400, 10):
            put(thread, start, start + 10)
            if start % 50 == 0:
                thread.flush()
        lost = thread.lost["train"]
        assert lost
        gate.refuse = willing
        put(thread, 400, 410)
        while not thread.flush():
            time.sleep(0.01)
        put(thread, 410, 420)
        assert thread.close()
    assert len(seen) == 1
    run = actrace.open(f"{bucket}/a")
    assert run.lost_batches["train"] + run.n_batches("train") == 420
    steps = run["train"]["step"].values.tolist()
    assert steps[-10:] == list(range(410, 420))
    rec.assert_rows(run["train"], "train", steps)


def test_a_training_does_not_wait_for_commits_on_their_way(bucket, gate):
    """Each request takes a while, a commit many of them: batches go by meanwhile."""

    def slowly(method, key):
        if method == "PUT" and "lock" not in key:
            time.sleep(0.1)

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    x = torch.zeros(8, 4)
    recorder = actrace.record(model, f"{bucket}/a", flush_seconds=0.01)
    gate.refuse = slowly
    during = {}
    for _ in range(3000):
        model(x)
        worker = recorder._session.worker
        if worker._committing:
            during[worker._commits] = during.get(worker._commits, 0) + 1
    waited = recorder.report().waited_seconds
    gate.refuse = willing
    recorder.close()
    # More batches than the ring has room for went by within one commit.
    assert max(during.values()) > 256
    assert waited < 1
    run = actrace.open(f"{bucket}/a")
    assert run.n_batches("train") == 3000
    assert run.lost_batches == {}


def test_a_close_without_a_server_ends_and_says_what_is_lost(bucket, gate):
    thread = WriterThread(rec.new_writer(f"{bucket}/a", storage_options=OPTIONS), flush_seconds=1e9)
    put(thread, 0, 10)
    assert thread.flush()
    put(thread, 10, 15)
    gate.refuse = refusing
    with pytest.warns(ActraceWarning, match="met a fault"):
        assert not thread.close()
    assert thread.lost == {"train": 5}
    gate.refuse = willing
    writer = RunWriter.resume(f"{bucket}/a")
    assert writer.n_batches("train") == 10
    writer.close()


def test_the_slower_the_server_the_rarer_the_commits(bucket):
    thread = WriterThread(rec.new_writer(f"{bucket}/a"), flush_seconds=2.0)
    for seconds, interval in ((0.1, 2.0), (3.0, 30.0), (1000.0, 300.0)):
        thread._commit_seconds = 0.0
        thread._landed(thread._commits, None, seconds)
        assert thread._interval() == pytest.approx(interval)
    thread._landed(thread._commits - 1, RemoteError("of an earlier commit"), 1.0)
    assert thread.failure is None
    assert thread.close()


def test_a_writer_that_was_closed_does_not_wait_for_ever(bucket):
    writer = rec.new_writer(f"{bucket}/a")
    writer.close()
    writer.close()
    writer.append_batch(rec.batch_row("train", 0))
    with pytest.raises(StoreWriteError, match="was closed, and is written no more"):
        writer.commit()
