"""``actrace check``: whether a run is whole, and if not, what is damaged."""

from __future__ import annotations

import argparse
import sys

from actrace.cli.text import console, printable

NAME = "check"
HELP = "read all of a run and say what is damaged"
EPILOG = """\
examples:
  actrace check runs/mnist.zarr              every chunk's checksum, every row's sums
  actrace check runs/mnist.zarr --list       every damage, not the first twenty
  actrace check runs/mnist && echo whole

exit codes: 0 the run is whole, 1 something is damaged, 2 it cannot be read"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument("--list", action="store_true", help="list every damage, one a line")
    parser.add_argument("--quiet", action="store_true", help="say nothing, exit with the code")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 whole, 1 damaged, 2 cannot be read."""
    from actrace.errors import ActraceError
    from actrace.store.checking.examine import check_run

    try:
        report = check_run(args.run_path, progress=False if args.quiet else None)
    except (ActraceError, OSError) as error:
        if args.debug:
            raise
        print(f"actrace: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    if not args.quiet:
        lines = repr(report).splitlines()
        if args.list:
            every = [*report.damages, *(d for rank in report.ranks for d in rank.damages)]
            lines += ["", *map(str, every)]
        console().print("\n".join(map(printable, lines)), markup=False, soft_wrap=True)
    return 0 if report.whole else 1
