"""``actrace compare``: where runs part from each other."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from actrace.cli.text import console, number, printable, table

if TYPE_CHECKING:
    from rich.table import Table

    from actrace.analysis.comparison.comparison import Comparison

NAME = "compare"
HELP = "say where runs part from the first of them"
EPILOG = """\
The runs are cut into the same stretches of training, and in each the first run's
histograms are held against those of the others. A run parts where some layer's
Jensen-Shannon divergence stays above the noise by more than the tolerance.

examples:
  actrace compare runs/a runs/b                     layer and step at which b parts from a
  actrace compare runs/* --by epoch --phase valid   the validation of all, by epoch
  actrace compare runs/a runs/b --layers            every layer, not the first alone
  actrace compare runs/a runs/b --noise runs/a2 --noise runs/a3   noise from other seeds
  actrace compare runs/a runs/b --json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how to compare, as ``actrace check --against`` has it too."""
    parser.add_argument(
        "--by",
        choices=("step", "epoch", "samples", "fraction"),
        default="step",
        help="what runs are aligned by (default: step)",
    )
    parser.add_argument("--phase", default="train", help="which phase (default: train)")
    parser.add_argument(
        "--width",
        type=_positive,
        default=100,
        metavar="N",
        help="positions that the runs are cut into, at most (default: 100)",
    )
    parser.add_argument(
        "--noise",
        action="append",
        default=[],
        metavar="RUN",
        help="a run of the first one's config with another seed; repeatable",
    )
    parser.add_argument(
        "--tolerance",
        type=_share,
        metavar="BITS",
        help="divergence above the noise that is never called a difference, 0 to 1 (default: "
        "0.08, with two runs as noise or more 0.02)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument(
        "run_paths", metavar="RUN", nargs="+", help="runs; the others are held against the first"
    )
    add_options(parser)
    parser.add_argument("--layers", action="store_true", help="say of every layer where it parts")
    parser.add_argument("--json", action="store_true", help="print JSON")


def compared(paths: list[str], args: argparse.Namespace) -> Comparison:
    """Return the runs at `paths` compared as the options say."""
    import actrace

    names = [path.rstrip("/").removesuffix(".zarr") for path in paths]
    if len(set(names)) < len(names):
        runs: dict[str, str] | list[str] = list(paths)
    else:
        runs = dict(zip(names, paths, strict=True))
    found = actrace.compare(
        runs,
        by=args.by,
        phase=args.phase,
        width=args.width,
        noise=args.noise or None,
        tolerance=args.tolerance,
    )
    found.load()
    return found


def run(args: argparse.Namespace) -> int:
    """Print where each run parts from the first, and what they differ in."""
    found = compared(args.run_paths, args)
    out = console()
    if args.json:
        print(found.to_json(indent=2))  # noqa: T201 - a terminal's width is nothing to JSON
        return 0
    out.print(printable_lines(repr(found)), markup=False, soft_wrap=True)
    out.print(differences_table(found))
    if args.layers:
        out.print(layers_table(found))
    return 0


def printable_lines(text: str) -> str:
    """Return lines whose control characters are escaped."""
    return "\n".join(map(printable, text.splitlines()))


def differences_table(found: Comparison) -> Table:
    """Return a table of settings and outcomes, a row a run."""
    rows = found.differences
    headings = [str(name).removeprefix("outcome.") for name in rows.columns]
    body = [
        (str(name), *(_cell(value) for value in values))
        for name, values in zip(rows.index, rows.itertuples(index=False), strict=True)
    ]
    columns = [("run", "left"), *((printable(heading), "right") for heading in headings)]
    return table(columns, body)


def layers_table(found: Comparison) -> Table:
    """Return where each layer of each run parts, a row a layer and run."""
    import numpy as np

    data = found.data
    columns = [
        ("run", "left"),
        ("layer", "left"),
        (f"parts at {found.data.attrs['by']}", "right"),
        ("largest bits", "right"),
        ("its noise", "right"),
    ]
    rows = []
    for name in found.runs:
        for layer in data["layer"].values.tolist() if name != found.baseline else ():
            one = data.sel(run=name, layer=layer)
            far = one["jensen_shannon"].to_numpy()
            known = far[~np.isnan(far)]
            largest = float(known.max()) if len(known) else math.nan
            at = int((far == largest).argmax()) if len(known) else 0
            noise = float(one["noise"][at]) if len(known) else math.nan
            rows.append(
                (name, str(layer), _cell(float(one["parts_at"])), number(largest), number(noise))
            )
    return table(columns, rows)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else number(value, 3)
    return str(value)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected bits from 0 to 1, got {text!r}")
    return value
