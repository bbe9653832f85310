"""What the difference chart draws: one layer of two runs in the same cells.

Imports NumPy and xarray; draws nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.colorful.data import colorful_data
from actrace.errors import ChartError

__all__ = ["difference_data"]


def difference_data(
    first: xr.DataTree,
    second: xr.DataTree,
    *,
    layer: str,
    phase: str = "train",
    scale: str = "linear",
    max_columns: int = 400,
    max_rows: int = 200,
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return a layer of two runs in the same cells, and the difference of their shares.

    Parameters
    ----------
    first, second : DataTree
        Runs of the same bins.
    layer : str
        A layer that both have.
    phase : str, default "train"
    scale : {"linear", "asinh"}, default "linear"
    max_columns, max_rows : int

    Returns
    -------
    first, second : Dataset
        As `colorful_data` returns them, with the same ``value_edge`` and batches a column.
    difference : Dataset
        ``share`` (value, column): share of a column's elements that lie in the cell in the
        second run, less that in the first; NaN where either has no elements. As many
        columns as the shorter run.

    Raises
    ------
    ChartError
        Runs of different bins, or of lengths that no common columns fit.
    LayerNotFoundError, PhaseNotFoundError
    """
    runs = (first, second)
    about: dict[str, Any] = {"layer": layer, "phase": phase, "scale": scale, "max_rows": max_rows}
    alone = [colorful_data(run, max_columns=max_columns, **about) for run in runs]
    ends = [data["value_edge"].values[[0, -1]] for data in alone]
    shared = (min(float(low) for low, _ in ends), max(float(high) for _, high in ends))
    width = max(int(data.attrs["batches_per_column"]) for data in alone)
    both = [
        colorful_data(run, value_range=shared, max_columns=_columns(data, width), **about)
        for run, data in zip(runs, alone, strict=True)
    ]
    if not np.array_equal(both[0]["value_edge"].values, both[1]["value_edge"].values):
        raise ChartError("these runs have different bins, so their cells cannot be compared")
    widths = {int(data.attrs["batches_per_column"]) for data in both}
    if len(widths) > 1:
        raise ChartError(
            f"one run is too short to be drawn beside the other (columns of {max(widths)} "
            f"batches); ask for more columns than {max_columns}"
        )
    n = min(data.sizes["column"] for data in both)
    before, after = (_shares(data.isel(column=slice(n))) for data in both)
    difference = xr.Dataset(
        {
            "share": (
                ("value", "column"),
                after - before,
                {"long_name": "difference of the shares of elements", "units": "1"},
            ),
            **{name: both[0][name].isel(column=slice(n)) for name in ("first_batch", "batches")},
            **{name: both[0][name] for name in ("value_edge", "position_edge")},
        },
        attrs=both[0].attrs,
    )
    return both[0], both[1], difference


def _columns(data: xr.Dataset, width: int) -> int:
    """Return how many columns of a width a run has."""
    return max(1, math.ceil(int(data["batches"].sum()) / width))


def _shares(data: xr.Dataset) -> NDArray[np.float64]:
    whole = data["elements"].values[None, :]
    count = data["count"].values
    out = np.full(count.shape, np.nan)
    np.divide(count, whole, out=out, where=np.broadcast_to(whole > 0, count.shape))
    return out
