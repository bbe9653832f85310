"""``actrace report``: runs in one file to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from actrace.cli.text import console, printable

NAME = "report"
HELP = "write what runs did, findings and pictures, into one file to hand on"
EPILOG = """\
examples:
  actrace report runs/a -o report.html           one page: no network, no script
  actrace report runs/a runs/b -o report.html    the same of two, and where b parts from a
  actrace report runs/a runs/b -o report.md      a summary for a pull request
  actrace report runs/a -o docs/report.md --pictures docs/pictures"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "run_paths", metavar="RUN", nargs="+", help="runs; the others are held against the first"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="file to write: .html or .md"
    )
    parser.add_argument(
        "--pictures", metavar="DIR", type=Path, help="folder for the pictures of a .md report"
    )
    parser.add_argument(
        "--by",
        choices=("step", "epoch", "samples", "fraction"),
        default="step",
        help="what several runs are aligned by (default: step)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    import actrace
    from actrace.store.describe import bytes_words

    path = actrace.report(args.run_paths, args.output, pictures=args.pictures, by=args.by)
    size = bytes_words(path.stat().st_size)
    console().print(printable(f"report: {path} ({size})"), markup=False, soft_wrap=True)
    return 0
