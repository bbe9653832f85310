"""What the colorful-dimension chart draws, as plain Datasets.

One Dataset a layer: mass-preserving counts on equally wide value cells by
column, the lines over it, and what lies outside the picture. Imports NumPy and
xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.colorful.cells import (
    SCALES,
    TRIM,
    choose_grid,
    from_position,
    move,
    to_position,
)
from actrace.analysis.charts.grammar.columns import (
    Columns,
    at_level,
    choose_columns,
    sum_counters,
    sum_counts,
    sum_moments,
)
from actrace.analysis.sampled import as_read
from actrace.analysis.select import bin_edges, select_layer, select_layers, select_phases
from actrace.errors import ChartError

__all__ = [
    "COUNTERS",
    "SCALES",
    "TRIM",
    "colorful_data",
    "colorful_layers",
    "colour_name",
    "epoch_starts",
    "from_position",
    "linear_width",
    "picture_cells",
    "picture_data",
    "to_position",
]

#: What a picture needs beside the counts.
COUNTERS: Final = ("underflow", "overflow", "nan", "posinf", "neginf", "zero", "elements", "calls")


def colorful_data(run: xr.DataTree, *, layer: str, phase: str = "train", **options: Any) -> Any:
    """Return what the colorful-dimension chart of one layer draws.

    Parameters
    ----------
    run : DataTree
    layer : str
        Name of a layer, or a pattern that fits one alone.
    phase : str, default "train"
    **options
        As for `colorful_layers`.

    Returns
    -------
    Dataset, dims (value, column, edge, epoch)
        ``count`` (value, column): elements in a cell, float64, mass preserved;
        ``shown`` (value, column): what colour shows, elements per cell and batch
        (linear) or per cell, batch and activation unit (asinh);
        ``below``, ``above``, ``nan``, ``elements`` (column): elements under, over
        and in no part of the picture, and all of them, so that ``count`` summed
        over value plus the three is ``elements``; ``mean``, ``std``, ``min``,
        ``max`` (column), activation units; ``first_batch``, ``batches`` (column);
        ``value_edge``, ``position_edge`` (edge): edges of the cells in activation
        units and along the drawn axis; ``size`` (value): of a cell, so that
        ``shown`` times ``batches`` times it is ``count``; ``epoch_start`` (epoch): first
        batch of each epoch. ``attrs["note"]`` says why there is nothing to see, or "".

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError, ChartError
    """
    name = select_layer(run, layer)
    (data,) = colorful_layers(run, layers=name, phase=phase, **options)
    return data


def colorful_layers(
    run: xr.DataTree,
    *,
    layers: Any = None,
    phase: str = "train",
    batches: tuple[int, int] | None = None,
    scale: str = "linear",
    value_range: tuple[float, float] | None = None,
    max_columns: int = 1200,
    max_rows: int = 240,
    density: bool = True,
) -> Iterator[xr.Dataset]:
    """Yield `colorful_data` for several layers, reading one at a time.

    Parameters
    ----------
    run : DataTree
    layers : str or iterable of str, optional
        Names or patterns; None is all layers.
    phase : str, default "train"
    batches : (first, stop), optional
        Part of the phase's batches, by index.
    scale : {"linear", "asinh"}, default "linear"
        Value axis: equally wide cells in value, or in ``asinh(value / width)``.
    value_range : (low, high), optional
        Ends of the value axis in activation units; the occupied range if left
        out, less what `TRIM` allows.
    max_columns, max_rows : int
        Most columns and rows of a picture.
    density : bool, default True
        On an asinh axis, whether colour is elements per unit of value; False is per cell,
        which is for orders of magnitude: of a normal distribution it shows two bands.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError, ChartError
    """
    if scale not in SCALES:
        raise ChartError(f"scale must be one of {', '.join(map(repr, SCALES))}, got {scale!r}")
    if value_range is not None and not (
        len(value_range) == 2
        and all(math.isfinite(end) for end in value_range)
        and value_range[0] < value_range[1]
    ):
        raise ChartError(f"value_range must be (low, high), finite and rising, got {value_range!r}")
    if max_rows < 2:
        raise ChartError(f"max_rows must be at least 2, got {max_rows!r}")
    (name,) = select_phases(run, phase)
    chosen = select_layers(run, layers)
    return _layers(
        run,
        chosen,
        name,
        batches,
        scale,
        value_range,
        max_columns=max_columns,
        max_rows=max_rows,
        density=density and scale == "asinh",
    )


def _layers(
    run: xr.DataTree,
    chosen: NDArray[np.int64],
    phase: str,
    batches: tuple[int, int] | None,
    scale: str,
    value_range: tuple[float, float] | None,
    *,
    max_columns: int,
    max_rows: int,
    density: bool,
) -> Iterator[xr.Dataset]:
    whole = run.children[phase].dataset
    columns = choose_columns(whole.sizes["batch"], max_columns, batches)
    factor, columns = at_level(run, phase, columns, chosen.tolist())
    part = as_read(run, phase, factor).isel(layer=chosen)
    groups = columns.over(factor)
    counters = sum_counters(part, COUNTERS, groups)
    moments = sum_moments(part, counters, groups)
    starts = epoch_starts(whole["epoch"].values, columns)
    edges = bin_edges(run)
    width = linear_width(run)
    counts = _counts(part["count"], groups)
    for i, (index, count) in enumerate(zip(chosen, counts, strict=True)):
        about = {
            "layer": str(run.dataset["layer"].values[index]),
            "layer_type": str(run.dataset["layer_type"].values[index]),
            "layer_shape": str(run.dataset["layer_shape"].values[index]),
            "quantity": str(run.attrs.get("quantity", "activation")),
            "phase": phase,
            "scale": scale,
            "density": density,
            "linear_width": width,
            "batches_per_column": columns.width,
            "schedule": _schedule(run.attrs.get("schedule"), phase),
        }
        mine = {name: values[i] for name, values in counters.items()}
        cells = picture_cells(count, edges, mine, about, value_range, max_rows)
        lines = {name: values[i] for name, values in moments.items()}
        yield picture_data(cells, lines, columns, starts, about, note=_note(mine, count))


def picture_data(
    cells: xr.Dataset,
    moments: Mapping[str, NDArray[np.float64]],
    columns: Columns,
    starts: tuple[NDArray[np.int64], NDArray[np.int64]],
    about: Mapping[str, Any],
    *,
    note: str = "",
    cell: float | None = None,
) -> xr.Dataset:
    """Return what the chart draws, as `colorful_data` does, of cells that were counted.

    Parameters
    ----------
    cells : Dataset
        From `picture_cells`, or `move`.
    moments : mapping of str to array, shape (n_columns,)
    columns : Columns
    starts : (epochs, first batches)
        Of the epochs shown.
    about : mapping
        The Dataset's attributes.
    note : str
        Why there is nothing to see.
    cell : float, optional
        Colour counts elements in cells so high along the drawn axis, whatever the
        height of those drawn; these if left out. Not for a density.
    """
    unit = f"{about['quantity']} units"
    # Colour is a mean over the column's batches, so that neither zooming nor a
    # last column of fewer batches changes it.
    size = np.ones(cells.sizes["value"])
    if about["density"]:
        size = np.diff(cells["value_edge"].values)
    elif cell is not None:
        size = np.diff(cells["position_edge"].values) / cell
    shown = cells["count"].values / (size[:, None] * np.maximum(columns.batches, 1))
    seen = {"long_name": colour_name(about)}
    high = {"long_name": "of a cell, in those that colour counts in"}
    # At once: one variable after the other takes as long as all the counting.
    return xr.Dataset(
        {
            **cells.variables,
            **{name: ("column", values, {"units": unit}) for name, values in moments.items()},
            "first_batch": ("column", columns.starts),
            "batches": ("column", columns.batches),
            "epoch_start": ("epoch", starts[1], {"long_name": "first batch of the epoch"}),
            "epoch": ("epoch", starts[0]),
            "shown": (("value", "column"), shown, seen),
            "size": ("value", size, high),
        },
        attrs={**cells.attrs, **about, "note": note},
    )


def _counts(count: xr.DataArray, groups: Columns) -> Iterator[NDArray[np.uint64]]:
    """Yield the counts of one layer after the other, those of a block read at once."""
    sizes = count.chunksizes.get("layer", (1,) * count.sizes["layer"])
    start = 0
    for size in sizes:
        yield from sum_counts(count.isel(layer=slice(start, start + size)), groups)
        start += size


def picture_cells(
    count: NDArray[np.uint64],
    edges: NDArray[np.float64],
    counters: Mapping[str, NDArray[np.uint64]],
    about: Mapping[str, Any],
    value_range: tuple[float, float] | None,
    max_rows: int,
) -> xr.Dataset:
    """Return the cells of a picture, and what lies outside of it, by column."""
    grid = choose_grid(
        count,
        edges,
        counters,
        scale=about["scale"],
        width=about["linear_width"],
        value_range=value_range,
        max_rows=max_rows,
    )
    return move(count, edges, grid, counters, units=f"{about['quantity']} units")


def colour_name(about: Mapping[str, Any]) -> str:
    """Return what a picture's colour counts, in words."""
    quantity = about["quantity"]
    name = f"elements per {quantity} unit" if about["density"] else "elements per cell"
    k = about["batches_per_column"]
    return name if k == 1 else f"{name}, mean of {k} batches"


def linear_width(run: xr.DataTree) -> float:
    """Return where an asinh axis turns from linear to logarithmic."""
    axis = run.attrs.get("axis")
    if isinstance(axis, dict) and axis.get("kind") == "asinh":
        return float(axis["scale"])
    return 0.1


def epoch_starts(
    epoch: NDArray[Any], columns: Columns
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the epochs shown and the first shown batch of each."""
    shown = epoch[columns.first : columns.stop].astype(np.int64)
    if not len(shown):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.flatnonzero(np.diff(shown, prepend=shown[0] - 1))
    return shown[at], at + columns.first


def _note(counters: Mapping[str, NDArray[np.uint64]], count: NDArray[np.uint64]) -> str:
    """Return why there is nothing to see, or ""."""
    total = {name: int(values.sum()) for name, values in counters.items()}
    if not counters["calls"].size:
        return "no batch yet"
    if not total["calls"] and not total["elements"]:
        return "never called"
    if not total["elements"]:
        return "no elements"
    if total["nan"] == total["elements"]:
        return "NaN throughout"
    if not count.any():
        return "all outside the axis"
    return "zero throughout" if total["zero"] == total["elements"] else ""


def _schedule(recorded: object, phase: str) -> str:
    """Return the schedule of a phase in words, empty where every batch was recorded."""
    if isinstance(recorded, dict):
        recorded = recorded.get(phase)
    return recorded if isinstance(recorded, str) else ""
