"""``actrace chart``: a run's charts as PNG or HTML files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actrace.cli.text import console, printable

NAME = "chart"
HELP = "draw a run's charts into PNG or HTML files"
EPILOG = """\
examples:
  actrace chart runs/mnist.zarr                           both charts, as PNG, beside the run
  actrace chart runs/mnist.zarr colorful --layer fc1      one layer large
  actrace chart runs/mnist.zarr twin-peaks -o peaks.html  one file to open in a browser
  actrace chart runs/mnist.zarr colorful --layers 'block1.*' --phase valid"""

_KINDS = ("colorful", "twin-peaks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or s3:// URL")
    parser.add_argument(
        "kind", nargs="?", choices=_KINDS, help="which chart (default: each of them)"
    )
    parser.add_argument("--layer", help="draw this layer large")
    parser.add_argument(
        "--layers", nargs="+", metavar="PATTERN", help="draw the layers whose names match"
    )
    parser.add_argument("--phase", default="train", help="phase of the colorful chart")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file to write: .png, .svg or .html (default: a .png beside the run)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the charts asked for and print where they are."""
    import actrace
    from actrace.store.paths import run_path
    from actrace.store.sources.bucket import is_url

    kinds = (args.kind,) if args.kind else _KINDS
    if args.output is not None and len(kinds) > 1:
        raise actrace.errors.ChartError(
            f"-o {args.output} names one file for {len(kinds)} charts; "
            f"say which chart: {' or '.join(_KINDS)}"
        )
    opened = actrace.open(args.run_path)
    # Charts of a run in an object store go into this folder.
    beside = run_path(str(opened.name)) if is_url(args.run_path) else run_path(args.run_path)
    out = console()
    drawers: dict[str, Callable[[], Any]] = {
        "colorful": lambda: actrace.colorful_chart(
            opened, layer=args.layer, layers=args.layers, phase=args.phase
        ),
        "twin-peaks": lambda: actrace.twin_peaks_chart(opened),
    }
    for kind in kinds:
        path = args.output or beside.with_name(f"{beside.stem}-{kind}.png")
        with out.status(f"drawing {kind} ..."):
            actrace.save_chart(drawers[kind](), path)
        out.print(printable(f"{kind}: {path}"), markup=False, soft_wrap=True)
    return 0
