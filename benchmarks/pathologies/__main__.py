"""The command: records what is not recorded yet, asks `actrace.diagnose`, prints the tables."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Started as `python benchmarks/pathologies`: the modules are found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    # Read by torch as it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.overhead.pages import command, put_into
from benchmarks.overhead.table import versions
from benchmarks.pathologies.cases import HALVES, find_cases
from benchmarks.pathologies.record import is_recorded, read_label, record_case
from benchmarks.pathologies.score import judge, planted_lines, score_lines

from actrace.store.progress import track

EPILOG = """
A case is called healthy-<kind>-<place> or <fault>-<place>. What is recorded in --directory
already is not recorded anew; all cases together take some six minutes of one core.

examples:
  python benchmarks/pathologies --data DIR --directory runs/pathologies
  python benchmarks/pathologies --directory runs/pathologies '*-mlp-digits' '*-convnet-digits'
  python benchmarks/pathologies --directory runs/pathologies --half choose --names
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python benchmarks/pathologies",
        description="How many planted faults `actrace.diagnose` finds, and how many false alarms.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("cases", nargs="*", default=["*"], metavar="PATTERN", help="default: all")
    add("--data", type=Path, metavar="DIR", help="folder of mnist.npz, cifar10.npz and reviews")
    add("--directory", type=Path, required=True, metavar="DIR", help="where the runs go")
    add("--half", choices=HALVES, help="default: both")
    add("--again", action="store_true", help="record anew what stands there")
    add("--record-only", action="store_true", help="do not ask for findings")
    add("--names", action="store_true", help="also say which runs were told wrong")
    add("--page", metavar="FILE", help="put both tables between the page's marks")
    return found


def main(given: list[str] | None = None) -> int:
    """Record, judge and print; return the exit status."""
    words = sys.argv[1:] if given is None else given
    args = parser().parse_args(words)
    directory: Path = args.directory
    try:
        cases = [c for c in find_cases(args.cases) if args.half in (None, c.half)]
    except ValueError as error:
        parser().error(str(error))
    directory.mkdir(parents=True, exist_ok=True)
    missing = [c for c in cases if args.again or not is_recorded(directory, c)]
    for case in track(missing, len(missing), "recording"):
        try:
            record_case(case, directory, args.data)
        except FileNotFoundError as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            return 2
    planted = list(planted_lines(cases, lambda case: read_label(directory, case)))
    if args.record_only:
        print("\n".join(planted))
        return 0
    judged = [judge(case, directory) for case in track(cases, len(cases), "diagnosing")]
    scores = [
        versions(["actrace", "torch", "numpy", "scikit-learn"]),
        "",
        f"    {command(['python', 'benchmarks/pathologies', *words])}",
        "",
        *score_lines(judged),
    ]
    print("\n".join(scores))
    if args.names:
        for run in judged:
            missed = set(run.label.faults) - run.said
            wrong = run.said - set(run.label.faults) - set(run.label.allowed)
            if missed or wrong or not run.counts:
                shown = "" if run.counts else "; what was planted does not show"
                print(f"{run.name}: missed {sorted(missed)}, said {sorted(wrong)}{shown}")
    if args.page is not None:
        put_into(f"{args.page}#planted", planted)
        put_into(f"{args.page}#scores", scores)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what is recorded stays
