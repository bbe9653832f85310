"""What listing many runs costs: the table of all of them beside parsing each one's metadata.

Usage: python benchmarks/catalogue.py [--runs N]

Records the demo's good training once, copies it, and times in turn, best of
five: `actrace.runs`, the same from each root document as a whole, and a look
at the size of every file.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import actrace
from actrace.demo import train
from actrace.store.check import check_schema
from actrace.store.manifest import read_manifest
from actrace.store.paths import size_on_disk


def parse_all(paths: list[Path]) -> None:
    """Read and check every root document as the opener does."""
    for path in paths:
        check_schema(read_manifest(path))


def main() -> None:
    """Record, copy, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=1000, help="runs (default: 1000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = train(Path(folder) / "first", 0.05, epochs=3)
        runs = Path(folder) / "runs"
        paths = [runs / f"run-{i:05}.zarr" for i in range(args.runs)]
        for copy in paths:
            shutil.copytree(path, copy)
        work: dict[str, Callable[[], object]] = {
            "`actrace.runs`": lambda: actrace.runs(runs),
            "each root document whole": lambda: parse_all(paths),
            "the size of every file": lambda: [size_on_disk(copy) for copy in paths],
        }
        best = dict.fromkeys(work, float("inf"))
        for _ in range(5):
            for name, run in work.items():
                begun = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - begun)
        files = sum(1 for file in path.rglob("*") if file.is_file())
        print(f"{args.runs:,} runs of {files} files, on a warm file cache\n")
        print("| | seconds | to `actrace.runs` |\n|---|---|---|")
        for name, seconds in best.items():
            print(f"| {name} | {seconds:.2f} | {seconds / best['`actrace.runs`']:.1f} |")


if __name__ == "__main__":
    main()
