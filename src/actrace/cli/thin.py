"""``actrace thin``: an old run in fewer bytes."""

from __future__ import annotations

import argparse
import sys

from actrace.cli.text import console, printable, size
from actrace.errors import ActraceError

NAME = "thin"
HELP = "keep histograms of chosen batches and layers, and levels of the others"
EPILOG = """\
The histograms of single batches are most of a run. Those that are not kept stay
merged by 16, 64 and so on, as the run's levels have them, and what is asked by epoch
or drawn of the whole run is as it was. Everything else of every batch stays: means,
spreads, extremes, rates, losses, targets, units, gradients.

What is named is kept where all of it is said at once: --keep-epochs 0,-1 with
--keep-layers fc keeps layer fc in two epochs. Where nothing is named, none is kept.

In the run's own place it asks first, because what is thinned is gone for good. The
run is written beside the old one, read through, and takes its place in one step: a
kill leaves the one or the other.

examples:
  actrace thin runs/mnist --keep-epochs 0,1,-1      the first two and the last epoch
  actrace thin runs/mnist --keep-steps 2000:3000    where it went wrong
  actrace thin runs/mnist --keep-layers fc 'conv*'  some layers throughout
  actrace thin runs/mnist -o thin/mnist             all of it, into another place"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument(
        "--keep-epochs", type=_epochs, metavar="N,N,...", help="epochs to keep; -1 is the last"
    )
    parser.add_argument(
        "--keep-steps", type=_steps, metavar="A:B", help="training steps to keep, A <= step < B"
    )
    parser.add_argument(
        "--keep-layers", nargs="+", metavar="PATTERN", help="layers to keep, by name or pattern"
    )
    parser.add_argument("-o", "--output", help="where the new run goes (default: its own place)")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Thin the run, after a yes where it is replaced, and print what it takes now."""
    import actrace
    from actrace.store.paths import find_run, size_on_disk

    out = console()
    directory = find_run(args.run_path)
    needed = size(size_on_disk(directory))
    if args.output is None and not args.yes:
        if not sys.stdin.isatty():
            raise ActraceError(
                "nobody can be asked here; pass --yes to thin without asking, or -o for a copy"
            )
        asked = f"Thin run {directory} ({needed}) for good? [y/N] "
        if input(printable(asked)).strip().lower() not in ("y", "yes"):
            out.print(printable(f"kept {directory}"), markup=False, soft_wrap=True)
            return 0
    out.print(
        printable(f"{args.run_path}: needs up to {needed} of free space"),
        markup=False,
        soft_wrap=True,
    )
    report = actrace.thin_run(
        args.run_path,
        args.output,
        keep_epochs=args.keep_epochs,
        keep_steps=args.keep_steps,
        keep_layers=args.keep_layers,
    )
    lines = repr(report).splitlines()
    out.print("\n".join(map(printable, lines)), markup=False, soft_wrap=True)
    return 0


def _epochs(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _steps(text: str) -> tuple[int | None, int | None]:
    first, colon, stop = text.partition(":")
    found = int(first) if first else None, int(stop) if stop else None
    if not colon or (found[0] or 0) < 0 or (found[1] is not None and found[1] <= (found[0] or 0)):
        raise argparse.ArgumentTypeError(f"A:B with A below B, got {text!r}")
    return found
