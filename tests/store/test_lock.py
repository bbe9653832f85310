"""One writer a run, and readers that never get in its way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from tests.store import recording as rec

from actrace.errors import RunLockedError, StoreWriteError
from actrace.store.lock import RunLock, is_being_written
from actrace.store.paths import LOCK_NAME
from actrace.store.reader import open_run
from actrace.store.writer import RunWriter


def test_a_second_writer_is_refused(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    with pytest.raises(RunLockedError, match="is being written by another recorder; close"):
        RunWriter.resume(writer.path)
    with pytest.raises(RunLockedError, match="is being written"):
        rec.new_writer(writer.path, overwrite=True)
    writer.append_batch(rec.batch_row("train", 0))
    writer.close()
    assert open_run(writer.path).n_batches("train") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]
    RunWriter.resume(writer.path).close()


def test_status_follows_the_lock(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    assert open_run(writer.path).status == "recording"
    writer._lock.release()
    assert open_run(writer.path).status == "interrupted"
    assert open_run(writer.path).attrs["status"] == "interrupted"
    resumed = RunWriter.resume(writer.path)
    assert open_run(writer.path).status == "recording"
    resumed.close("failed")
    assert open_run(writer.path).status == "failed"


def test_a_probe_never_makes_a_starting_writer_fail(tmp_path):
    """A reader that looks whether the run is live, over and over, while writers come and go."""
    path = rec.write_run(tmp_path / "a", 1)
    stop = threading.Event()

    def probe():
        while not stop.is_set():
            is_being_written(path)

    threads = [threading.Thread(target=probe) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            lock = RunLock(path)
            assert is_being_written(path)
            lock.release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not is_being_written(path)


def test_a_writer_waits_out_a_probe_that_is_slow(tmp_path):
    path = rec.write_run(tmp_path / "a", 1)
    held = RunLock(path)
    timer = threading.Timer(0.15, held.release)
    timer.start()
    try:
        RunLock(path).release()
    finally:
        timer.join()


def python(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_forked_child_does_not_take_the_lock_away(tmp_path):
    python(
        """
import os
from pathlib import Path
from actrace.store.lock import RunLock, is_being_written
lock = RunLock(Path.cwd())
child = os.fork()
if child == 0:
    lock.release()
    os._exit(0)
os.waitpid(child, 0)
assert is_being_written(Path.cwd())
""",
        tmp_path,
    )
    assert not is_being_written(tmp_path)


def test_a_lock_left_by_a_dead_process_is_free(tmp_path):
    python(
        """
import os
from pathlib import Path
from actrace.store.lock import RunLock
lock = RunLock(Path.cwd())
os.kill(os.getpid(), 9) if os.fork() == 0 else os._exit(os.wait()[1] - 9)
""",
        tmp_path,
    )
    RunLock(tmp_path).release()


def test_a_lock_is_given_up_once(tmp_path):
    lock = RunLock(tmp_path)
    lock.release()
    other = RunLock(tmp_path)
    lock.release()
    assert is_being_written(tmp_path)
    del other
    assert not is_being_written(tmp_path)


def test_no_lock_file_means_nobody_writes(tmp_path):
    assert not is_being_written(tmp_path)
    assert not is_being_written(tmp_path / "nowhere")


def test_a_directory_that_takes_no_lock_says_so(tmp_path):
    with pytest.raises(StoreWriteError, match="cannot write run"):
        RunLock(tmp_path / "nowhere")
    (tmp_path / LOCK_NAME).symlink_to("elsewhere")
    with pytest.raises(StoreWriteError, match="cannot write run"):
        RunLock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_waiting_for_a_lock_has_an_end(tmp_path):
    held = RunLock(tmp_path)
    began = time.monotonic()
    with pytest.raises(RunLockedError):
        RunLock(tmp_path, patience=0.05)
    assert time.monotonic() - began < 30
    held.release()


def test_a_child_that_outlives_a_killed_writer_does_not_keep_the_run_locked(tmp_path):
    """A data loader's worker holds a copy of every descriptor that its parent had."""
    python(
        """
import os, time
from pathlib import Path
from actrace.store.lock import RunLock, is_being_written
asked, told = os.pipe()
begun, begins = os.pipe()
writer = os.fork()
if writer == 0:
    lock = RunLock(Path.cwd())
    worker = os.fork()
    if worker == 0:
        os.close(told)
        os.write(begins, b"1")
        os.read(asked, 1)  # lives on until the first process is gone
        os._exit(0)
    os.read(begun, 1)
    assert is_being_written(Path.cwd())
    os.kill(os.getpid(), 9)
os.waitpid(writer, 0)
assert not is_being_written(Path.cwd())
RunLock(Path.cwd()).release()
""",
        tmp_path,
    )
