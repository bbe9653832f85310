"""Runs whose every number is sound, cut into small chunk files, and ways to damage them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store import recording as rec

from actrace.store.axis import Asinh
from actrace.store.gradients import GradientInfo, GradientRow, ParameterInfo
from actrace.store.reader import open_run
from actrace.store.repair.mend import RepairReport
from actrace.store.rows import BatchRow, WindowRow

N_BATCHES = 100
#: Arrays of window groups that do not grow.
STANDING = {"unit_layer", "unit_channel", "output_unit", "target_class", "role"}
INFO = GradientInfo(
    (ParameterInfo("w", (3, 2)), ParameterInfo("b", (3,))),
    outputs=True,
    axis=Asinh(-1000, 1000, 16, 1e-8),
)


def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run of a hundred batches have many chunk files."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.group.LONGEST", 32)


def early_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run have levels from its first whole column on."""
    monkeypatch.setattr("actrace.store.levels.ladder.FEWEST", 1)


def gradient_row(n: int, index: int) -> GradientRow:
    rng = rec.random_for(f"gradient{n}", index)
    row = GradientRow.empty(n, INFO.axis.n_bins)
    row.count[:] = rng.integers(0, 3, row.count.shape)
    row.counters[:] = rng.integers(0, 9, row.counters.shape)
    row.moments[:] = rng.normal(size=row.moments.shape).astype(np.float32)
    row.counters[6] = row.count.sum(1) + row.counters[:5].sum(0)
    row.scale, row.seen = 1.0, True
    return row


def batch_row(phase: str, index: int) -> BatchRow:
    """Return a batch whose counts add up; every ninth leaves its last layer out."""
    row = rec.batch_row(phase, index, lr=0.1)
    if index % 9 == 0:
        row.count[-1], row.counters[:, -1], row.moments[:, -1] = 0, 0, np.nan
    row.counters[6] = row.count.sum(1) + row.counters[:5].sum(0)
    row.gradient, row.output_gradient = gradient_row(2, index), gradient_row(rec.N_LAYERS, index)
    return row


def output_window(phase: str, index: int, batches: int) -> WindowRow:
    window = rec.output_window(phase, index, batches)
    for by in ("by_unit", "by_class"):
        ends = sum(window.values[f"{n}_{by}"] for n in ("underflow", "overflow", "nonfinite"))
        window.values[f"elements_{by}"] = window.values[f"count_{by}"].sum(2) + ends
    return window


def write_run(
    path: Path, n: int = N_BATCHES, *, phases: tuple[str, ...] = ("train", "valid"), **settings: Any
) -> Path:
    """Write a run with every group there is; a phase has a quarter of the batches of the first."""
    writer = rec.new_writer(path, **settings)
    writer.declare_gradients(INFO)
    for at, phase in enumerate(phases):
        length = n // 4 if at else n
        writer.declare_output(phase, rec.OUTPUT)
        for index in range(length):
            writer.append_batch(batch_row(phase, index))
            if index % 4 == 3:
                writer.append_window(output_window(phase, index // 4, 4))
                writer.append_window(rec.unit_window(phase, index // 4, 4))
    writer.close()
    return writer.path


def chunk_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and "c" in p.relative_to(path).parts)


def flip(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    bit = rng.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def damage(file: Path, kind: str, rng: random.Random) -> None:
    """Damage a chunk file: ``flip``, ``cut``, ``empty``, ``zeros`` or ``delete``."""
    size = file.stat().st_size
    if kind == "flip":
        flip(file, rng)
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[: rng.randrange(1, size)])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "zeros":
        file.write_bytes(bytes(size))
    else:
        file.unlink()


KINDS = ("flip", "flip", "flip", "cut", "empty", "zeros", "delete")


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Return path -> values of every variable, as `actrace.open` reads them."""
    run = open_run(path)
    try:
        return {
            f"{group.path}/{name}".lstrip("/"): np.array(variable.values)
            for group in run.subtree
            for name, variable in group.to_dataset(inherit=False).variables.items()
        }
    finally:
        run.close()


def assert_only_lost_differ(
    got: dict[str, np.ndarray], right: dict[str, np.ndarray], report: RepairReport
) -> int:
    """Assert that a repaired run equals the original wherever it marks no loss; count the cells."""
    assert set(got) == set(right)
    saved = 0
    for name, values in right.items():
        want, found = values, got[name]
        if name.rpartition("/")[0] in report.windows:
            kept = values.shape[-1] - report.windows[name.rpartition("/")[0]]
            if name.rpartition("/")[2] not in STANDING:
                assert found.shape[-1] == kept
                continue
        known = np.ones(want.shape, bool)
        for one in report.lost.get(name, ()):
            if one.stop == 0:
                known[...] = False
            elif one.at:
                known[list(one.at), ..., one.start : one.stop] = False
            else:
                known[..., one.start : one.stop] = False
        np.testing.assert_array_equal(found[known], want[known], err_msg=name)
        saved += int(known.sum())
    return saved
