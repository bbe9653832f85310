"""The command: records the trainings that are lacking, compares them, and prints the tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/compare`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from benchmarks.compare.apart import Pair, change_lines, configuration_lines, judge
from benchmarks.compare.many import at_once
from benchmarks.compare.trainings import CONFIGURATIONS, PLAIN, Sets, record, trainings
from benchmarks.overhead.pages import command, put_into

from actrace.store.progress import track

FILES = ("mnist.npz", "cifar10.npz")
EPILOG = """
Half of the configurations (choose) are those that the defaults were chosen on, the others
(report) those that tell how good they are.

examples:
  python benchmarks/compare --data DIR --directory runs/compare
                               336 trainings of a second each, and their comparison
  python benchmarks/compare --data DIR --directory runs/compare --seeds 10
  python benchmarks/compare --runs 100         what a hundred long runs take at once
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/compare",
        description="Which trainings `actrace.compare` tells apart, and what many runs take.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--data", type=Path, metavar="DIR", help=f"folder of {' and '.join(FILES)}")
    add("--directory", type=Path, metavar="DIR", help="where runs are kept between calls")
    add("--seeds", type=int, default=6, metavar="N", help="plain trainings (default: 6)")
    add("--changed", type=int, default=2, metavar="N", help="of each change (default: 2)")
    add("--baselines", type=int, default=2, metavar="N", help="plain runs to compare with (2)")
    add("--runs", type=int, default=0, metavar="N", help="compare so many long runs at once")
    add("--page", metavar="FILE", help="put the tables between the page's marks")
    return found


def pairs(data: Path, folder: Path, seeds: int, changed: int, baselines: int) -> list[Pair]:
    """Return all pairs judged; runs that stand in the folder are taken as they are."""
    sets = Sets(data, {})
    found: list[Pair] = []
    for configuration in track(CONFIGURATIONS, len(CONFIGURATIONS), "configurations"):
        plain: dict[str, Path] = {}
        others: dict[str, tuple[str, Path]] = {}
        for label, change, seed in trainings(configuration, seeds, changed):
            words = f"{configuration.name}-{label}-{seed}"
            name = words.replace(", ", "_").replace(" ", "-").replace("/", "by")
            path = folder / f"{name}.zarr"
            if not path.exists():
                record(configuration, label, change, seed, folder / name, sets)
            if change == PLAIN:
                plain[name] = path
            else:
                others[name] = label, path
        found += judge(configuration, plain, others, baselines)
    return found


def main(given: list[str] | None = None) -> int:
    """Record, compare and print; return the exit status."""
    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    torch.set_num_threads(1)
    if args.data is None and not args.runs:
        parser().error("give --data DIR, --runs N, or both")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.directory or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if args.data is not None:
            missing = [name for name in FILES if not (args.data / name).is_file()]
            if missing:
                print(f"{args.data} has no {' and no '.join(missing)}", file=sys.stderr)
                return 2
            judged = pairs(args.data, folder, args.seeds, args.changed, args.baselines)
            tables = [*configuration_lines(judged), "", *change_lines(judged)]
            lines = [f"    {command(['python', 'benchmarks/compare', *words])}", "", *tables]
            print("\n".join(lines))
            if args.page is not None:
                put_into(f"{args.page}#apart", lines)
        if args.runs:
            with tempfile.TemporaryDirectory(dir=folder) as generated:
                print(at_once(Path(generated), args.runs))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what is recorded stays
