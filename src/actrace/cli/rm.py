"""``actrace rm``: a run deleted, once the user has said yes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from actrace.cli.text import console, printable, size
from actrace.errors import ActraceError

if TYPE_CHECKING:
    from actrace.store.catalogue.summary import RunSummary

NAME = "rm"
HELP = "delete runs from disk, after asking"
EPILOG = """\
examples:
  actrace rm runs/mnist                asks first
  actrace rm --yes runs/a runs/b       does not

Nothing but a run is ever deleted, and none that is being recorded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "run_paths", nargs="+", metavar="RUN", help="a run's folder, with or without .zarr"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Delete the runs, each after a yes."""
    import actrace
    from actrace.store.catalogue.listing import list_runs
    from actrace.store.paths import find_run

    out = console()
    if not args.yes and not sys.stdin.isatty():
        raise ActraceError("nobody can be asked here; pass --yes to delete without asking")
    for path in args.run_paths:
        directory = find_run(path)
        found = list_runs(directory, depth=0) if directory.is_dir() else []
        about = next((_words(one) for one in found if one.path == directory), "")
        if not args.yes:
            answer = input(printable(f"Delete run {directory}{about} for good? [y/N] "))
            if answer.strip().lower() not in ("y", "yes"):
                out.print(printable(f"kept {directory}"), markup=False, soft_wrap=True)
                continue
        actrace.delete_run(path)
        out.print(printable(f"deleted {directory}"), markup=False, soft_wrap=True)
    return 0


def _words(run: RunSummary) -> str:
    return f" ({run.status}, {sum(run.batches.values()):,} batches, {size(run.size)})"
