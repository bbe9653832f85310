"""``actrace peaks``: are YES and NO apart, and which class lags."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from actrace.cli.text import console, fraction, number, printable, table

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console
    from rich.table import Table

    from actrace.store.run import Run

NAME = "peaks"
HELP = "say how far YES and NO are apart, which class lags, which are confused"
EPILOG = """\
By default the output layer's labelled numbers of the last epoch of each phase, and what
the shape of its outputs says without labels. --by class adds the classes, those that
lag most first; --by unit the output units; --by none leaves labels aside, as --layer
does for any layer.

examples:
  actrace peaks runs/mnist                         the last epoch of each phase
  actrace peaks runs/mnist --by class --limit 5    and the five classes behind most
  actrace peaks runs/mnist --epoch all --phase valid
  actrace peaks runs/mnist --layer 'block1.relu1'  the shape of any layer, without labels
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
        "--epoch", type=_epoch, default="last", help="a number, last or all (default: last)"
    )
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
            name: [
                (phase, epoch, answer.sel(phase=phase, epoch=epoch))
                for phase, epoch in _wanted(opened, answer, args.epoch)
            ]
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
    for phase, epoch, one in rows.get("classes", ()):
        title = f"{phase}, epoch {epoch}: classes, the one behind most first"
        out.print(_parts(one.sortby("behind", ascending=False), "target_class", title, args.limit))
        _say_confused(out, one, 5)
    for phase, epoch, one in rows.get("units", ()):
        title = f"{phase}, epoch {epoch}: output units, the least apart first"
        out.print(_parts(one.sortby("auc"), "output_unit", title, args.limit))
    for phase, epoch, one in rows.get("lagging", ()):
        _say_lagging(out, f"{phase}, epoch {epoch}", one)
    return 0


def _answers(run: Run, args: argparse.Namespace) -> dict[str, xr.Dataset]:
    """Return what was asked, computed for the epochs asked for."""
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
        shape = actrace.find_peaks(run, layer=args.layer, phases=args.phase)
        asked["shape"] = shape[list(_SHAPE)]
    found = {}
    for name, answer in asked.items():
        epochs = sorted({epoch for _, epoch in _wanted(run, answer, args.epoch)})
        found[name] = answer.sel(epoch=epochs).compute()
    return found


def _labelled(run: Run, args: argparse.Namespace) -> dict[str, xr.Dataset]:
    import actrace

    if args.by == "unit":
        return {"units": actrace.twin_peaks(run, phases=args.phase, by="unit")[list(_UNIT)]}
    labelled = actrace.twin_peaks(run, phases=args.phase)
    report = actrace.class_report(run, phases=args.phase)
    found = {"labelled": labelled[[name for name in _LABELLED if name in labelled]]}
    if args.by == "class":
        return found | {"classes": report}
    return found | {"lagging": report[[name for name in _LAGGING if name in report]]}


def _wanted(run: Run, answer: xr.Dataset, epoch: int | str) -> list[tuple[str, int]]:
    """Return the phases of an answer with the epochs asked for, in order."""
    from actrace.analysis.select import epochs
    from actrace.errors import NotRecordedError

    # An epoch that has just begun may have batches and no window of labels yet.
    known = set(answer["epoch"].values.tolist())
    held = {
        str(phase): [e for e in epochs(run, str(phase)).tolist() if e in known]
        for phase in answer["phase"].values
    }
    if epoch == "all":
        return [(phase, e) for phase, some in held.items() for e in some]
    if epoch == "last":
        return [(phase, some[-1]) for phase, some in held.items() if some]
    found = [(phase, int(epoch)) for phase, some in held.items() if epoch in some]
    if not found:
        every = sorted({e for some in held.values() for e in some})
        there = f"{every[0]} to {every[-1]}" if every else "none"
        raise NotRecordedError(f"epoch {epoch} is not in this run; it has {there}")
    return found


def _overview(rows: Sequence[tuple[str, int, xr.Dataset]], title: str) -> Table:
    names = [str(name) for name in rows[0][2].data_vars]
    columns = [("phase", "left"), ("epoch", "right"), *((_heading(n), "right") for n in names)]
    cells = [
        [printable(phase), str(epoch), *(_cell(n, one[n].item()) for n in names)]
        for phase, epoch, one in rows
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


def _plain(phase: str, epoch: int, one: xr.Dataset) -> dict[str, Any]:
    """Return a row as JSON can hold it: null for what there is not."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    names = {str(d): one[d].values.tolist() for d in one.dims if d in one.coords}
    values = {str(n): plain(v.values.tolist()) for n, v in one.data_vars.items()}
    return {"phase": phase, "epoch": epoch, **names, **values}
