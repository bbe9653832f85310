"""The ``actrace`` command: one file a subcommand, errors in one plain line.

This module parses and dispatches; what a subcommand does, and which part of
actrace it loads, is its own file's business, so that ``--help`` stays quick.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from actrace import __version__
from actrace.cli import (
    chart,
    check,
    compact,
    compare,
    demo,
    diagnose,
    divergence,
    export,
    info,
    levels,
    ls,
    mv,
    note,
    peaks,
    repair,
    report,
    rm,
    serve,
    tag,
    thin,
)
from actrace.cli.text import printable
from actrace.errors import ActraceError

__all__ = ["build_parser", "main"]

_DESCRIPTION = """\
Record what every layer of a PyTorch model does, batch by batch, and ask
afterwards what happened."""

_EPILOG = """\
examples:
  actrace demo                       two recorded trainings, their table and pictures
  actrace ls runs                    the runs below a folder
  actrace info runs/mnist.zarr       what a run recorded
  actrace serve runs                 all of them in a browser
  actrace chart runs/mnist.zarr      its colorful-dimension and twin-peaks charts
  actrace peaks runs/mnist.zarr      how far YES and NO are apart, and which class lags
  actrace diagnose runs/mnist.zarr   what went wrong in it, and what to try
  actrace compare runs/a runs/b      where b parts from a
  actrace report runs/a runs/b -o report.html   all of it in one page to hand on
  actrace levels runs/mnist.zarr     the overview levels that it lacks
  actrace check runs/mnist.zarr      whether every byte of it is whole
  actrace repair runs/mnist.zarr     saves what is whole of a damaged run
  actrace compact runs/mnist.zarr    the same in fewer, larger files
  actrace thin runs/mnist.zarr       its histograms in fewer bytes, once it is old
  actrace tag runs/mnist.zarr +good  a tag, by which actrace ls finds it

exit codes: 0 done, 1 an error said in one line, 2 a wrong command line, 130 interrupted"""

_COMMANDS = (
    demo,
    ls,
    info,
    serve,
    chart,
    diagnose,
    peaks,
    divergence,
    compare,
    report,
    levels,
    compact,
    thin,
    check,
    repair,
    tag,
    note,
    mv,
    rm,
    export,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback behind an error")
    parser = argparse.ArgumentParser(
        prog="actrace",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"actrace {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            epilog=command.EPILOG,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0 done, 1 an error, 130 interrupted; a wrong command line exits with 2.
    """
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("actrace: interrupted", file=sys.stderr)  # noqa: T201 - the command speaks here
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has left: nothing more to say.
        sys.stderr.close()
        return 0
    except (ActraceError, OSError) as error:
        if args.debug:
            traceback.print_exc()
        print(f"actrace: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 1
