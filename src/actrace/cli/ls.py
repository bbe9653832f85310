"""``actrace ls``: the runs below a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from actrace.cli.text import console, printable, size, table

if TYPE_CHECKING:
    from actrace.store.catalogue import RunSummary

NAME = "ls"
HELP = "list the runs below a folder"
EPILOG = """\
examples:
  actrace ls                  the runs below this folder
  actrace ls runs             the runs below runs/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path(), help="where to look (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    """Print a line a run."""
    from actrace.store.catalogue import list_runs

    top = args.directory.expanduser().absolute()
    found = list_runs(args.directory)
    out = console()
    if not found:
        out.print(f"No runs below {args.directory}.", markup=False)
        return 0
    columns = [
        ("run", "left"),
        ("status", "left"),
        ("batches", "left"),
        ("epochs", "right"),
        ("layers", "right"),
        ("size", "right"),
        ("started", "left"),
        ("tags", "left"),
    ]
    rows = [
        (
            _name(summary, top),
            summary.status,
            ", ".join(f"{phase} {count:,}" for phase, count in summary.batches.items()) or "-",
            str(max(summary.epochs.values(), default=0) or "-"),
            str(summary.layers or "-"),
            size(summary.size),
            summary.started[:16].replace("T", " ") or "-",
            ", ".join(summary.tags),
        )
        for summary in found
    ]
    out.print(table(columns, rows))
    for summary in found:
        if summary.problem:
            out.print(printable(f"{summary.name}: {summary.problem}"), markup=False)
    return 0


def _name(summary: RunSummary, top: Path) -> str:
    """Return a run's path below the folder that is listed, and of how many ranks it is."""
    name = summary.name
    if summary.path != top:
        name = str(summary.path.relative_to(top).with_name(name))
    return f"{name} ({summary.ranks} ranks)" if summary.ranks else name
