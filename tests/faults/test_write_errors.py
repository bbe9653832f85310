"""The disk refuses at every step of a commit in turn: the training goes on, the prefix is whole.

What is injected stands in for `os` and `open` in the one module that writes files.
"""

from __future__ import annotations

import builtins
import errno
import os
import time
import tracemalloc
import warnings
from typing import Any

import pytest
from tests.store import recording as rec

import actrace
from actrace.errors import ActraceWarning
from actrace.store import files as files_module
from actrace.store.reader import open_run
from actrace.store.rows import BatchRows
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

STEPS = ("open", "write", "fsync", "replace", "makedirs")


class Cut(BaseException):
    """The process ends here."""


class Disk:
    """Counts every operation of a writer, and lets some go wrong."""

    def __init__(self, fail: Any) -> None:
        self.fail = fail
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in STEPS:
            return real

        def call(*arguments: Any, **settings: Any) -> Any:
            self.step(name)
            return real(*arguments, **settings)

        return call

    def step(self, name: str) -> None:
        self.seen.append(name)
        self.fail(len(self.seen) - 1, name)

    def open_file(self, path: Any, *arguments: Any, **settings: Any) -> Any:
        self.step("open")
        file = builtins.open(path, *arguments, **settings)  # noqa: SIM115 - its caller closes it
        disk = self

        class Raw:
            def __enter__(self) -> Raw:
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def fileno(self) -> int:
                return file.fileno()

            def write(self, data: Any) -> int:
                # Half of it is written before it goes wrong.
                file.write(data[: len(data) // 2])
                disk.step("write")
                return len(data) // 2 + file.write(data[len(data) // 2 :])

        return Raw()


def use(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    monkeypatch.setattr(files_module, "os", disk)
    monkeypatch.setattr(files_module, "open", disk.open_file, raising=False)


def grow(writer: RunWriter, start: int) -> None:
    """Fill a shard, begin another and a new variable, and commit."""
    for index in range(start, start + 18):
        writer.append_batch(rec.batch_row("train", index))
    writer.append_batch(rec.batch_row("train", start + 18, lr=0.5))
    writer.commit()


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_writer_that_dies_at_any_step_leaves_the_last_commit(
    tmp_path, monkeypatch, durability, repeats, capsys
):
    """Each open, write, flush and rename in turn is the last thing that happens.

    Every seventeenth, or with --long every one.
    """
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    step, states = 0, 0
    while True:
        writer = rec.new_writer(tmp_path / str(step), durability=durability)
        for index in range(10):
            writer.append_batch(rec.batch_row("train", index))
        writer.commit()

        def die(at: int, name: str, last: int = step) -> None:
            if at == last:
                raise Cut

        with monkeypatch.context() as patch:
            use(patch, Disk(die))
            try:
                grow(writer, 10)
            except Cut:
                died = True
            else:
                died = False
        writer._lock.release()
        run = open_run(writer.path)
        n = run.n_batches("train")
        assert n in (10, 29) if died else n == 29
        rec.assert_rows(
            run["train"].to_dataset().drop_vars("lr", errors="ignore"), "train", list(range(n))
        )
        run.close()
        states += 1
        resumed = RunWriter.resume(writer.path)
        grow(resumed, n)
        resumed.close()
        run = open_run(writer.path)
        rec.assert_rows(run["train"].to_dataset().drop_vars("lr"), "train", list(range(n + 19)))
        run.close()
        if not died:
            break
        step += 1 if repeats > 1 else 17
    with capsys.disabled():
        print(f"\n{states} deaths at a step of a commit, durability={durability!r}: all clean")
    assert states > 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("every", [1, 2, 7, 40])
def test_a_disk_that_refuses_every_nth_call_costs_one_warning(tmp_path, monkeypatch, number, every):
    """The training goes on, one warning is given, losses are counted, what is there is whole."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.worker.RETRY_SECONDS", 0.0)
    thread = WriterThread(rec.new_writer(tmp_path / "a"), flush_seconds=1e9)

    def refuse(at: int, name: str) -> None:
        if at % every == every - 1:
            raise OSError(number, os.strerror(number))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with monkeypatch.context() as patch:
            use(patch, Disk(refuse))
            for index in range(60):
                thread.call(thread.write_batches, BatchRows.of(rec.batch_row("train", index)))
                if index % 10 == 9:
                    thread.flush()
        assert thread.flush()
        thread.close()
    assert [w.category for w in seen] == [ActraceWarning]
    assert os.strerror(number) in str(seen[0].message)
    run = open_run(tmp_path / "a")
    n, lost = run.n_batches("train"), run.lost_batches.get("train", 0)
    assert n + lost == 60
    steps = run["train"]["step"].values.tolist()
    assert steps == sorted(set(steps))
    rec.assert_rows(run["train"], "train", steps)
    run.close()


def test_a_slow_disk_holds_the_training_up_and_says_so(tmp_path, monkeypatch):
    """Memory stays bounded while each rename takes long; store and report say what was waited."""
    import torch

    def delay(at: int, name: str) -> None:
        if name == "replace":
            time.sleep(0.01)

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.group.LONGEST", 32)
    with actrace.record(model, tmp_path / "a", flush_seconds=0.0) as recorder:
        use(monkeypatch, Disk(delay))
        x = torch.zeros(8, 4)
        for _ in range(300):
            model(x)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(900):
            model(x)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        waited = recorder.report().waited_seconds
    monkeypatch.undo()
    run = open_run(tmp_path / "a")
    assert run.n_batches("train") == 1200
    assert run.lost_batches == {}
    assert waited > 0.1
    assert run.attrs["waited_seconds"] >= waited * 0.9
    assert grown < 20 * 2**20
    run.close()
