"""The writer thread: what it takes it writes, and the training never suffers for it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.store import recording as rec

from actrace.errors import ActraceWarning
from actrace.store import files as files_module
from actrace.store.reader import open_run
from actrace.store.rows import BatchRows, WindowRows
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

ROOT = Path(__file__).parents[2]


def put(thread, phase, index, **logged):
    thread.call(thread.write_batches, BatchRows.of(rec.batch_row(phase, index, **logged)))


def put_window(thread, window):
    thread.call(thread.write_windows, WindowRows.of([window]))


@pytest.fixture
def thread(tmp_path):
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)
    yield thread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ActraceWarning)
        thread.close()


def test_everything_put_is_written_in_order(tmp_path):
    thread = WriterThread(rec.RunWriter.create(tmp_path / "a", axis=rec.AXIS, attributes={}))
    thread.declare_layers(rec.LAYERS)
    thread.declare_output("train", rec.OUTPUT)
    for index in range(500):
        put(thread, "train", index)
        if index % 4 == 3:
            put_window(thread, rec.output_window("train", index // 4, 4))
            put_window(thread, rec.unit_window("train", index // 4, 4))
    thread.update_attributes({"config": {"lr": 1}})
    assert thread.close(attributes={"skipped": {"x": "why"}})
    assert thread.committed == {"train": 500}
    assert (thread.lost, thread.failure) == ({}, None)
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", list(range(500)))
    for number in range(125):
        want = rec.output_window("train", number, 4).values["count_by_unit"]
        np.testing.assert_array_equal(
            run["train"]["output"]["count_by_unit"].values[..., number], want
        )
    assert run["train"]["unit"]["first_batch"].values.tolist() == list(range(0, 500, 4))
    assert (run.status, run.attrs["config"], run.attrs["skipped"]) == (
        "finished",
        {"lr": 1},
        {"x": "why"},
    )


def test_flush_says_that_what_was_put_is_in_the_store(thread, tmp_path):
    for index in range(7):
        put(thread, "train", index)
    assert thread.flush()
    assert thread.committed == {"train": 7}
    assert open_run(tmp_path / "a").n_batches("train") == 7
    assert open_run(tmp_path / "a").status == "recording"


def test_batches_of_several_chunks_are_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.group.LONGEST", 256)
    thread = WriterThread(rec.new_writer(tmp_path / "a"))
    rows = [rec.batch_row("train", index) for index in range(700)]
    for start, stop in ((0, 5), (5, 25), (25, 600), (600, 700)):
        thread.call(thread.write_batches, rec.batch_rows(rows[start:stop]))
    thread.call(thread.write_windows, WindowRows.of([rec.unit_window("train", 0, 690, later=10)]))
    assert thread.close()
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", list(range(700)))
    unit = run["train"]["unit"]
    assert (unit["first_batch"].values.tolist(), unit["batches"].values.tolist()) == ([0], [690])


def test_of_many_batches_only_the_one_that_does_not_fit_is_lost(tmp_path):
    thread = WriterThread(rec.new_writer(tmp_path / "a"))
    rows = [rec.batch_row("train", index) for index in range(5)]
    rows[2].count[0, 0] = 2**32 + 5
    thread.call(thread.write_batches, rec.batch_rows(rows))
    with pytest.warns(ActraceWarning, match="OverflowError: .*reached 2"):
        thread.close()
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", [0, 1, 3, 4])
    assert run.lost_batches == {"train": 1}


def test_what_the_training_waits_is_measured(thread):
    gate = threading.Event()
    thread.call(gate.wait)

    def open_gate():
        while not thread.waiting:
            time.sleep(0.005)
        time.sleep(0.2)
        gate.set()

    opener = threading.Thread(target=open_gate)
    opener.start()
    thread.wait_until(gate.is_set)
    opener.join()
    assert 0.1 < thread.waited_seconds < 30
    assert not thread.waiting
    assert thread.wait()


def test_nobody_waits_for_a_writer_that_is_no_more(thread):
    thread.close()
    thread.wait_until(lambda: False)
    assert not thread.wait()


def test_what_lies_ready_elsewhere_is_asked_for_in_a_pause(tmp_path):
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=0.0)
    thread.idle = lambda: thread.write_batches(BatchRows.of(rec.batch_row("train", 0)))
    seen = threading.Event()
    for _ in range(200):
        if thread.committed.get("train"):
            break
        seen.wait(0.05)
    thread.idle = None
    assert thread.committed["train"] >= 1
    thread.close()


def test_a_commit_is_due_when_the_time_has_passed_and_not_while_one_runs(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("actrace.store.worker.time.monotonic", lambda: now[0])
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=10)
    assert not thread.commit_due()
    now[0] += 10
    assert thread.commit_due()
    put(thread, "train", 0)
    thread.commit()
    assert thread.flush()
    assert not thread.commit_due()
    now[0] += 9
    assert not thread.commit_due()
    thread._commit_seconds = 0.5
    now[0] += 2
    assert not thread.commit_due()
    now[0] += 40
    assert thread.commit_due()
    thread.close()
    assert not thread.commit_due()


def test_a_pause_in_the_training_does_not_leave_batches_unseen(tmp_path):
    """The thread commits by itself when nobody asks."""
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=0.0)
    put(thread, "train", 0)
    seen = threading.Event()
    for _ in range(200):
        if thread.committed.get("train") == 1:
            break
        seen.wait(0.05)
    assert open_run(tmp_path / "a").n_batches("train") == 1
    thread.close()


def fail(monkeypatch, number=errno.ENOSPC):
    real = os.replace
    monkeypatch.setattr(
        files_module.os,
        "replace",
        lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))),
    )
    return lambda: monkeypatch.setattr(files_module.os, "replace", real)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_fault_of_the_disk_is_one_warning_and_never_an_error(tmp_path, monkeypatch, number):
    """Rows that fit in memory are kept; what does not is counted; a later commit saves the rest."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)
    for index in range(10):
        put(thread, "train", index)
    assert thread.flush()
    heal = fail(monkeypatch, number)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for index in range(10, 30):
            put(thread, "train", index)
        put_window(thread, rec.unit_window("train", 0, 30))
        assert not thread.flush()
        assert not thread.flush()
        assert isinstance(thread.failure, OSError)
    assert [warning.category for warning in seen] == [ActraceWarning]
    assert "met a fault: cannot write" in str(seen[0].message)
    assert os.strerror(number) in str(seen[0].message)
    assert open_run(tmp_path / "a").n_batches("train") == 10
    heal()
    put(thread, "train", 30)  # the disk is not asked again so soon
    assert thread.flush()
    assert thread.lost == {"train": 15}
    assert thread.failure is None
    put(thread, "train", 31)
    put_window(thread, rec.unit_window("train", 1, 1))
    assert thread.close()
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", [*range(16), 31])
    assert run.lost_batches == {"train": 15}
    # The window that held lost batches is lost with them.
    assert run["train"]["unit"]["first_batch"].values.tolist() == [16]


def test_a_full_disk_is_asked_once_and_not_at_every_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)
    put(thread, "train", 0)
    assert thread.flush()
    asked = []

    def refuse(*_):
        asked.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.replace
    monkeypatch.setattr(files_module.os, "replace", refuse)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for index in range(1, 100):
            put(thread, "train", index)
        assert not thread.flush()
    assert len(seen) == 1
    assert len(asked) == 2  # the full chunk, and the commit
    monkeypatch.setattr(files_module.os, "replace", real)
    assert thread.close()
    assert thread.lost == {"train": 84}


def test_a_row_that_does_not_fit_is_lost_with_a_warning_never_wrapped(thread, tmp_path):
    put(thread, "train", 0)
    row = rec.batch_row("train", 1)
    row.count[0, 0] = 2**32 + 5
    thread.call(thread.write_batches, BatchRows.of(row))
    with pytest.warns(ActraceWarning, match="OverflowError: .*reached 2"):
        thread.flush()
    put(thread, "train", 1)
    thread.close()
    run = open_run(tmp_path / "a")
    rec.assert_rows(run["train"], "train", [0, 1])
    assert run.lost_batches == {"train": 1}
    assert "lost     1 batches of train" in repr(run)


def test_losses_of_a_resumed_run_add_up(tmp_path):
    for _ in range(2):
        writer = (
            RunWriter.resume(tmp_path / "a")
            if (tmp_path / "a.zarr").exists()
            else rec.new_writer(tmp_path / "a")
        )
        thread = WriterThread(writer)
        row = rec.batch_row("train", 0)
        row.count[0, 0] = 2**32
        thread.call(thread.write_batches, BatchRows.of(row))
        with pytest.warns(ActraceWarning):
            thread.close()
    assert open_run(tmp_path / "a").lost_batches == {"train": 2}


def test_a_deleted_run_never_raises_into_the_training(tmp_path):
    import shutil

    thread = WriterThread(rec.new_writer(tmp_path / "a"))
    put(thread, "train", 0)
    assert thread.flush()
    shutil.rmtree(tmp_path / "a.zarr")
    for index in range(5):
        put(thread, "train", index)
    with pytest.warns(ActraceWarning, match="No such file or directory"):
        assert not thread.flush()
    assert not thread.close()
    assert not (tmp_path / "a.zarr").exists()


def test_a_close_that_fails_counts_what_it_could_not_save(tmp_path, monkeypatch):
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)
    put(thread, "train", 0)
    assert thread.flush()
    heal = fail(monkeypatch)
    put(thread, "train", 1)
    put(thread, "train", 2)
    with pytest.warns(ActraceWarning, match="No space left"):
        assert not thread.close()
    heal()
    assert thread.lost == {"train": 2}
    assert open_run(tmp_path / "a").status == "interrupted"
    assert open_run(tmp_path / "a").n_batches("train") == 1


def test_after_close_every_call_is_quiet(thread):
    thread.close()
    put(thread, "train", 0)
    thread.commit()
    thread.update_attributes({"a": 1})
    assert not thread.flush()
    assert thread.close()
    assert thread.closed


def test_memory_does_not_grow_with_the_number_of_batches(tmp_path, monkeypatch):
    """The writer holds as much after 3,900 batches as after 1,500; a level more after 4,096."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 64)
    monkeypatch.setattr("actrace.store.group.LONGEST", 256)
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)
    source = rec.batch_row("train", 0, lr=0.1)

    def run(n):
        for _ in range(n // 300):
            for _ in range(300):
                thread.call(thread.write_batches, BatchRows.of(source))
            assert thread.flush()

    tracemalloc.start()
    try:
        run(1500)
        first = tracemalloc.get_traced_memory()[0]
        run(2400)
        last = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    thread.close()
    assert last - first < 100_000
    assert open_run(tmp_path / "a").n_batches("train") == 3900


def python(code, folder, timeout=60):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stderr


START = """
from actrace.store.rows import BatchRows
from tests.store import recording as rec
from actrace.store.worker import WriterThread
thread = WriterThread(rec.new_writer("a"))
for index in range(50):
    thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", index)))
"""


def test_a_forgotten_close_is_made_up_at_exit(tmp_path):
    assert python(START, tmp_path) == (0, "")
    run = open_run(tmp_path / "a")
    assert run.status == "finished"
    rec.assert_rows(run["train"], "train", list(range(50)))


def test_a_training_that_raised_is_marked_as_failed(tmp_path):
    code, stderr = python(START + "raise RuntimeError('loss is NaN')", tmp_path)
    assert code == 1
    assert "loss is NaN" in stderr
    run = open_run(tmp_path / "a")
    assert run.status == "failed"
    assert run.n_batches("train") == 50


def test_a_forked_child_neither_hangs_nor_writes(tmp_path):
    """A DataLoader's worker inherits the recorder, without its thread."""
    child = """
import os
pid = os.fork()
if pid == 0:
    thread.call(print, "never")
    assert not thread.wait()
    thread.flush()
    thread.close()
    raise SystemExit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    assert python(START + "assert thread.flush()\n" + child, tmp_path) == (0, "")
    assert open_run(tmp_path / "a").status == "finished"
    rec.assert_rows(open_run(tmp_path / "a")["train"], "train", list(range(50)))


def test_the_write_path_imports_nothing_heavy(tmp_path):
    code = (
        START
        + "thread.close()\nimport sys\n"
        + "heavy = {'torch', 'xarray', 'dask', 'pandas', 'zarr', 'holoviews', 'scipy'}\n"
        + "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    ).replace("from tests.store import recording as rec", LIGHT)
    assert python(code, tmp_path) == (0, "")


LIGHT = """
from actrace.store.axis import Linear
from actrace.store.rows import BatchRow, BatchRows, LayerInfo
from actrace.store.writer import RunWriter

class rec:
    @staticmethod
    def new_writer(path):
        writer = RunWriter.create(path, axis=Linear(-1, 1, 4), attributes={})
        writer.declare_layers([LayerInfo("a", "X")])
        return writer

    @staticmethod
    def batch_row(phase, index):
        row = BatchRow.empty(1, 4)
        row.phase = phase
        return row
"""
