"""``actrace repair``: all that is whole in a run, saved into a new one."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "repair"
HELP = "save all that is whole in a damaged or interrupted run"
EPILOG = """\
examples:
  actrace repair runs/mnist.zarr                  into runs/mnist-repaired.zarr
  actrace repair runs/mnist.zarr -o saved/mnist   into another place
  actrace repair runs/mnist.zarr --in-place       in its own place, in one step

The damaged run is never touched but with --in-place. What is lost is marked in the
new run: see the attribute 'damaged'."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", help="where the repaired run goes")
    where.add_argument("--in-place", action="store_true", help="replace the run by the repaired")


def run(args: argparse.Namespace) -> int:
    """Repair and print what is saved and what is lost."""
    from actrace.store.repair.mend import repair_run

    report = repair_run(args.run_path, args.output, in_place=args.in_place)
    lines = repr(report).splitlines()
    console().print("\n".join(map(printable, lines)), markup=False, soft_wrap=True)
    return 1 if any(rank.problem for rank in report.ranks) else 0
