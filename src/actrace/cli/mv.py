"""``actrace mv``: a run under another name."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "mv"
HELP = "rename a run or move it to another folder"
EPILOG = """\
examples:
  actrace mv runs/mnist runs/mnist-lr0.1
  actrace mv runs/mnist archive/2026/mnist

A finished run may also be moved and copied with mv and cp -r; this command
refuses one that is being recorded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument("to", metavar="TO", help="its new path, on the same disk")


def run(args: argparse.Namespace) -> int:
    """Rename the run and print where it is."""
    import actrace

    moved = actrace.rename_run(args.run_path, args.to)
    console().print(printable(str(moved)), markup=False, soft_wrap=True)
    return 0
