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
  actrace chart runs/mnist.zarr                           colorful and twin-peaks, as PNG
  actrace chart runs/mnist.zarr colorful --layer fc1      one layer large
  actrace chart runs/mnist.zarr twin-peaks -o peaks.html  one file to open in a browser
  actrace chart runs/mnist.zarr colorful --layers 'block1.*' --phase valid
  actrace chart runs/mnist.zarr colorful --findings       with what diagnose finds marked on it
  actrace chart runs/mnist.zarr colorful --by class       YES over NO, a tile a class
  actrace chart runs/mnist.zarr twin-peaks --view stacked  epochs behind one another
  actrace chart runs/mnist.zarr twin-peaks --view slider -o peaks.gif  as a film; .html: a slider
  actrace chart runs/mnist.zarr separation --by class     how far YES and NO are apart
  actrace chart runs/mnist.zarr rates --by epoch          what is active, what is dead
  actrace chart runs/mnist.zarr units --layer relu1       which units are active, which are dead
  actrace chart runs/mnist.zarr gradients                 how large each parameter's gradient is"""

#: Drawn where none is named.
_USUAL = ("colorful", "twin-peaks")
#: Chart -> the options that it takes.
_KINDS = {
    "colorful": ("layer", "layers", "phase", "findings", "by", "scale"),
    "twin-peaks": ("by", "view", "findings"),
    "class-peaks": ("by",),
    "separation": ("by", "findings"),
    "divergence": ("by", "layers", "findings"),
    "rates": ("by", "layers", "phase", "findings"),
    "warning": ("by", "phase"),
    "units": ("layer", "layers", "phase", "findings"),
    "gradients": ("layer", "layers", "phase", "findings"),
}
_OPTIONS = ("layer", "layers", "phase", "by", "findings", "scale", "view")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or s3:// URL")
    parser.add_argument(
        "kind", nargs="?", choices=_KINDS, help=f"which chart (default: {' and '.join(_USUAL)})"
    )
    parser.add_argument("--layer", help="draw this layer (of gradients: parameter) large")
    parser.add_argument(
        "--layers", nargs="+", metavar="PATTERN", help="draw the layers whose names match"
    )
    parser.add_argument("--phase", help="phase to draw (default: train)")
    parser.add_argument(
        "--by",
        choices=("batch", "epoch", "layer", "class", "unit"),
        help="what a column (rates, warning: batch, epoch) or a panel (divergence: layer, class; "
        "separation: class; class-peaks, colorful, twin-peaks: class, unit) stands for",
    )
    parser.add_argument(
        "--view",
        choices=("panels", "stacked", "slider"),
        help="how twin-peaks shows epochs: side by side, behind one another, or one at a time",
    )
    parser.add_argument(
        "--scale", choices=("linear", "asinh"), help="value axis of colorful (default: linear)"
    )
    parser.add_argument(
        "--theme",
        choices=("light", "dark"),
        help="the paper (default: light; a page follows its reader's setting)",
    )
    parser.add_argument(
        "--findings",
        action="store_true",
        default=None,
        help="mark what diagnose finds on the chart",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file to write: .png, .svg, .html, of a slider .gif (default: a .png beside the run)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the charts asked for and print where they are."""
    import actrace
    from actrace.store.paths import run_path
    from actrace.store.sources.bucket import is_url

    kinds = (args.kind,) if args.kind else _USUAL
    if args.output is not None and len(kinds) > 1:
        raise actrace.errors.ChartError(
            f"-o {args.output} names one file for {len(kinds)} charts; "
            f"say which chart: {', '.join(_KINDS)}"
        )
    given = {name: getattr(args, name) for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if not any(name in _KINDS[kind] for kind in kinds):
            fit = [kind for kind, takes in _KINDS.items() if name in takes]
            raise actrace.errors.ChartError(
                f"--{name} says nothing to {' or '.join(kinds)}; it is for {', '.join(fit)}"
            )
    opened = actrace.open(args.run_path)
    if "findings" in given:
        given["findings"] = actrace.diagnose(opened)
    # Charts of a run in an object store go into this folder.
    beside = run_path(str(opened.name)) if is_url(args.run_path) else run_path(args.run_path)
    out = console()
    drawers: dict[str, Callable[..., Any]] = {
        "colorful": actrace.colorful_chart,
        "twin-peaks": actrace.twin_peaks_chart,
        "class-peaks": actrace.class_peaks_chart,
        "separation": actrace.separation_chart,
        "divergence": actrace.divergence_chart,
        "rates": actrace.rates_chart,
        "warning": actrace.warning_chart,
        "units": actrace.units_chart,
        "gradients": lambda run, layer=None, layers=None, **options: actrace.gradients_chart(
            run, parameter=layer, parameters=layers, **options
        ),
    }
    for kind in kinds:
        path = args.output or beside.with_name(f"{beside.stem}-{kind}.png")
        with out.status(f"drawing {kind} ..."):
            options = {name: value for name, value in given.items() if name in _KINDS[kind]}
            actrace.save_chart(drawers[kind](opened, **options), path, theme=args.theme)
        out.print(printable(f"{kind}: {path}"), markup=False, soft_wrap=True)
    return 0
