"""However a process ends, its run is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import actrace

TRAINING = """
import os, signal, sys
import torch
from torch import nn
import actrace

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
{keep}actrace.record(model, sys.argv[1])
for _ in range(20):
    model(torch.randn(5, 4))
{end}
"""


def train(path: Path, end: str, keep: str = "recorder = ") -> int:
    code = TRAINING.format(end=end, keep=keep)
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], check=False, capture_output=True, timeout=120
    ).returncode


@pytest.mark.parametrize("keep", ["recorder = ", ""], ids=["kept", "not-kept"])
def test_a_recorder_that_is_never_closed_writes_its_last_batch_at_exit(
    tmp_path: Path, keep: str
) -> None:
    assert train(tmp_path / "run", "", keep) == 0
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("finished", 20)


def test_an_unhandled_error_ends_the_run_as_failed_with_every_batch(tmp_path: Path) -> None:
    assert train(tmp_path / "run", "raise ValueError") == 1
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("failed", 20)


def test_a_killed_process_leaves_what_was_flushed(tmp_path: Path) -> None:
    end = "recorder.flush(); model(torch.randn(5, 4)); os.kill(os.getpid(), signal.SIGKILL)"
    assert train(tmp_path / "run", end) < 0
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("interrupted", 20)


def test_a_forked_child_is_silent_and_the_parent_records_on(tmp_path: Path) -> None:
    end = """
pid = os.fork()
model(torch.randn(5, 4))
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
recorder.close()
"""
    assert train(tmp_path / "run", end) == 0
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("finished", 21)
