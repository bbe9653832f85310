"""The cells of a colorful-dimension picture: equally wide ones along the drawn axis.

Which cells a picture has, and what of a column's counts lies in, under and over them.
Imports NumPy and xarray; draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.density import occupied_range, rebin

__all__ = ["SCALES", "TRIM", "Grid", "choose_grid", "from_position", "move", "to_position"]

#: Value axes a picture can have.
SCALES: Final = ("linear", "asinh")
#: Share of a column's elements that may leave the picture at each end (and always
#: one of a hundred or more), and only where that makes the picture less than half as
#: high: one stray element must not squeeze the rest into a line.
TRIM: Final = 1e-4
_FEWEST_ELEMENTS: Final = 100

#: A picture is at least so many bins high.
_FEWEST_BINS: Final = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """The edges of a picture's cells.

    Attributes
    ----------
    values, positions : ndarray, shape (n_cells + 1,), float64
        In activation units and along the drawn axis, rising.
    """

    values: NDArray[np.float64]
    positions: NDArray[np.float64]


def to_position(value: Any, scale: str, width: float) -> Any:
    """Return where a value stands along the drawn axis."""
    return value if scale == "linear" else np.arcsinh(np.asarray(value) / width)


def from_position(position: Any, scale: str, width: float) -> Any:
    """Return the value at a place of the drawn axis."""
    return position if scale == "linear" else np.sinh(np.asarray(position)) * width


def move(
    count: NDArray[np.uint64],
    edges: NDArray[np.float64],
    grid: Grid,
    counters: Mapping[str, NDArray[np.uint64]],
    *,
    units: str,
) -> xr.Dataset:
    """Return counts moved to the cells of a grid, mass preserved.

    Parameters
    ----------
    count : array, shape (n_bins, n_columns)
    edges : array, shape (n_bins + 1,)
        Of the bins.
    grid : Grid
    counters : mapping of str to array, shape (n_columns,)
    units : str
        Of the values.

    Returns
    -------
    Dataset, dims (value, column, edge)
        ``count``, ``below``, ``above``, ``nan``, ``elements``, ``value_edge`` and
        ``position_edge`` of `colorful_data`.
    """
    cells = rebin(count, edges, grid.values, axis=0)
    # The whole mass of a bin lies below, in or above the picture; what rebin left
    # out is split by where its part of the bin lies.
    low = float(np.interp(grid.values[0], edges, np.arange(len(edges))))
    under = _mass_below(count, low)
    below = under + counters["underflow"] + counters["neginf"]
    inside = cells.sum(axis=0)
    total = count.sum(axis=0, dtype=np.float64)
    above = np.maximum(total - inside - under, 0.0)
    above = np.where(above < 1e-6 * np.maximum(total, 1), 0.0, above)
    above = above + counters["overflow"] + counters["posinf"]
    return xr.Dataset(
        {
            "count": (("value", "column"), cells, {"long_name": "elements in the cell"}),
            "below": ("column", below, {"long_name": "elements under the picture"}),
            "above": ("column", above, {"long_name": "elements over the picture"}),
            "nan": ("column", counters["nan"].astype(np.float64)),
            "elements": ("column", counters["elements"].astype(np.float64)),
            "value_edge": ("edge", grid.values, {"units": units}),
            "position_edge": ("edge", grid.positions),
        }
    )


def choose_grid(
    count: NDArray[np.uint64],
    edges: NDArray[np.float64],
    counters: Mapping[str, NDArray[np.uint64]],
    *,
    scale: str,
    width: float,
    value_range: tuple[float, float] | None,
    max_rows: int,
    whole_bins: bool = False,
) -> Grid:
    """Return the cells of a picture of counts.

    Parameters
    ----------
    count : array, shape (n_bins, n_columns)
    edges : array, shape (n_bins + 1,)
        Of the bins.
    counters : mapping of str to array, shape (n_columns,)
    scale : str
    width : float
        Where an asinh axis turns from linear to logarithmic.
    value_range : (low, high), optional
        Ends of the value axis; the occupied range, less what `TRIM` allows, if left out.
    max_rows : int
    whole_bins : bool, default False
        Where the bins are equally wide along the axis, let a given range end between
        bins, and cells be whole groups of them.
    """
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
    whole_bins = whole_bins or value_range is None
    if whole_bins and len(inside) and np.allclose(steps, steps[0], rtol=1e-6):
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
        return Grid(np.where(past > 0, beyond, edges[held]), positions)
    # A cell narrower than the narrowest bin would show nothing more.
    rows = int(np.clip(round((high - low) / steps.min()), 8, max_rows))
    positions = np.linspace(low, high, rows + 1)
    return Grid(np.asarray(from_position(positions, scale, width), np.float64), positions)


def _mass_below(count: NDArray[np.uint64], place: float) -> NDArray[np.float64]:
    """Return the mass under a place given in bins, the mass of a bin spread evenly."""
    whole = math.floor(place)
    below = count[:whole].sum(axis=0, dtype=np.float64)
    if whole < len(count) and place > whole:
        below = below + (place - whole) * count[whole]
    return np.asarray(below, np.float64)


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
