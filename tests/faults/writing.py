"""Writers to be killed: a small process that forks one for each order it reads.

Run as ``python -m tests.faults.writing``; an order is a JSON line on stdin.
Values follow from a batch's step alone, so a checker needs no list of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from actrace.store.axis import Linear
from actrace.store.rows import BatchRow, BatchRows, LayerInfo, OutputInfo, WindowRow, WindowRows
from actrace.store.schema import COUNTERS, MOMENTS, output_variables
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

N_LAYERS, N_BINS = 8, 32
AXIS = Linear(-1, 1, N_BINS)
LAYERS = tuple(LayerInfo(f"layer{i}", "Linear", (4,), i, 4) for i in range(N_LAYERS))
OUTPUT = OutputInfo("layer7", "single-label", ("cat", "dog"), ("cat", "dog"))
_GRID = np.arange(N_LAYERS)[:, None] * 31 + np.arange(N_BINS) * 3
_LAYER = np.arange(N_LAYERS)


def counts(steps: np.ndarray) -> np.ndarray:
    """Return what `count` holds for these steps, shape (layer, bin, batch)."""
    return (_GRID[..., None] + steps * 7) % 1009


def small(steps: np.ndarray, at: int) -> np.ndarray:
    """Return what small variable `at` holds, shape (layer, batch)."""
    return (_LAYER[:, None] + steps * 3 + at) % 997


def fill(row: BatchRow, phase: str, step: int) -> BatchRow:
    steps = np.array([step])
    row.count[:] = counts(steps)[..., 0]
    for at in range(len(COUNTERS)):
        row.counters[at] = small(steps, at)[:, 0]
    for at in range(len(MOMENTS)):
        row.moments[at] = small(steps, at)[:, 0]
    row.phase, row.step, row.epoch, row.samples = phase, step, step // 50, 4
    row.loss, row.time, row.logged = step / 2, float(step), {"lr": step * 2.0}
    return row


def window(phase: str, number: int, batches: int) -> WindowRow:
    sizes = {"output_unit": 2, "target_class": 2, "role": 2, "bin": N_BINS}
    values: dict[str, Any] = {}
    for variable in output_variables("single-label", 2, 2):
        if variable.dims[-1] == "window" and len(variable.dims) > 1:
            values[variable.name] = np.full([sizes[d] for d in variable.dims[:-1]], number)
    return WindowRow(phase, "output", batches, 0, values)


def check_tree(tree: Any) -> dict[str, int]:
    """Assert that every row and window of an opened run is right; return the lengths."""
    lengths = {}
    for phase in tree.children:
        dataset = tree[phase].to_dataset()
        n = lengths[str(phase)] = dataset.sizes["batch"]
        steps = np.arange(n)
        np.testing.assert_array_equal(dataset["step"].values, steps)
        np.testing.assert_array_equal(dataset["count"].values, counts(steps))
        for at, variable in enumerate(COUNTERS):
            np.testing.assert_array_equal(dataset[variable.name].values, small(steps, at))
        for at, variable in enumerate(MOMENTS):
            np.testing.assert_array_equal(dataset[variable.name].values, small(steps, at))
        np.testing.assert_array_equal(dataset["loss"].values, steps / 2)
        if n:
            np.testing.assert_array_equal(dataset["lr"].values, steps * 2.0)
        group = tree[phase]["output"].to_dataset()
        number = np.arange(group.sizes["window"])
        np.testing.assert_array_equal(group["first_batch"].values, number * 4)
        for variable in ("count_by_unit", "count_by_class", "mean_by_unit", "confusion", "samples"):
            values = group[variable].values
            np.testing.assert_array_equal(values, np.broadcast_to(number, values.shape))
    return lengths


def write_until_killed(path: str, order: dict[str, Any], say: Any) -> None:
    """Append, commit and say what is acknowledged, for ever or for so many commits."""
    durability = order.get("durability", "process")
    try:
        writer = RunWriter.resume(path, durability=durability)
    except FileNotFoundError:
        writer = RunWriter.create(path, axis=AXIS, attributes={}, durability=durability)
    writer.declare_layers(LAYERS)
    rng = np.random.default_rng(order["seed"])
    phases = ("train", "valid")
    step = {phase: writer.n_batches(phase) for phase in phases}
    # Windows of 4 batches each follow their batches; a resumed run goes on where they end.
    for phase in phases:
        writer.declare_output(phase, OUTPUT)
    thread = WriterThread(writer, flush_seconds=1e9) if order["threaded"] else None
    target: Any = thread or writer
    say("R")
    commits = 0
    while commits < order.get("commits", 10**9):
        for _ in range(int(rng.integers(1, 12))):
            phase = phases[int(rng.integers(2))]
            for _ in range(4):
                row = fill(BatchRow.empty(N_LAYERS, N_BINS), phase, step[phase])
                if thread:
                    thread.call(thread.write_batches, BatchRows.of(row))
                else:
                    writer.append_batch(row)
                step[phase] += 1
            last = window(phase, step[phase] // 4 - 1, 4)
            if thread:
                thread.call(thread.write_windows, WindowRows.of([last]))
            else:
                writer.append_window(last)
        if thread:
            if not thread.flush():
                raise SystemExit(f"flush failed: {thread.failure}")
        else:
            target.commit()
        commits += 1
        say("A " + json.dumps(step))
        if order.get("pause"):
            time.sleep(order["pause"])
    target.close()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            write_until_killed(
                order["path"], order, lambda text: os.write(1, (text + "\n").encode())
            )
            os._exit(0)
        os.write(1, f"P {child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(1, f"D {status}\n".encode())


class WriterServer:
    """The other end: starts writers, kills them, knows what they acknowledged."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, int] = {}
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        )

    def __enter__(self) -> WriterServer:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, path: Path, **order: Any) -> int:
        """Start a writer on `path`, wait until it writes and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(
            json.dumps({"path": str(path), "threaded": False, **order}) + "\n"
        )
        self._process.stdin.flush()
        self._acknowledged = {}
        child = 0
        while True:
            line = self._line()
            if line.startswith("P "):
                child = int(line[2:])
            elif line.startswith("R"):
                break
            elif line.startswith("D "):
                raise AssertionError(f"the writer ended before it wrote: status {line[2:]}")
        # Both lines may come in either order.
        while not child:
            line = self._line()
            child = int(line[2:]) if line.startswith("P ") else 0
        return child

    def await_commits(self, n: int) -> None:
        """Wait until the writer has acknowledged `n` commits."""
        while n:
            line = self._line()
            if line.startswith("A "):
                self._acknowledged = json.loads(line[2:])
                n -= 1

    def wait(self) -> tuple[dict[str, int], int]:
        """Return what the writer acknowledged last and how it ended."""
        while True:
            line = self._line()
            if line.startswith("A "):
                self._acknowledged = json.loads(line[2:])
            elif line.startswith("D "):
                return self._acknowledged, int(line[2:])

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the writing process is gone")
        return line


if __name__ == "__main__":
    main()
