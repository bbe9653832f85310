"""A training that is recorded and forked at random moments, in every way a child can end.

Run as ``python -m tests.faults.forking RUN CHILDREN``; prints one line of JSON. Half of the
children are forked by the training thread, half by another while the training thread is
anywhere: in a hook, holding a lock, waiting for the writer.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import actrace
from actrace.capture.recorder import Recorder

#: A child that lives this long hangs.
PATIENCE = 60.0
#: Made before any fork: PyTorch's generator is locked while another thread draws from it.
TWIN = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
#: How a child ends without its interpreter's end ...
QUICK = ("_exit", "call", "flush", "close", "killed", "record", "train")
#: ... and with it, which only a child of the training thread has.
KINDS = (*QUICK, "exit", "raise", "close and exit")


def child(kind: str, model: nn.Module, recorder: Recorder, own: Path, *, trains: bool) -> None:
    """Do what a forked child does, and end; the parent's run must not notice.

    `trains`: the training's own thread forked it.
    """
    x = torch.ones(5, 4)
    if kind == "killed":
        model(x)
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        sys.exit(0)  # by the interpreter's own end, through the handlers of atexit
    if kind == "raise":
        sys.excepthook = lambda *_: None  # its traceback is expected
        raise ValueError("a child's own fault")
    if kind == "call":
        for _ in range(3):
            recorder.log(lr=1.0)
            loss = model(x).sum()
            if trains:
                # PyTorch's own locks hang a backward in a child that was forked beside one.
                loss.backward()
        repr(recorder.report())
    elif kind == "flush":
        assert recorder.flush() is False
    elif kind in ("close", "close and exit"):
        model(x)
        recorder.close()
        if kind == "close and exit":
            sys.exit(0)
    elif kind in ("record", "train"):
        its = TWIN if kind == "record" else model
        with actrace.record(its, own, kernel="torch" if kind == "record" else None) as mine:
            for _ in range(3):
                its(x)
        assert mine.report().batches == {"train": 3}, mine.report()
        assert actrace_batches(own) == 3
    os._exit(0)


def actrace_batches(path: Path) -> int:
    """Return the length of phase train as the root's document has it, without a reader."""
    document = json.loads((path.with_suffix(".zarr") / "zarr.json").read_text())
    nodes = document["consolidated_metadata"]["metadata"]
    return int(nodes["train/step"]["shape"][0])


def is_ours(stack: str) -> bool:
    """Return whether a stack, the innermost call first, ends in our code or in nobody's.

    A child that was forked while another thread was inside an operation of PyTorch's may hang
    in its own next operation, whoever records: its innermost Python call is then the test's.
    """
    innermost = next((line for line in stack.splitlines() if line.startswith("  File ")), "")
    return not innermost or Path(innermost.split('"')[1]).name != Path(__file__).name


def fork(kind: str, number: int, state: dict[str, Any]) -> None:
    """Fork one child, wait for its end, and count how it ended."""
    own = state["path"].parent / f"child-{number}"
    began = time.monotonic()
    # Asked here: in the child, whatever thread forked it is the main one.
    trains = threading.current_thread() is threading.main_thread()
    pid = os.fork()
    if pid == 0:
        # Whatever is raised here ends the child and never returns into the training.
        child(kind, state["model"], state["recorder"], own, trains=trains)
        os._exit(99)
    status = None
    while status is None and time.monotonic() - began < PATIENCE:
        done, ended = os.waitpid(pid, os.WNOHANG)
        status = ended if done else time.sleep(0.001)
    if status is None:
        os.kill(pid, signal.SIGUSR1)  # it tells in a file where it hangs ...
        time.sleep(1.0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        stack = state["stacks"].read_text()
        state["stacks"].write_text("")
        sys.stderr.write(stack)
        state["hung" if is_ours(stack) else "hung in torch"][kind] += 1
        return
    want = {"raise": 1 << 8, "killed": signal.SIGKILL}.get(kind, 0)
    state["ended"][kind] += 1
    if status != want:
        state["wrong"].append((kind, status))
    state["slowest"] = max(state["slowest"], time.monotonic() - began)


def main(path: Path, children: int) -> None:
    torch.set_num_threads(1)
    # ... by a handler that children inherit: a thread of their own could hang for itself.
    stacks = path.parent / "stacks"
    stacks.touch()
    faulthandler.register(signal.SIGUSR1, file=stacks.open("a"))
    rng = random.Random(3)
    model = nn.Sequential(
        nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    # A commit at every batch keeps the writer compressing, and its locks in use.
    recorder = actrace.record(model, path, flush_seconds=0.0)
    state: dict[str, Any] = {
        "path": path,
        "model": model,
        "recorder": recorder,
        "ended": collections.Counter(),
        "hung": collections.Counter(),
        "hung in torch": collections.Counter(),
        "stacks": stacks,
        "wrong": [],
        "slowest": 0.0,
    }
    batches = 0
    half = children // 2

    def forker() -> None:
        for number in range(half):
            time.sleep(rng.uniform(0, 0.004))
            fork(QUICK[number % len(QUICK)], number, state)

    def train() -> None:
        nonlocal batches
        loss = model(torch.randn(5, 4)).sum()
        loss.backward()
        batches += 1

    # PyTorch's libraries set themselves up at their first use, under locks of their own: a child
    # forked beside that hangs in its own first use of them, whoever records.
    for _ in range(3):
        train()
    beside = threading.Thread(target=forker)
    beside.start()
    while beside.is_alive():
        train()
    for number in range(half, children):
        for _ in range(rng.randrange(1, 6)):
            train()
        fork(KINDS[number % len(KINDS)], number, state)
    recorder.close()
    report = recorder.report()
    print(
        json.dumps(
            {
                "batches": batches,
                "recorded": report.batches,
                "remarks": report.remarks,
                "ended": state["ended"],
                "hung": state["hung"],
                "hung in torch": state["hung in torch"],
                "wrong": state["wrong"],
                "slowest": round(state["slowest"], 2),
            }
        )
    )


if __name__ == "__main__":
    warnings.simplefilter("error")
    with contextlib.suppress(BrokenPipeError):
        main(Path(sys.argv[1]), int(sys.argv[2]))
