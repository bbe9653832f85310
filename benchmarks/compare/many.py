"""What comparing many long runs at once takes: a few generated ones and links to them."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path
from typing import Final

from benchmarks.store.generate import Plan, write_run

import actrace

__all__ = ["at_once"]

#: Different runs; the others are links to them.
DIFFERENT: Final = 4
PLAN: Final = Plan(batches=20_000, layers=20)


def at_once(folder: Path, runs: int) -> str:
    """Return in words what comparing so many runs from their levels took."""
    made = [
        write_run(folder / f"made-{seed}", Plan(PLAN.batches, PLAN.layers, seed=seed))
        for seed in range(min(DIFFERENT, runs))
    ]
    paths = {}
    for i in range(runs):
        paths[f"run-{i}"] = folder / f"run-{i}.zarr"
        shutil.copytree(made[i % len(made)], paths[f"run-{i}"], copy_function=os.link)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, spent = time.perf_counter(), time.process_time()
    data = actrace.compare(paths).load()
    wall, spent = time.perf_counter() - wall, time.process_time() - spent
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (
        f"{runs} runs of {PLAN.batches:,} batches, {PLAN.layers} layers and {PLAN.bins} bins, "
        f"in {data.sizes['position']} positions, columns of {data.attrs['batches_a_column'][0]} "
        f"batches: {spent:.1f} s of processor time, {wall:.1f} s on the clock, "
        f"{(after - before) / 1024:.0f} MB more than before"
    )
