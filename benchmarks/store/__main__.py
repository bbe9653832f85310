"""The command: writes runs of the sizes asked for, looks at them and prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/store`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.table import machine, versions
from benchmarks.store.cost import COMMIT, write_cost
from benchmarks.store.floor import poisson_bits
from benchmarks.store.formats import sizes
from benchmarks.store.generate import BLOCK, Plan, blocks, is_whole, write_run

from actrace.store.paths import run_path, size_on_disk
from actrace.store.reader import open_run

EPILOG = """
A run that stands in --directory already is looked at and not written anew.

examples:
  python benchmarks/store                       ten and a hundred thousand batches, minutes
  python benchmarks/store --batches 1000000     8 GB on disk, half an hour
  python benchmarks/store --directory runs/yard --batches 10000 100000 1000000
"""

#: Batches of which the formats are compared, and of the writer's cost.
STRETCH: Final = 1024
COST: Final = 19_200
LOOKS: Final = {
    "open": "open",
    "overview": "open, one layer in 1,000 columns and more",
    "picture": "open, the data of one layer's picture",
    "tiles": "open, the data of a picture of all layers",
    "drawn": "open, one layer's picture as a PNG",
    "drawn tiles": "open, a picture of all layers as a PNG",
}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/store",
        description="What a store costs, and how fast runs of any length are read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--batches", nargs="+", type=int, default=[10_000, 100_000], metavar="N")
    add("--layers", type=int, default=60)
    add("--bins", type=int, default=256)
    add("--seed", type=int, default=0)
    add("--rounds", type=int, default=5, help="of every look, in turn (default: 5)")
    add("--directory", type=Path, help="keep the runs there (default: remove them)")
    add("--page", metavar="FILE#NAME", help="put the tables into a page, between its marks")
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _look(path: Path, what: str) -> dict[str, Any]:
    """Return what one look in a fresh process took."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store.look", str(path), what],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"looking at {path} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _looks(runs: dict[int, Path], rounds: int) -> Iterator[str]:
    """Yield the table of looks: every one in turn over all runs, medians and worst."""
    taken: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for turn in range(rounds):
        for what in (*LOOKS, "zoom"):
            for n, path in runs.items():
                _say(f"round {turn + 1} of {rounds}: {what}, {n:,} batches")
                taken.setdefault((what, n), []).append(_look(path, what))
    _say("")
    yield f"| time, processor time, memory | {' | '.join(f'{n:,} batches' for n in runs)} |"
    yield "|---|" + "---|" * len(runs)
    for what, words in LOOKS.items():
        cells = []
        for n in runs:
            found = taken[what, n]
            seconds, work = (np.median([one[k] for one in found]) for k in ("seconds", "processor"))
            memory = max(one["megabytes"] for one in found)
            about = _about(found[0])
            cells.append(f"{seconds:.2f} s, {work:.2f} s, {memory:.0f} MB; {about}")
        yield f"| {words} | {' | '.join(cells)} |"
    cells = []
    for n in runs:
        found = taken["zoom", n]
        middle = np.median([one["median"] for one in found])
        worst, work = (np.median([one[k] for one in found]) for k in ("worst", "work"))
        cells.append(f"{middle:.2f} s; the slowest {worst:.2f} s, {work:.2f} s")
    yield f"| a zoom window, one layer | {' | '.join(cells)} |"


def _about(found: dict[str, Any]) -> str:
    if "tasks" in found:
        return f"{found['tasks']:,} tasks"
    if "bytes" in found:
        return f"a file of {found['bytes'] / 1e3:.0f} kB"
    share = "each a batch" if found["factor"] == 1 else f"of {found['factor']:,} batches"
    return f"{found['columns']:,} columns {share}"


def _parts(runs: dict[int, Path], plan: Plan) -> Iterator[str]:
    """Yield the table of what takes how much of the disk."""
    yield "| | " + " | ".join(f"{n:,} batches" for n in runs) + " |"
    yield "|---|" + "---|" * len(runs)
    whole = {n: size_on_disk(path) for n, path in runs.items()}
    count = {n: size_on_disk(path / "train" / "count") for n, path in runs.items()}
    levels = {n: size_on_disk(path / "levels") for n, path in runs.items()}
    files = {n: sum(1 for file in path.rglob("*") if file.is_file()) for n, path in runs.items()}
    yield f"| on disk | {' | '.join(f'{whole[n] / 1e6:,.0f} MB' for n in runs)} |"
    yield f"| files | {' | '.join(f'{files[n]:,}' for n in runs)} |"
    for words, part in (
        ("counts, bytes a layer and batch", count),
        ("everything else of the batches", {n: whole[n] - count[n] - levels[n] for n in runs}),
        ("levels", levels),
    ):
        yield f"| {words} | {' | '.join(f'{part[n] / n / plan.layers:.1f}' for n in runs)} |"
    shares = " | ".join(f"{100 * levels[n] / (whole[n] - levels[n]):.1f} %" for n in runs)
    yield f"| levels, of the rest | {shares} |"


def _formats(path: Path, plan: Plan) -> Iterator[str]:
    """Yield the table of the same batches in other formats, beside the floor."""
    start = plan.batches // 2 // BLOCK * BLOCK
    n = min(STRETCH, plan.batches - start)
    _say(f"{n:,} batches in other formats")
    bits = sum(
        poisson_bits(block.expected).sum()
        for block in islice(blocks(replace(plan, batches=start + n), start), -(-n // BLOCK))
    )
    floor = bits / 8 / n / plan.layers
    with open_run(path) as run:
        data = run["train"].to_dataset().isel(batch=slice(start, start + n)).load()
        counts = size_on_disk(path / "train" / "count") / plan.batches / plan.layers
    yield "| | bytes a layer and batch | times the floor |"
    yield "|---|---|---|"
    yield f"| floor: entropy of the counts | {floor:.1f} | 1 |"
    yield f"| actrace, the counts alone (whole run) | {counts:.1f} | {counts / floor:.2f} |"
    for name, size in sizes(data, plan):
        _say("")
        if isinstance(size, str):
            yield f"| {name} | {size} | |"
        else:
            yield f"| {name} | {size:.1f} | {size / floor:.2f} |"


def main(given: list[str] | None = None) -> int:
    """Write, look and print; return the exit status."""
    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    plan = Plan(layers=args.layers, bins=args.bins, seed=args.seed)
    lines: list[str] = []

    def put(*more: str) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)
        if args.page is not None:
            put_into(args.page, lines)

    put(
        f"{machine()}; {versions(['actrace', 'numpy', 'zarr', 'xarray', 'dask', 'numcodecs'])}; "
        f"{args.layers} layers, {args.bins} bins, seed {args.seed}",
        "",
        f"    {command(['python', 'benchmarks/store', *words])}",
        "",
    )
    folder = args.directory or Path(tempfile.mkdtemp())
    try:
        runs: dict[int, Path] = {}
        for n in sorted(args.batches):
            path = run_path(folder / f"yard-{n}-{args.layers}-{args.bins}-{args.seed}")
            if not is_whole(path, n):
                began = time.monotonic()
                write_run(path, replace(plan, batches=n), say=_say)
                _say("")
                put(f"Written in {time.monotonic() - began:.0f} s: {n:,} batches.", "")
            runs[n] = path
        put(*_looks(runs, max(1, args.rounds)), "")
        put(*_parts(runs, plan), "")
        longest = max(runs)
        put(*_formats(runs[longest], replace(plan, batches=longest)), "")
        _say("writing with and without levels")
        cost = write_cost(plan, COST)
        _say("")
        (bare, levelled), (plain, grown) = cost.append, cost.commit
        put(
            "| the writer | without levels | with | ratio |",
            "|---|---|---|---|",
            f"| appending a batch | {1e3 * bare:.2f} ms | {1e3 * levelled:.2f} ms | "
            f"{levelled / bare:.2f} |",
            f"| a commit, every {COMMIT} batches | {1e3 * plain:.0f} ms | {1e3 * grown:.0f} ms | "
            f"{grown / plain:.2f} |",
            f"| bytes a layer and batch | {cost.size[0]:.1f} | {cost.size[1]:.1f} | "
            f"{cost.size[1] / cost.size[0]:.2f} |",
            "",
        )
    finally:
        if args.directory is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # the tables so far are printed
