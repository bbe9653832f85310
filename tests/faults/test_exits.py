"""However a training ends, what was handed over is in the store within 5 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import actrace

ROOT = Path(__file__).parents[2]

TRAINING = """
import atexit, json, os, signal, sys, threading, time
if __name__ == "__main__":
    began = None
    def drained():
        # Registered first, so it runs after everything that ends a recording.
        if began is not None:
            with open(sys.argv[1] + ".seconds", "w") as file:
                file.write(str(time.monotonic() - began))
    atexit.register(drained)

import torch
from torch import nn
import actrace
from actrace.store.writer import RunWriter

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
recorder = actrace.record(model, sys.argv[1])
real = RunWriter.append_batches

def train(n):
    for _ in range(n):
        model(torch.ones(5, 4))

def ends():
    global began
    began = time.monotonic()

full = []

def fill_the_queue(n):
    # The writer stands still until the training waits for it, and is slow from then on.
    worker = recorder._session.worker
    def append(self, rows):
        while not full:
            time.sleep(0.001)
            if worker.waiting:
                full.append(True)
        time.sleep(0.004 * len(rows))
        real(self, rows)
    RunWriter.append_batches = append
    train(n)
    assert worker.waited_seconds > 0
"""

#: name -> (what the script does, its exit status, the run's status)
EXITS = {
    "the end of the script": ("train(20); ends()", 0, "finished"),
    "an error": ("train(20); ends(); raise ValueError", 1, "failed"),
    "an error in the with block": ("with recorder:\n    train(20); ends(); 1 / 0", 1, "failed"),
    "sys.exit": ("train(20); ends(); sys.exit(3)", 3, "finished"),
    "sys.exit in the with block": (
        "with recorder:\n    train(20); ends(); sys.exit(3)",
        3,
        "failed",
    ),
    "sys.exit(0) in the with block": (
        "with recorder:\n    train(20); ends(); sys.exit(0)",
        0,
        "finished",
    ),
    "SystemExit in a thread": (
        """
def other():
    raise SystemExit(5)
thread = threading.Thread(target=other)
train(10); thread.start(); thread.join(); train(10); ends()
""",
        0,
        "finished",
    ),
    "an error in a thread that trains": (
        """
def other():
    train(20); ends(); raise ValueError
thread = threading.Thread(target=other)
thread.start(); thread.join()
""",
        0,
        "finished",
    ),
    "Ctrl-C between batches": (
        "train(20); ends(); os.kill(os.getpid(), signal.SIGINT)",
        -signal.SIGINT,
        "failed",
    ),
    "SIGTERM with a handler that exits": (
        """
signal.signal(signal.SIGTERM, lambda *_: (ends(), sys.exit(143)))
train(20); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
""",
        143,
        "finished",
    ),
    "SIGTERM with a handler that exits, in the with block": (
        """
signal.signal(signal.SIGTERM, lambda *_: (ends(), sys.exit(143)))
with recorder:
    train(20); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
""",
        143,
        "failed",
    ),
}


def run_script(path: Path, end: str) -> tuple[int, float | None]:
    """Run a training; return its exit status and the seconds its end took."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING + end, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    seconds = path.with_name(path.name + ".seconds")
    return done.returncode, float(seconds.read_text()) if seconds.exists() else None


def check_rows(path: Path, batches: int) -> actrace.Run:
    """Assert that every batch from the first on is there and right; return the run."""
    run = actrace.open(path)
    assert run.n_batches("train") == batches
    train = run["train"].to_dataset().load()
    np.testing.assert_array_equal(train["step"], np.arange(batches))
    assert (train["calls"] == 1).all()
    assert (train["samples"] == 5).all()
    np.testing.assert_array_equal(train["count"].sum("bin"), train["elements"])
    assert (train["elements"].isel(layer=0) == 5 * 64).all()
    return run


@pytest.mark.parametrize("name", EXITS)
def test_an_exit_drains_everything(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    end, code, status = EXITS[name]
    got, seconds = run_script(tmp_path / "run", end)
    assert got == code
    assert check_rows(tmp_path / "run", 20).status == status
    assert seconds is not None
    with capsys.disabled():
        print(f"\n{name}: drained in {seconds:.3f} s")
    assert seconds < 5


def test_a_full_queue_is_drained_at_the_interpreters_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, seconds = run_script(tmp_path / "run", "fill_the_queue(276); ends()")
    assert got == 0
    assert seconds is not None
    with capsys.disabled():
        print(f"\nan exit with a full queue: drained in {seconds:.3f} s")
    assert seconds < 5
    assert check_rows(tmp_path / "run", 276).status == "finished"


def test_ctrl_c_while_the_training_waits_for_the_writer_loses_no_batch(tmp_path: Path) -> None:
    end = """
def press():
    # The writer has seen that the training waits, or it would stand still for ever.
    while not full:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press).start()
fill_the_queue(10_000)
"""
    got, _ = run_script(tmp_path / "run", end)
    assert got == -signal.SIGINT
    # The batch that found no free row never began; all before it are written by the close.
    n = actrace.open(tmp_path / "run").n_batches("train")
    assert n >= 256
    assert check_rows(tmp_path / "run", n).status == "failed"


def test_ctrl_c_in_a_forward_drops_that_batch_alone(tmp_path: Path) -> None:
    end = """
train(20)
model[2].register_forward_hook(lambda *_: (ends(), os.kill(os.getpid(), signal.SIGINT)))
train(1)
"""
    got, seconds = run_script(tmp_path / "run", end)
    assert got == -signal.SIGINT
    assert seconds is not None
    assert check_rows(tmp_path / "run", 20).status == "failed"


def test_ctrl_c_while_closing_still_writes_everything(tmp_path: Path) -> None:
    end = """
train(20)
commit = RunWriter.commit
def slow(self):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    commit(self)
RunWriter.commit = slow
recorder.close()
"""
    got, _ = run_script(tmp_path / "run", end)
    assert got == -signal.SIGINT
    assert check_rows(tmp_path / "run", 20).status == "finished"


@pytest.mark.parametrize("end", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_an_end_that_runs_no_handlers_leaves_the_last_commit(tmp_path: Path, end: str) -> None:
    got, seconds = run_script(tmp_path / "run", f"train(20); recorder.flush(); train(5); {end}")
    assert got in (7, -signal.SIGTERM)
    assert seconds is None
    assert check_rows(tmp_path / "run", 20).status == "interrupted"
