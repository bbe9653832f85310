"""The command: writes a long training, analyses it and prints what each analysis took."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/analysis`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from benchmarks.analysis.look import ANALYSES
from benchmarks.analysis.training import write_training
from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.table import machine, versions
from benchmarks.store.generate import Plan, is_whole

from actrace.store.paths import run_path, size_on_disk

EPILOG = """
Plain zarr reads the same chunks, with as many threads, in the process that analysed them.

examples:
  python benchmarks/analysis                       twenty thousand batches, a minute
  python benchmarks/analysis --batches 1000000 --directory runs/yard
                                                   7 GB on disk, half an hour
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/analysis",
        description="What a full analysis of a long run takes, beside plain zarr reading it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--batches", type=int, default=20_000, metavar="N")
    add("--layers", type=int, default=60)
    add("--bins", type=int, default=256)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2, help="of dask and of plain zarr (default: 2)")
    add("--rounds", type=int, default=3, help="of every analysis, in turn (default: 3)")
    add("--some", type=int, metavar="N", help="take the divergence of N of the layers alone")
    add("--directory", type=Path, help="keep the run there (default: remove it)")
    add("--page", metavar="FILE#NAME", help="put the table into a page, between its marks")
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _look(path: Path, what: str, threads: int, some: int) -> dict[str, Any]:
    words = [str(path), what, str(threads), str(some)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.analysis.look", *words],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{what} of {path} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _table(path: Path, args: argparse.Namespace) -> list[str]:
    taken: dict[str, list[dict[str, Any]]] = {}
    rounds, some = max(1, args.rounds), args.some or args.layers
    for turn in range(rounds):
        for what in ANALYSES:
            _say(f"round {turn + 1} of {rounds}: {what}")
            found = _look(path, what, args.threads, some)
            taken.setdefault(what, []).append(found)
    _say("")
    lines = [
        "| | time | processor time | memory | reads, unpacked | plain zarr | its processor time | "
        "ratio of times | of processor times |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    whole = np.zeros(4)
    most = 0.0
    for what, each in taken.items():
        middle = {key: float(np.median([one[key] for one in each])) for key in each[0]}
        seconds = np.array(
            [middle[key] for key in ("seconds", "processor", "plain_seconds", "plain_processor")]
        )
        whole += seconds
        memory = max(one["megabytes"] for one in each)
        most = max(most, memory)
        part = f", {some} of {args.layers} layers" if args.some and what == "divergence" else ""
        lines.append(_row(f"`{what}`{part}", seconds, memory, middle["decoded"] / 1e6))
    lines.append(_row("together", whole, most, None))
    return lines


def _row(name: str, seconds: Any, memory: float, decoded: float | None) -> str:
    time_, work, plain, plain_work = seconds
    read = "" if decoded is None else f"{decoded:,.0f} MB"
    return (
        f"| {name} | {time_:.1f} s | {work:.1f} s | {memory:,.0f} MB | {read} | {plain:.1f} s | "
        f"{plain_work:.1f} s | {time_ / plain:.2f} | {work / plain_work:.2f} |"
    )


def main(given: list[str] | None = None) -> int:
    """Write, analyse and print; return the exit status."""
    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    plan = Plan(batches=args.batches, layers=args.layers, bins=args.bins, seed=args.seed)
    folder = args.directory or Path(tempfile.mkdtemp())
    name = f"training-{plan.batches}-{plan.layers}-{plan.bins}-{plan.seed}"
    path = run_path(folder / name)
    try:
        if not is_whole(path, plan.batches):
            began = time.monotonic()
            write_training(path, plan, say=_say)
            _say("")
            print(f"Written in {time.monotonic() - began:.0f} s.", flush=True)
        lines = [
            f"{machine()}; {versions(['actrace', 'numpy', 'zarr', 'xarray', 'dask'])}; "
            f"{plan.batches:,} batches of {plan.layers} layers and {plan.bins} bins, "
            f"{size_on_disk(path) / 1e6:,.0f} MB on disk; {args.threads} threads",
            "",
            f"    {command(['python', 'benchmarks/analysis', *words])}",
            "",
            *_table(path, args),
        ]
        print("\n".join(lines), flush=True)
        if args.page is not None:
            put_into(args.page, lines)
    finally:
        if args.directory is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
