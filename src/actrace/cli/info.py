"""``actrace info``: what a run recorded."""

from __future__ import annotations

import argparse

from actrace.cli.text import console, printable

NAME = "info"
HELP = "say what a run recorded"
EPILOG = """\
examples:
  actrace info runs/mnist.zarr            phases, batches, epochs, layers, size, status
  actrace info runs/mnist.zarr --layers   every layer with its type and shape
  actrace info runs/mnist.zarr --epochs   a table: loss, accuracy, peaks, rates by epoch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or s3:// URL")
    parser.add_argument("--layers", action="store_true", help="list every layer")
    parser.add_argument("--epochs", action="store_true", help="print the table by epoch")


def run(args: argparse.Namespace) -> int:
    """Print the run's description, and the tables asked for."""
    import actrace

    opened = actrace.open(args.run_path)
    out = console()
    out.print("\n".join(printable(line) for line in repr(opened).splitlines()), markup=False)
    if args.layers:
        from actrace.cli.tables import layer_table

        out.print(layer_table(opened))
    if args.epochs:
        from actrace.cli.tables import epoch_table

        out.print(epoch_table(opened))
    return 0
