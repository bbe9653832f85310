"""``actrace divergence``: whether validation parted from training, when, and in which layers."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any, Final

from actrace.cli.text import console, number, printable, table
from actrace.cli.windows import WINDOW_HELP, add_window, pick, places
from actrace.store.names import listed

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from actrace.analysis.onset import Onset
    from actrace.analysis.onset_by_class import ClassOnsets
    from actrace.store.run import Run

NAME = "divergence"
HELP = "say whether validation parted from training, when, and in which layers"
EPILOG = f"""\
First since when the training overfits, if it does, with --by class also by true class, the
earliest first (of many classes one may have an onset by chance); then how unlike the two
phases are in each layer, or for each class, in one epoch: four distances, and beside each
how many times its null band it is (above 1: more than windows of training differ among
themselves).

{WINDOW_HELP}

examples:
  actrace divergence runs/mnist.zarr                    every layer, last epoch
  actrace divergence runs/mnist.zarr --layers 'conv*' --epoch 3
  actrace divergence runs/mnist.zarr --by class         and the onset of each class
  actrace divergence runs/mnist.zarr --phases train test
  actrace divergence runs/mnist.zarr --window 200       by two hundred steps, the last shown
  actrace divergence runs/mnist.zarr --json             every epoch, for a program"""

_SHORT: Final = {
    "jensen_shannon": "Jensen-Shannon",
    "wasserstein": "Wasserstein",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "hellinger": "Hellinger",
}


#: Heading -> what of a class's onset stands below it.
_EPOCHS: Final = {"onset": "epoch", "least error": "best", "known in": "confirmed"}
_OF_ONSET: Final = ("epoch", "confirmed", "best", "apart", "witness")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, zip file or s3:// URL")
    parser.add_argument(
        "--by", choices=("layer", "class"), default="layer", help="a row a layer, or a class"
    )
    parser.add_argument(
        "--layers", action="append", metavar="PATTERN", help="layers to show; repeatable"
    )
    parser.add_argument(
        "--phases", nargs=2, default=("train", "valid"), metavar="PHASE", help="which two"
    )
    parser.add_argument(
        "--epoch",
        type=int,
        help="which epoch to show (default: the last that both have); of windows of steps, the "
        "last that begins in it",
    )
    add_window(parser)
    parser.add_argument("--json", action="store_true", help="print every epoch as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the onset and the distances."""
    import actrace
    from actrace.errors import NotRecordedError
    from actrace.store.progress import waiting

    opened = actrace.open(args.run_path)
    layers = args.layers if args.by == "layer" else None
    with waiting("comparing the phases"):
        found = actrace.divergence(
            opened, by=args.by, layers=layers, phases=args.phases, window=args.window
        ).compute()
        onset, why = _onset(opened, tuple(args.phases))
        classes, why_none = None, ""
        if args.by == "class":
            classes, why_none = _by_class(opened, tuple(args.phases))
    if args.json:
        told = _plain(found, onset)
        if args.by == "class":
            told["onset_by_class"] = None if classes is None else _plain_classes(classes)
        print(json.dumps(told, indent=1))  # noqa: T201 - never wrapped
        return 0
    dim, _ = places(found)
    both = found.dropna(dim, how="all", subset=["hellinger"])
    _, held = places(both)
    shown = pick(held, "last" if args.epoch is None else args.epoch)[-1:]
    if not shown:
        there = ", ".join(map(str, sorted({place.epoch for place in held}))) or "none"
        which = "the run" if args.epoch is None else f"epoch {args.epoch}"
        raise NotRecordedError(f"{which} has not both phases; epochs that have: {there}")
    out = console()
    out.print(printable(why if onset is None else repr(onset)), markup=False, soft_wrap=True)
    if args.by == "class":
        _print_classes(out, classes, why_none)
    one = both.isel({dim: shown[0].index})
    dims = ("layer",) if args.by == "layer" else ("target_class", "role")
    columns = [(dim.replace("_", " "), "left") for dim in dims]
    for name in _SHORT.values():
        columns += [(name, "right"), ("of band", "right")]
    flat = one.stack(row=dims)
    rows = [
        [*map(str, names), *_cells(flat.isel(row=i))]
        for i, names in enumerate(zip(*(flat[dim].values for dim in dims), strict=True))
    ]
    title = f"{args.phases[0]} against {args.phases[1]}, {shown[0].name}"
    out.print(table(columns, rows, title=printable(title)))
    return 0


def _onset(run: Run, phases: tuple[str, ...]) -> tuple[Onset | None, str]:
    """Return the onset, or why it cannot be told."""
    import actrace
    from actrace.errors import NotRecordedError

    try:
        return actrace.onset(run, phases=phases), ""
    except NotRecordedError as error:
        return None, f"no onset can be told: {error}"


def _by_class(run: Run, phases: tuple[str, ...]) -> tuple[ClassOnsets | None, str]:
    """Return the onset of each class, or why none can be told."""
    import actrace
    from actrace.errors import NotRecordedError

    try:
        return actrace.onset_by_class(run, phases=phases), ""
    except NotRecordedError as error:
        return None, f"no onset of a class can be told: {error}"


def _print_classes(out: Console, classes: ClassOnsets | None, why: str) -> None:
    """Print which classes have an onset, and when."""
    if classes is None:
        out.print(printable(why), markup=False, soft_wrap=True)
        return
    parted = classes.parted
    said = f"{len(parted)} of {len(classes)} classes have an onset"
    if classes.unjudged:
        said += f"; too few epochs with samples of {printable(listed(classes.unjudged))}"
    out.print(said, markup=False, soft_wrap=True)
    if parted:
        columns = [("target class", "left"), *((name, "right") for name in _EPOCHS)]
        rows = [
            [name, *(str(getattr(classes[name], key)) for key in _EPOCHS.values())]
            for name in parted
        ]
        out.print(table(columns, rows, title="onset by class, in epochs"))


def _cells(one: xr.Dataset) -> list[str]:
    cells = []
    for name in _SHORT:
        value, band = float(one[name]), float(one[f"{name}_null"])
        cells += [number(value, 3), number(value / band if band > 0 else math.nan, 1)]
    return cells


def _in_time(found: xr.Dataset) -> list[str]:
    """Return the names of an answer's dims, and of what says when its windows are."""
    beside = ("epoch", "step", "last_step") if "window" in found.dims else ()
    return [*map(str, found.dims), *beside]


def _plain(found: xr.Dataset, onset: Onset | None) -> dict[str, Any]:
    """Return the answers as JSON can hold them: null for what there is not."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    names = (*_OF_ONSET, "loss_best", "loss_onset", "agrees")
    return {
        "onset": None if onset is None else {name: getattr(onset, name) for name in names},
        "phases": found.attrs["phases"],
        "dims": {str(name): list(map(str, v.dims)) for name, v in found.data_vars.items()},
        "coords": {str(name): found[name].values.tolist() for name in _in_time(found)},
        "values": {str(name): plain(v.values.tolist()) for name, v in found.data_vars.items()},
    }


def _plain_classes(classes: ClassOnsets) -> dict[str, Any]:
    """Return each class's onset as JSON can hold it: null for a class that cannot be judged."""
    told: dict[str, Any] = {
        name: {key: getattr(one, key) for key in _OF_ONSET} for name, one in classes.items()
    }
    return told | dict.fromkeys(classes.unjudged)
