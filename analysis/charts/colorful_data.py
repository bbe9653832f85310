"""What the colorful-dimension chart draws, as plain Datasets.

One Dataset a layer: mass-preserving counts on equally wide value cells by
column, the lines over it, and what lies outside the picture. Imports NumPy and
xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.columns import (
    Columns,
    at_level,
    choose_columns,
    sum_counters,
    sum_counts,
    sum_moments,
)
from actrace.analysis.kernels.density import occupied_range, rebin
from actrace.analysis.sampled import as_read
from actrace.analysis.select import bin_edges, select_layer, select_layers, select_phases
from actrace.errors import ChartError

__all__ = [
    "SCALES",
    "TRIM",
    "colorful_data",
    "colorful_layers",
    "colour_name",
    "epoch_starts",
    "from_position",
    "linear_width",
    "picture_cells",
    "to_position",
]

#: Value axes a picture can have.
SCALES: Final = ("linear", "asinh")
#: Share of a column's elements that may leave the picture at each end (and always
#: one of a hundred or more), and only where that makes the picture less than half as
#: high: one stray element must not squeeze the rest into a line.
TRIM: Final = 1e-4
_FEWEST_ELEMENTS: Final = 100

#: A picture is at least so many bins high.
_FEWEST_BINS: Final = 16

_COUNTERS = ("underflow", "overflow", "nan", "posinf", "neginf", "zero", "elements", "calls")


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
        units and along the drawn axis; ``epoch_start`` (epoch): first batch of
        each epoch. ``attrs["note"]`` says why there is nothing to see, or "".

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
    counters = sum_counters(part, _COUNTERS, groups)
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
        data = picture_cells(count, edges, mine, about, value_range, max_rows)
        for name, values in moments.items():
            data[name] = ("column", values[i], {"units": f"{about['quantity']} units"})
        data["first_batch"] = ("column", columns.starts)
        data["batches"] = ("column", columns.batches)
        data["epoch_start"] = ("epoch", starts[1], {"long_name": "first batch of the epoch"})
        data["epoch"] = ("epoch", starts[0])
        # Colour is a mean over the column's batches, so that neither zooming nor a
        # last column of fewer batches changes it.
        per_batch = np.maximum(columns.batches, 1)
        shown = data["count"].values / per_batch
        if density:
            shown = shown / np.diff(data["value_edge"].values)[:, None]
        data["shown"] = (("value", "column"), shown, {"long_name": colour_name(about)})
        yield data.assign_attrs(about, note=_note(mine, count))


def _counts(count: xr.DataArray, groups: Columns) -> Iterator[NDArray[np.uint64]]:
    """Yield the counts of one layer after the other, those of a block read at once."""
    sizes = count.chunksizes.get("layer", (1,) * count.sizes["layer"])
    start = 0
    for size in sizes:
        yield from sum_counts(count.isel(layer=slice(start, start + size)), groups)
        start += size


def colour_name(about: dict[str, Any]) -> str:
    """Return what a picture's colour counts, in words."""
    quantity = about["quantity"]
    name = f"elements per {quantity} unit" if about["density"] else "elements per cell"
    k = about["batches_per_column"]
    return name if k == 1 else f"{name}, mean of {k} batches"


def to_position(value: Any, scale: str, width: float) -> Any:
    """Return where a value stands along the drawn axis."""
    return value if scale == "linear" else np.arcsinh(np.asarray(value) / width)


def from_position(position: Any, scale: str, width: float) -> Any:
    """Return the value at a place of the drawn axis."""
    return position if scale == "linear" else np.sinh(np.asarray(position)) * width


def picture_cells(
    count: NDArray[np.uint64],
    edges: NDArray[np.float64],
    counters: dict[str, NDArray[np.uint64]],
    about: dict[str, Any],
    value_range: tuple[float, float] | None,
    max_rows: int,
) -> xr.Dataset:
    """Return the cells of a picture, and what lies outside of it, by column."""
    grid, positions = _grid(count, edges, counters, about, value_range, max_rows)
    cells = rebin(count, edges, grid, axis=0)
    # The whole mass of a bin lies below, in or above the picture; what rebin left
    # out is split by where its part of the bin lies.
    low = np.interp(grid[0], edges, np.arange(len(edges)))
    below = _mass_below(count, low) + counters["underflow"] + counters["neginf"]
    inside = cells.sum(axis=0)
    total = count.sum(axis=0, dtype=np.float64)
    above = np.maximum(total - inside - _mass_below(count, low), 0.0)
    above = np.where(above < 1e-6 * np.maximum(total, 1), 0.0, above)
    above = above + counters["overflow"] + counters["posinf"]
    return xr.Dataset(
        {
            "count": (("value", "column"), cells, {"long_name": "elements in the cell"}),
            "below": ("column", below, {"long_name": "elements under the picture"}),
            "above": ("column", above, {"long_name": "elements over the picture"}),
            "nan": ("column", counters["nan"].astype(np.float64)),
            "elements": ("column", counters["elements"].astype(np.float64)),
            "value_edge": ("edge", grid, {"units": f"{about['quantity']} units"}),
            "position_edge": ("edge", positions),
        }
    )


def _mass_below(count: NDArray[np.uint64], place: float) -> NDArray[np.float64]:
    """Return the mass under a place given in bins, the mass of a bin spread evenly."""
    whole = math.floor(place)
    below = count[:whole].sum(axis=0, dtype=np.float64)
    if whole < len(count) and place > whole:
        below = below + (place - whole) * count[whole]
    return np.asarray(below, np.float64)


def _grid(
    count: NDArray[np.uint64],
    edges: NDArray[np.float64],
    counters: dict[str, NDArray[np.uint64]],
    about: dict[str, Any],
    value_range: tuple[float, float] | None,
    max_rows: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of the cells in value and along the drawn axis."""
    scale, width = about["scale"], about["linear_width"]
    drawn = np.asarray(to_position(edges, scale, width))
    if value_range is not None:
        low, high = (float(to_position(end, scale, width)) for end in value_range)
    elif counters["zero"].sum() == counters["elements"].sum():
        # Nothing but zeros, or nothing at all: any range will do, this one reads well.
        low, high = (float(to_position(end, scale, width)) for end in (-1.0, 1.0))
    else:
        low, high = (float(to_position(end, scale, width)) for end in _range(count, edges, scale))
        # Enough bins around a layer that keeps to one or two for it to be a band.
        at = int(np.searchsorted(drawn, (low + high) / 2)) - 1
        margin = max(0.03 * (high - low), (_FEWEST_BINS * np.diff(drawn)[at] - (high - low)) / 2)
        low, high = low - margin, high + margin
    inside = np.flatnonzero((drawn[1:] > low) & (drawn[:-1] < high))
    steps = np.diff(drawn)[inside] if len(inside) else np.array([(high - low) / max_rows])
    if value_range is None and np.allclose(steps, steps[0], rtol=1e-6) and len(inside):
        # The bins are already equally wide: whole groups of them, so no pattern of
        # our own making appears.
        group = max(1, math.ceil(len(inside) / max_rows))
        first = int(inside[0])
        rows = max(math.ceil(len(inside) / group), 2)
        places = first + group * np.arange(rows + 1)
        # The very edges, or rounding would leave a shimmer of mass in empty cells;
        # the last cell may reach past the axis.
        past = np.maximum(places - (len(edges) - 1), 0)
        held = np.minimum(places, len(edges) - 1)
        positions = drawn[held] + past * float(steps[0])
        beyond = np.asarray(from_position(positions, scale, width), np.float64)
        return np.where(past > 0, beyond, edges[held]), positions
    # A cell narrower than the narrowest bin would show nothing more.
    rows = int(np.clip(round((high - low) / steps.min()), 8, max_rows))
    positions = np.linspace(low, high, rows + 1)
    return np.asarray(from_position(positions, scale, width), np.float64), positions


def _range(
    count: NDArray[np.uint64], edges: NDArray[np.float64], scale: str
) -> tuple[float, float]:
    low, high = occupied_range(count, edges, axis=0)
    if math.isnan(low):
        return -1.0, 1.0
    if scale == "asinh":
        return low, high
    total = count.sum(axis=0, dtype=np.float64)
    used = total > 0
    below = np.cumsum(count[:, used], axis=0, dtype=np.float64)
    total = total[used]
    stray = np.where(total >= _FEWEST_ELEMENTS, np.maximum(TRIM * total, 1.0), 0.0)
    first = int(np.argmax(below > stray, axis=0).min())
    last = int(np.argmax(below >= total - stray, axis=0).max())
    trimmed = float(edges[first]), float(edges[last + 1])
    return trimmed if trimmed[1] - trimmed[0] < (high - low) / 2 else (low, high)


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


def _note(counters: dict[str, NDArray[np.uint64]], count: NDArray[np.uint64]) -> str:
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
