"""``actrace peaks``: are YES and NO apart, and which class lags."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from actrace.cli.text import console, fraction, number, printable, table
from actrace.cli.windows import WINDOW_HELP, Place, add_window, pick, places

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console
    from rich.table import Table

    from actrace.store.run import Run

    #: A phase, when, and what an answer says of it then.
    Row = tuple[str, Place, xr.Dataset]

NAME = "peaks"
HELP = "say how far YES and NO are apart, which class lags, which are confused"
EPILOG = f"""\
By default the output layer's labelled numbers of the last epoch of each phase, and what
the shape of its outputs says without labels. --by class adds the classes, those that
lag most first; --by unit the output units; --by none leaves labels aside, as --layer
does for any layer.

{WINDOW_HELP}

examples:
  actrace peaks runs/mnist                         the last epoch of each phase
  actrace peaks runs/mnist --by class --limit 5    and the five classes behind most
  actrace peaks runs/mnist --epoch all --phase valid
  actrace peaks runs/mnist --layer 'block1.relu1'  the shape of any layer, without labels
  actrace peaks runs/mnist --window 0:100          the first hundred steps
  actrace peaks runs/mnist --window 50 --epoch all every fifty steps
  actrace peaks runs/mnist --json                  for a program"""

_LABELLED: Final = (
    "understanding",
    "d_prime",
    "overlap",
    "overlap_error",
    "auc",
    "auc_error",
    "accuracy",
    "samples",
)
_SHAPE: Final = ("n_peaks", "separation", "valley_depth", "two_normals_d", "elements")
_CLASS: Final = (
    "samples",
    "accuracy",
    "behind",
    "behind_at_least",
    "lagging",
    "understanding",
    "d_prime",
    "overlap",
    "auc",
    "confused_with",
)
_LAGGING: Final = (
    "samples",
    "lagging",
    "behind",
    "behind_at_least",
    "confusion_seen",
    "confusion",
)
_UNIT: Final = ("elements_yes", "understanding", "d_prime", "overlap", "auc")
_HEADINGS: Final = {
    "d_prime": "d'",
    "overlap_error": "+-",
    "auc": "AUC",
    "auc_error": "+-",
    "n_peaks": "peaks",
    "valley_depth": "valley depth",
    "two_normals_d": "D of two normals",
    "behind_at_least": "at least",
    "confused_with": "confused with",
    "elements_yes": "YES",
}
#: What counts the outputs behind a row, in whatever answer has it.
_COUNTED: Final = ("samples", "elements_yes", "elements")
_SHARES: Final = {"accuracy", "behind", "behind_at_least"}


def _epoch(text: str) -> int | str:
    if text in ("last", "all"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, 'last' or 'all', got {text!r}"
        ) from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or s3:// URL")
    parser.add_argument("--phase", help="one phase (default: all)")
    parser.add_argument(
        "--by",
        choices=("class", "unit", "none"),
        help="by true class, by output unit, or no labels",
    )
    parser.add_argument("--layer", help="a layer's name: its shape, without labels")
    parser.add_argument(
        "--epoch",
        type=_epoch,
        default="last",
        help="a number, last or all (default: last); of windows of steps, those that begin in it",
    )
    add_window(parser)
    parser.add_argument(
        "--limit", type=_count, default=20, metavar="N", help="rows by class or unit (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, everything in it")


def run(args: argparse.Namespace) -> int:
    """Print the tables, or their numbers as JSON."""
    import actrace
    from actrace.store.progress import waiting

    opened = actrace.open(args.run_path)
    with waiting("reading the outputs"):
        rows = {
            name: _rows(opened, answer, args.epoch)
            for name, answer in _answers(opened, args).items()
        }
    if args.json:
        found = {name: [_plain(*row) for row in some] for name, some in rows.items()}
        print(json.dumps(found, indent=1))  # noqa: T201
        return 0
    out = console()
    for name, title in (("labelled", "with labels"), ("shape", "by shape alone")):
        if rows.get(name):
            out.print(_overview(rows[name], title))
    for phase, place, one in rows.get("classes", ()):
        title = f"{phase}, {place.name}: classes, the one behind most first"
        out.print(_parts(one.sortby("behind", ascending=False), "target_class", title, args.limit))
        _say_confused(out, one, 5)
    for phase, place, one in rows.get("units", ()):
        title = f"{phase}, {place.name}: output units, the least apart first"
        out.print(_parts(one.sortby("auc"), "output_unit", title, args.limit))
    for phase, place, one in rows.get("lagging", ()):
        _say_lagging(out, f"{phase}, {place.name}", one)
    return 0


def _answers(run: Run, args: argparse.Namespace) -> dict[str, xr.Dataset]:
    """Return what was asked, of all epochs, not computed."""
    import actrace
    from actrace.errors import NotRecordedError

    asked: dict[str, xr.Dataset] = {}
    if args.layer is None and args.by != "none":
        try:
            asked |= _labelled(run, args)
        except NotRecordedError:
            # Without targets the shape is all there is; whoever asks for classes is told.
            if args.by is not None:
                raise
    if args.by in (None, "none") or args.layer is not None:
        shape = actrace.find_peaks(run, layer=args.layer, phases=args.phase, window=args.window)
        asked["shape"] = shape[list(_SHAPE)]
    return asked


def _labelled(run: Run, args: argparse.Namespace) -> dict[str, xr.Dataset]:
    import actrace

    if args.by == "unit":
        units = actrace.twin_peaks(run, phases=args.phase, by="unit", window=args.window)
        return {"units": units[list(_UNIT)]}
    labelled = actrace.twin_peaks(run, phases=args.phase, window=args.window)
    report = actrace.class_report(run, phases=args.phase, window=args.window)
    found = {"labelled": labelled[[name for name in _LABELLED if name in labelled]]}
    if args.by == "class":
        return found | {"classes": report}
    return found | {"lagging": report[[name for name in _LAGGING if name in report]]}


def _rows(run: Run, answer: xr.Dataset, epoch: int | str) -> list[Row]:
    """Return what an answer says of each phase in the epochs asked for, computed, in order."""
    from actrace.analysis.select import epochs
    from actrace.errors import NotRecordedError

    dim, known = places(answer)
    phases = [str(phase) for phase in answer["phase"].values]
    if dim == "epoch":
        # An epoch that has just begun may have batches and no window of labels yet.
        held = {phase: set(epochs(run, phase).tolist()) for phase in phases}
        there = {phase: [p for p in known if p.epoch in held[phase]] for phase in phases}
    else:
        # Windows of steps in which a phase made no batch are left out, and are not the last.
        answer = answer.compute()
        counted = answer[next(name for name in _COUNTED if name in answer)]
        sums = counted.sum([d for d in counted.dims if d not in ("phase", dim)])
        there = {
            phase: [p for p in known if int(sums.sel(phase=phase)[p.index]) > 0] for phase in phases
        }
    wanted = [(phase, place) for phase, some in there.items() for place in pick(some, epoch)]
    if isinstance(epoch, int) and not wanted:
        every = sorted({place.epoch for some in there.values() for place in some})
        said = f"{every[0]} to {every[-1]}" if every else "none"
        raise NotRecordedError(f"epoch {epoch} is not in this run; it has {said}")
    indices = sorted({place.index for _, place in wanted})
    read = answer.isel({dim: indices}).compute()
    return [
        (phase, place, read.sel(phase=phase).isel({dim: indices.index(place.index)}))
        for phase, place in wanted
    ]


def _overview(rows: Sequence[Row], title: str) -> Table:
    names = [str(name) for name in rows[0][2].data_vars]
    columns = [("phase", "left"), _time(rows), *((_heading(n), "right") for n in names)]
    cells = [
        [printable(phase), place.name.split(" ", 1)[1], *(_cell(n, one[n].item()) for n in names)]
        for phase, place, one in rows
    ]
    return table(columns, cells, title=title)


def _parts(one: xr.Dataset, dim: str, title: str, limit: int) -> Table:
    """Return a table with a row a class or unit."""
    names = [n for n in (_CLASS if dim == "target_class" else _UNIT) if n in one]
    columns = [(dim.replace("_", " "), "left"), *((_heading(n), "right") for n in names)]
    few = one.isel({dim: slice(limit)})
    cells = [
        [printable(str(part)), *(_cell(n, few[n].values[i].item()) for n in names)]
        for i, part in enumerate(few[dim].values)
    ]
    hidden = one.sizes[dim] - len(cells)
    return table(columns, cells, title=printable(title) + (f" ({hidden} more)" if hidden else ""))


def _say_lagging(out: Console, where: str, one: xr.Dataset) -> None:
    behind = one.isel(target_class=one["lagging"].values).sortby("behind", ascending=False)
    some = [
        f"{name} by {fraction(float(gap))} (at least {fraction(float(least))})"
        for name, gap, least in zip(
            behind["target_class"].values[:5],
            behind["behind"].values,
            behind["behind_at_least"].values,
            strict=False,
        )
    ]
    more = behind.sizes["target_class"] - len(some)
    said = ", ".join(some) + (f" and {more} more" if more else "") if some else "no class, surely"
    out.print(printable(f"{where}: behind the others is {said}"), markup=False, soft_wrap=True)
    _say_confused(out, one, 3)


def _say_confused(out: Console, one: xr.Dataset, most: int) -> None:
    from actrace.analysis.classes import confused_pairs

    pairs = [
        f"{name} with {unit} ({fraction(seen)} of its NO above YES; {fraction(counted)} told so)"
        for name, unit, seen, counted in confused_pairs(one, most=most)
    ]
    if pairs:
        text = printable(f"  most confused: {', '.join(pairs)}")
        out.print(text, markup=False, soft_wrap=True)


def _heading(name: str) -> str:
    return _HEADINGS.get(name, name.replace("_", " "))


def _cell(name: str, value: float | int | bool | str) -> str:
    if isinstance(value, str):
        return printable(value) or "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    return fraction(value) if name in _SHARES else number(value, 3)


def _time(rows: Sequence[Row]) -> tuple[str, str]:
    """Return the heading of the column that says when."""
    return ("epoch" if rows[0][1].steps is None else "steps", "right")


def _plain(phase: str, place: Place, one: xr.Dataset) -> dict[str, Any]:
    """Return a row as JSON can hold it: null for what there is not."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    names = {str(d): one[d].values.tolist() for d in one.dims if d in one.coords}
    values = {str(n): plain(v.values.tolist()) for n, v in one.data_vars.items()}
    when: dict[str, Any] = {"phase": phase, "epoch": place.epoch}
    if place.steps is not None:
        when |= dict(zip(("step", "last_step"), place.steps, strict=True))
    return {**when, **names, **values}
