"""What the colorful dimension by class draws: YES and NO of each, batch by batch.

One Dataset a class or output unit and role, shaped as `colorful_layers` shapes a
layer's. Imports NumPy and xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.colorful.data import (
    SCALES,
    colour_name,
    epoch_starts,
    linear_width,
    picture_cells,
)
from actrace.analysis.charts.grammar.columns import Columns, choose_columns
from actrace.analysis.charts.peaks.class_peaks_data import CLASS_DIMS, ROLE_PAIR
from actrace.analysis.charts.peaks.separation_data import worst_classes
from actrace.analysis.select import bin_edges, select_phases
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError, NotRecordedError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["ClassPicture", "colorful_classes"]

_COUNTERS: Final = ("underflow", "overflow", "nonfinite", "elements")


@dataclass(frozen=True, slots=True)
class ClassPicture:
    """A class or unit on one grid of cells.

    Attributes
    ----------
    name : str
    no, yes : Dataset
        As `colorful_data` returns it, without ``min`` and ``max``, which are not recorded
        by class.
    """

    name: str
    no: xr.Dataset
    yes: xr.Dataset


def colorful_classes(
    run: xr.DataTree,
    *,
    by: str = "class",
    phase: str = "train",
    batches: tuple[int, int] | None = None,
    scale: str = "linear",
    value_range: tuple[float, float] | None = None,
    most: int = 24,
    max_columns: int = 600,
    max_rows: int = 120,
) -> list[ClassPicture]:
    """Return YES and NO of each class, all on one grid, so that classes compare.

    Parameters
    ----------
    run : DataTree
    by : {"class", "unit"}, default "class"
        The outputs over the samples of each true class, its own unit (YES) against the
        others (NO); or those of each unit, where it is the true class and where not.
    phase : str, default "train"
    batches : (first, stop), optional
    scale : {"linear", "asinh"}, default "linear"
    value_range : (low, high), optional
    most : int, default 24
        Most of them; of more, those whose YES and NO are least apart in the last epoch.
    max_columns, max_rows : int
        A column is never shorter than a window of the recording.

    Raises
    ------
    ChartError
        Another `by` or `scale`.
    PhaseNotFoundError
    NotRecordedError
        No targets were recorded, or the run is a regression.
    """
    if by not in CLASS_DIMS:
        raise ChartError(f"by must be None, 'class' or 'unit', got {by!r}")
    if scale not in SCALES:
        raise ChartError(f"scale must be one of {', '.join(map(repr, SCALES))}, got {scale!r}")
    (name,) = select_phases(run, phase)
    dim = CLASS_DIMS[by]
    apart = twin_peaks(run, phases=name, by=by)[["d_prime"]].compute()
    places = worst_classes(apart.rename({dim: "target_class"}), "d_prime", most)
    group = run.children[name][OUTPUT_GROUP].to_dataset()
    whole = run.children[name].dataset
    first, length = (group[key].values.astype(np.int64) for key in ("first_batch", "batches"))
    if not len(first):
        raise NotRecordedError(f"phase {name!r} has no window of its outputs yet")
    columns = _columns(whole.sizes["batch"], max_columns, batches, int(length.max()))
    inside = np.flatnonzero((first + length > columns.first) & (first < columns.stop))
    at = np.clip((first[inside] - columns.first) // columns.width, 0, len(columns) - 1)
    part = group.isel(window=inside)
    starts = epoch_starts(whole["epoch"].values, columns)
    edges = bin_edges(run)
    about: dict[str, Any] = {
        "layer_type": "", "layer_shape": "", "quantity": "activation", "phase": name,
        "scale": scale, "density": scale == "asinh", "linear_width": linear_width(run),
        "batches_per_column": columns.width, "schedule": "", "by": by, "n": group.sizes[dim],
        "output": str(group.attrs.get("layer", "")),
    }  # fmt: skip
    held = [
        {role: _summed(part.isel({dim: place}), by, role, at, len(columns)) for role in ROLE_PAIR}
        for place in places
    ]
    # Every picture on the grid that holds them all.
    together = {
        key: np.add.reduce([one[role][key] for one in held for role in ROLE_PAIR])
        for key in ("count", "underflow", "overflow", "nan", "elements")
    }
    grid = picture_cells(together["count"], edges, _full(together), about, value_range, max_rows)
    ends = grid["value_edge"].values[[0, -1]]
    shared = (float(ends[0]), float(ends[1]))
    out = []
    for place, one in zip(places, held, strict=True):
        label = str(group[dim].values[place])
        pair = [
            _dataset(one[role], edges, about | {"layer": label}, shared, max_rows, columns, starts)
            for role in ROLE_PAIR
        ]
        out.append(ClassPicture(label, *pair))
    return out


def _columns(n: int, most: int, batches: tuple[int, int] | None, window: int) -> Columns:
    """Return columns that no window crosses: as long as the longest, or a power of two more.

    A window ends where the number of batches is a multiple of its greatest length.
    """
    columns = choose_columns(n, most, batches)
    width = columns.width
    while width < window:
        width *= 2
    return Columns(columns.first // width * width, columns.stop, width)


def _summed(
    part: xr.Dataset, by: str, role: str, at: NDArray[np.int64], n: int
) -> dict[str, NDArray[Any]]:
    """Return a role's counts, counters and mean, summed over the windows of each column."""
    mine = part.sel(role=role)
    names = {key: f"{key}_by_{by}" for key in ("count", "mean", *_COUNTERS)}
    mine = mine[[*names.values()]].compute()
    windows = mine[names["count"]].transpose("bin", "window").values.astype(np.uint64)
    count = np.zeros((len(windows), n), np.uint64)
    np.add.at(count.T, at, windows.T)
    out: dict[str, NDArray[Any]] = {"count": count}
    for key in _COUNTERS:
        out[key] = np.zeros(n, np.uint64)
        np.add.at(out[key], at, mine[names[key]].values.astype(np.uint64))
    size = (mine[names["elements"]].values - mine[names["nonfinite"]].values).astype(np.float64)
    mean = np.where(size > 0, mine[names["mean"]].values, 0.0)
    total, weighted = np.zeros(n), np.zeros(n)
    np.add.at(total, at, size)
    np.add.at(weighted, at, size * mean)
    out["mean"] = np.divide(weighted, total, out=np.full(n, np.nan), where=total > 0)
    out["nan"] = out.pop("nonfinite")
    return out


def _full(counters: dict[str, Any]) -> dict[str, NDArray[np.uint64]]:
    """Return the counters with those that are not told by class, as zeros."""
    none = np.zeros_like(counters["elements"])
    return {**counters, "posinf": none, "neginf": none, "zero": none}


def _dataset(
    held: dict[str, NDArray[Any]],
    edges: NDArray[np.float64],
    about: dict[str, Any],
    shared: tuple[float, float],
    max_rows: int,
    columns: Columns,
    starts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> xr.Dataset:
    data = picture_cells(held["count"], edges, _full(held), about, shared, max_rows)
    per_batch = np.maximum(columns.batches, 1)
    shown = data["count"].values / per_batch
    if about["density"]:
        shown = shown / np.diff(data["value_edge"].values)[:, None]
    data["shown"] = (("value", "column"), shown, {"long_name": colour_name(about)})
    data["mean"] = ("column", held["mean"], {"units": "activation units"})
    data["first_batch"] = ("column", columns.starts)
    data["batches"] = ("column", columns.batches)
    data["epoch"], data["epoch_start"] = ("epoch", starts[0]), ("epoch", starts[1])
    return data.assign_attrs(about, note="" if held["elements"].any() else "no sample")
