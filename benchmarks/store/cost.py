"""What levels cost the writer: the same batches written with and without, in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.store.generate import BLOCK, Plan, blocks, layer_infos

from actrace.store.paths import size_on_disk
from actrace.store.writer import RunWriter

__all__ = ["COMMIT", "Cost", "write_cost"]

#: Batches from commit to commit, about ten seconds of a step of ten milliseconds. Not a
#: multiple of a shard's length, so that a commit finds an unfinished one.
COMMIT: Final = 960


@dataclass(frozen=True, slots=True)
class Cost:
    """What the writer took, without levels and with them.

    Attributes
    ----------
    append : (float, float)
        Seconds a batch, full chunks written included.
    commit : (float, float)
        Seconds a commit.
    size : (float, float)
        Bytes a layer and batch on disk.
    """

    append: tuple[float, float]
    commit: tuple[float, float]
    size: tuple[float, float]


def _writers(folder: str, plan: Plan) -> Iterator[RunWriter]:
    for name in ("bare", "levelled"):
        writer = RunWriter.create(
            Path(folder) / name, axis=plan.axis, attributes={}, levels=name == "levelled"
        )
        writer.declare_layers(layer_infos(plan))
        yield writer


def write_cost(plan: Plan, batches: int) -> Cost:
    """Write `batches` batches of the plan twice and return what both took."""
    plan = replace(plan, batches=batches)
    append, commit = np.zeros(2), np.zeros(2)
    n_commits = 0
    with tempfile.TemporaryDirectory() as folder:
        writers = list(_writers(folder, plan))
        for number, block in enumerate(blocks(plan), 1):
            # Who comes first takes turns: the rows are in the cache for the second.
            order = (0, 1) if number % 2 else (1, 0)
            for at in order:
                began = time.perf_counter()
                writers[at].append_batches(block.rows)
                append[at] += time.perf_counter() - began
            if number % (COMMIT // BLOCK) == 0:
                n_commits += 1
                for at in order:
                    began = time.perf_counter()
                    writers[at].commit()
                    commit[at] += time.perf_counter() - began
        for writer in writers:
            writer.close()
        sizes = [size_on_disk(writer.path) / batches / plan.layers for writer in writers]

    def pair(values: Any) -> tuple[float, float]:
        return float(values[0]), float(values[1])

    return Cost(pair(append / batches), pair(commit / max(1, n_commits)), pair(sizes))
