"""``actrace levels``: the overview levels that a run lacks."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "levels"
HELP = "build the overview levels that a run lacks"
EPILOG = """\
Levels are what a long run is looked at through from afar: its batches merged
by 16, 64, 256 and so on. A recorder builds them as it goes. A run that was
recorded without gets them here, and so does one that was resumed far behind
its levels. Nothing else of the run changes; a run that is being recorded is
refused.

examples:
  actrace levels runs/mnist.zarr"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument(
        "--durability",
        choices=("process", "power"),
        default="process",
        help="power: what is written survives a power cut (default: process)",
    )


def run(args: argparse.Namespace) -> int:
    """Build what is missing, and say what that was."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from actrace.store.levels.build import build_levels
    from actrace.store.levels.ladder import FEWEST, FIRST
    from actrace.store.paths import ROOT_DOCUMENT, find_run, rank_paths

    folder = find_run(args.run_path)
    alone = (folder / ROOT_DOCUMENT).exists()
    paths = [folder] if alone else [*rank_paths(folder).values()] or [folder]
    out = console()
    for path in paths:
        about = "" if len(paths) == 1 else f"{path.stem}: "
        with Progress(
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        ) as bar:
            task = bar.add_task(f"{about}building levels", total=None)
            built = build_levels(
                path,
                durability=args.durability,
                told=lambda done, total: bar.update(task, completed=done, total=total),  # noqa: B023
            )
        for phase, n in built.items():
            out.print(
                printable(f"{about}{phase}: {n:,} columns built"), markup=False, soft_wrap=True
            )
        if not built:
            out.print(
                printable(
                    f"{about}nothing is missing; a phase has levels from "
                    f"{FEWEST * FIRST:,} batches on"
                ),
                markup=False,
            )
    return 0
