"""What each way of recording costs: ratios to the bare step, measured side by side.

Usage: python benchmarks/modes.py [--rounds N] [--block SECONDS] [--threads N]

One small network, whose step is short, so that the fixed cost of a batch shows. The
ways to record eagerly are held against the bare step, and a recorded compiled model
against the same compiled and not recorded.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.overhead.measure import Settings, measure
from benchmarks.overhead.models import TASKS, find_tasks
from benchmarks.overhead.table import machine, table_lines, versions
from benchmarks.overhead.variants import BARE, Variant, compiled, recorded

# Schedules cannot be sent to another process, so each is made there.


def every_hundred() -> dict[str, Any]:
    """Return settings that record each hundredth batch."""
    import actrace

    return {"schedule": actrace.every(100)}


def never() -> dict[str, Any]:
    """Return settings that record no batch that comes."""
    import actrace

    return {"schedule": actrace.between(10**9, 10**9 + 1)}


def mode(title: str, settings: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> Variant:
    """Return the variant that records with these settings."""
    return Variant("actrace", title, partial(recorded, settings=settings), "as told")


EAGER: tuple[Variant, ...] = (
    BARE,
    mode("every batch", {}),
    mode("`schedule=every(100)`", every_hundred),
    mode("`schedule=between(10**9, 10**9 + 1)`: all left out", never),
    mode("`gradients=True`", {"gradients": True}),
    mode('`gradients="outputs"`', {"gradients": "outputs"}),
    mode("`functional=True`", {"functional": True}),
)
COMPILED: tuple[Variant, ...] = (
    compiled(BARE),
    compiled(mode("every batch", {})),
    compiled(mode("`schedule=every(100)`", every_hundred)),
)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--model", default="convnet", choices=[t.name for t in TASKS], help="default: convnet"
    )
    parser.add_argument("--rounds", type=int, default=25, help="default: 25")
    parser.add_argument("--block", type=float, default=0.25, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    settings = Settings(rounds=args.rounds, block_seconds=args.block, threads=args.threads)
    print(f"{machine()}; {versions(['torch', 'actrace', 'numpy', 'numba'])}\n")
    (task,) = find_tasks([args.model])
    for variants in (EAGER, COMPILED):
        for line in table_lines(measure(task, variants, settings), settings):
            print(line, flush=True)


if __name__ == "__main__":
    main()
