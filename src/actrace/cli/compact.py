"""``actrace compact``: a finished run in fewer and larger files."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable, size

NAME = "compact"
HELP = "write a finished run anew in fewer and larger files"
EPILOG = """\
Every value stays as it is, and a training can still be resumed into the run. It is
written beside the old one, read through, and takes its place in one step: a kill
leaves the one or the other. So it needs as much free space as the run takes.

examples:
  actrace compact runs/mnist                    in its own place
  actrace compact runs/mnist -o smaller/mnist   into another place
  actrace compact runs/mnist --shard-mib 512    larger files still"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, with or without .zarr")
    parser.add_argument("-o", "--output", help="where the new run goes (default: its own place)")
    parser.add_argument(
        "--shard-mib",
        type=_mib,
        default=128,
        metavar="MIB",
        help="raw size of a file of histograms, 1 to 1024 (default: 128)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the run anew and print what it takes now."""
    import actrace
    from actrace.store.paths import find_run, size_on_disk

    out = console()
    needed = size(size_on_disk(find_run(args.run_path)))
    out.print(
        printable(f"{args.run_path}: needs up to {needed} of free space"),
        markup=False,
        soft_wrap=True,
    )
    report = actrace.compact_run(args.run_path, args.output, shard_mib=args.shard_mib)
    lines = repr(report).splitlines()
    out.print("\n".join(map(printable, lines)), markup=False, soft_wrap=True)
    return 0


def _mib(text: str) -> int:
    found = int(text)
    if not 1 <= found <= 1024:
        raise argparse.ArgumentTypeError(f"1 to 1024, got {found}")
    return found
