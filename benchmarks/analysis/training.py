"""A generated training with everything that analyses ask for: phases and labelled outputs.

The training batches are those of `benchmarks.store.generate`. After each epoch comes a
validation, and windows hold what a classifier's logits did, YES further from NO as
the training goes on. NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.store.generate import BLOCK, EPOCH, SAMPLES, Block, Plan, blocks, layer_infos
from numpy.typing import NDArray

from actrace.store.axis import Axis
from actrace.store.rows import OutputInfo, WindowRow
from actrace.store.schema import OUTPUT_GROUP
from actrace.store.writer import RunWriter

__all__ = ["CLASSES", "VALID", "write_training"]

CLASSES: Final = 10
#: Batches of a validation.
VALID: Final = 2 * BLOCK
#: Seconds between commits, as a recorder's.
_EVERY: Final = 10.0


def write_training(path: Path, plan: Plan, *, say: Callable[[str], None] = print) -> Path:
    """Write a finished training of `plan.batches` batches and its validations at `path`."""
    writer = RunWriter.create(path, axis=plan.axis, attributes={"config": {"seed": plan.seed}})
    writer.declare_layers(layer_infos(plan))
    names = tuple(f"class{at}" for at in range(CLASSES))
    info = OutputInfo(f"layer{plan.layers - 1}", "single-label", names, names)
    for phase in ("train", "valid"):
        writer.declare_output(phase, info)
    last = began = time.monotonic()
    for block in _phases(plan):
        writer.append_batches(block.rows)
        for window in _windows(block, plan.axis):
            writer.append_window(window)
        if time.monotonic() - last > _EVERY:
            writer.commit()
            last = time.monotonic()
            n = writer.n_batches("train")
            say(f"{n:,} of {plan.batches:,} batches after {last - began:.0f} s")
    writer.close()
    return writer.path


def _phases(plan: Plan) -> Iterator[Block]:
    """Yield training batches, and after each epoch those of its validation."""
    ended = 0
    for block in blocks(plan):
        yield block
        reached = (block.rows.step[-1] + 1) // EPOCH
        for epoch in range(ended, reached):
            yield from _validation(plan, epoch)
        ended = reached


def _validation(plan: Plan, epoch: int) -> Iterator[Block]:
    start = (epoch + 1) * EPOCH // BLOCK * BLOCK
    for block in blocks(replace(plan, batches=start + VALID), start, draw=3):
        n = len(block.rows)
        block.rows = replace(
            block.rows, phase="valid", step=[(epoch + 1) * EPOCH] * n, epoch=[epoch] * n, logged=()
        )
        yield block


def _windows(block: Block, axis: Axis) -> Iterator[WindowRow]:
    """Yield the labelled windows of a block, one for each epoch that it reaches into."""
    rows = block.rows
    epochs = np.asarray(rows.epoch)
    for epoch in np.unique(epochs):
        at = np.flatnonzero(epochs == epoch)
        rng = np.random.default_rng((rows.phase == "valid", rows.step[0], int(epoch), at[0]))
        values = _labelled(len(at) * SAMPLES, rows.step[int(at[0])], rows.phase, axis, rng)
        later = len(rows) - 1 - int(at[-1])
        yield WindowRow(rows.phase, OUTPUT_GROUP, len(at), int(epoch), values, later)


def _labelled(
    n: int, step: int, phase: str, axis: Axis, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return a window's sums over `n` samples, each drawn logit counted once by unit and class."""
    target = rng.integers(0, CLASSES, n)
    apart = 6 * (1 - np.exp(-step / 20_000)) * (1.0 if phase == "train" else 0.9)
    logits = rng.normal(-apart / 4, 1.5, (n, CLASSES))
    logits[np.arange(n), target] += apart * (0.7 + 0.06 * target)
    is_yes = np.arange(CLASSES) == target[:, None]
    bins = np.clip(np.searchsorted(axis.edges, logits, side="right") - 1, 0, axis.n_bins - 1)
    values: dict[str, NDArray[Any]] = {}
    for suffix, owner in (
        ("by_unit", np.broadcast_to(np.arange(CLASSES), logits.shape)),
        ("by_class", np.broadcast_to(target[:, None], logits.shape)),
    ):
        cell = owner * 2 + ~is_yes
        shape = (CLASSES, 2)
        size = CLASSES * 2
        flat = np.bincount((cell * axis.n_bins + bins).ravel(), minlength=size * axis.n_bins)
        many = np.bincount(cell.ravel(), minlength=size)
        total = np.bincount(cell.ravel(), logits.ravel(), size)
        square = np.bincount(cell.ravel(), (logits**2).ravel(), size)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / many
            std = np.sqrt(np.maximum(square / many - mean**2, 0))
        none = np.zeros(shape, np.int64)
        values |= {
            f"count_{suffix}": flat.reshape(*shape, axis.n_bins),
            f"elements_{suffix}": many.reshape(shape),
            f"mean_{suffix}": mean.reshape(shape),
            f"std_{suffix}": std.reshape(shape),
            **{f"{name}_{suffix}": none for name in ("underflow", "overflow", "nonfinite")},
        }
    told = logits.argmax(axis=1)
    samples = np.bincount(target, minlength=CLASSES)
    confusion = np.bincount(target * CLASSES + told, minlength=CLASSES**2)
    member = target[:, None] == np.arange(CLASSES)
    mean = (member.T.astype(float) @ logits) / samples[:, None]
    square = (member.T.astype(float) @ logits**2) / samples[:, None]
    return values | {
        "samples": samples,
        "correct": np.bincount(target[told == target], minlength=CLASSES),
        "output_mean": mean,
        "output_std": np.sqrt(np.maximum(square - mean**2, 0)),
        "confusion": confusion.reshape(CLASSES, CLASSES),
    }
