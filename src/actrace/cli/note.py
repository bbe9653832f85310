"""``actrace note``: a line or a page about a run, kept with it."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "note"
HELP = "write a note on a run, or read it"
EPILOG = """\
examples:
  actrace note runs/mnist                              the note
  actrace note runs/mnist "the one with the seed bug"  write it, instead of the old one
  actrace note runs/mnist ""                           take it away"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument("text", nargs="?", help="the note; without it the old one is printed")


def run(args: argparse.Namespace) -> int:
    """Write the note, or print it."""
    import actrace

    if args.text is not None:
        actrace.note_run(args.run_path, args.text)
        return 0
    note = str(actrace.open(args.run_path).attrs.get("note") or "no note")
    lines = "\n".join(printable(line) for line in note.splitlines())
    console().print(lines, markup=False, soft_wrap=True)
    return 0
