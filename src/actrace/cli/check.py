"""``actrace check``: whether a run is whole, or departs from a baseline."""

from __future__ import annotations

import argparse
import sys

from actrace.cli.compare import add_options, compared, printable_lines
from actrace.cli.text import console, printable

NAME = "check"
HELP = "say what of a run is damaged, or with --against where it departs from a baseline"
EPILOG = """\
Without --against every byte of the run is read and held against its checksum. With
--against the run is compared with another, as actrace compare does it: it departs
where some layer's Jensen-Shannon divergence from the baseline stays above the noise
by more than the tolerance for a twentieth of the baseline. The noise is how far
the baseline itself moves in a tenth of its length, and how far the runs given by
--noise, of the baseline's config with other seeds, are apart; where these are fewer
than two, how far another draw of a layer's units would move it.

examples:
  actrace check runs/mnist.zarr              every chunk's checksum, every row's sums
  actrace check runs/mnist.zarr --list       every damage, not the first twenty
  actrace check runs/mnist && echo whole

  actrace check runs/new --against runs/good
  actrace check runs/new --against runs/good --noise runs/good-2 --noise runs/good-3

exit codes: 0 the run is whole (with --against: keeps to the baseline), 1 something is
damaged (departs from it, or lacks one of its layers), 2 it cannot be read (compared)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument(
        "--against", metavar="BASELINE", help="a run to compare with; then no bytes are checked"
    )
    parser.add_argument("--json", action="store_true", help="with --against: print JSON")
    add_options(parser)
    parser.add_argument("--list", action="store_true", help="list every damage, one a line")
    parser.add_argument("--quiet", action="store_true", help="say nothing, exit with the code")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 whole, 1 damaged, 2 cannot be read."""
    if args.against is not None:
        return _against(args)
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


def _against(args: argparse.Namespace) -> int:
    """Print whether the run keeps to the baseline; 0 it does, 1 it departs, 2 an error."""
    from actrace.errors import ActraceError

    try:
        found = compared([args.against, args.run_path], args)
    except (ActraceError, OSError) as error:
        if args.debug:
            raise
        print(f"actrace: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    if args.json:
        print(found.to_json(indent=2))  # noqa: T201
    elif not args.quiet:
        console().print(printable_lines(repr(found)), markup=False, soft_wrap=True)
    return 1 if found.departing else 0
