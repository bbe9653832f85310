"""What the map of units draws: activity of each unit by window, pooled into rows.

Imports NumPy and xarray; draws nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.kernels.lifetimes import lifetimes
from actrace.analysis.reduce import sum_over
from actrace.errors import ChartError
from actrace.store.schema import UNIT_GROUP

__all__ = ["ORDERS", "units_data"]

#: How units may be sorted from top to bottom.
ORDERS: Final = ("death", "index")


def units_data(
    run: xr.DataTree,
    *,
    layer: str,
    phase: str = "train",
    by: str | int | None = None,
    sort: str = "death",
    max_columns: int = 600,
    max_rows: int = 256,
) -> xr.Dataset:
    """Return what the map of one layer's units draws.

    Parameters
    ----------
    run : DataTree
    layer : str
        Name of a layer, or a pattern that fits one alone.
    phase : str, default "train"
    by : "epoch" or int, optional
        What a column is: an epoch, or so many batches; by default the fewest batches
        that were recorded together and fit into `max_columns`.
    sort : {"death", "index"}, default "death"
        From the top: the units that died first, then those that live, the least active
        first; or as they stand in the layer.
    max_columns, max_rows : int
        Where a layer has more units than rows, neighbours in that order share one.

    Returns
    -------
    Dataset, dims (row, column, unit)
        ``share`` (row, column): active elements of all, NaN where no unit of the row was
        called; ``dead``, ``called`` (row, column): units without activity, and units
        called; ``dead_share`` (column): share of the layer's called units that are dead;
        ``start`` (column): first batch, or epoch; ``channel`` (unit): index of each unit
        in drawn order. ``attrs``: ``units``, ``units_per_row``, ``width`` (of a column,
        batches or 1 epoch), ``by`` ("batch" or "epoch"), ``sort``, ``layer``, ``phase``.

    Raises
    ------
    ChartError, NotRecordedError, LayerNotFoundError, PhaseNotFoundError, ValueError
    """
    if sort not in ORDERS:
        raise ChartError(f"sort must be one of {', '.join(map(repr, ORDERS))}, got {sort!r}")
    for name, most in (("max_columns", max_columns), ("max_rows", max_rows)):
        if most < 1:
            raise ChartError(f"{name} must be at least 1, got {most!r}")
    name = select.select_layer(run, layer)
    (phase,) = select.select_phases(run, phase)
    by = _window(run, phase, max_columns) if by is None else by
    parts = select.unit_parts(run, phase, by)
    node = run.children[phase].children[UNIT_GROUP].to_dataset()
    mine = np.flatnonzero(node["unit_layer"].to_numpy() == select.layer_names(run).index(name))
    columns = np.array(sorted(parts), np.int64)
    # Windows that were lost leave a column of their own, in which nothing was called.
    n_columns = int(columns[-1] - columns[0]) + 1 if len(columns) else 0
    active, total = (
        _spread(sum_over(node[what].isel(unit=mine), "window", parts), columns, n_columns)
        for what in ("active", "total")
    )
    order = _order(active, total, sort)
    pool = max(1, -(-len(mine) // max_rows))
    dead = ((total > 0) & (active == 0))[order]
    called = (total > 0)[order]
    rows = {
        "active": _pooled(active[order], pool),
        "total": _pooled(total[order], pool),
        "dead": _pooled(dead, pool),
        "called": _pooled(called, pool),
    }
    width = 1 if by == "epoch" else int(by)
    first = int(columns[0]) if len(columns) else 0
    return xr.Dataset(
        {
            "share": (
                ("row", "column"),
                _shares(rows["active"], rows["total"]),
                {"long_name": "share of active elements", "units": "1"},
            ),
            "dead": (("row", "column"), rows["dead"], {"long_name": "units without activity"}),
            "called": (("row", "column"), rows["called"], {"long_name": "units called"}),
            "dead_share": (
                "column",
                _shares(dead.sum(axis=0), called.sum(axis=0)),
                {"long_name": "share of the layer's units that are dead", "units": "1"},
            ),
            "start": ("column", (first + np.arange(n_columns)) * width),
            "channel": ("unit", node["unit_channel"].to_numpy()[mine][order]),
        },
        attrs={
            "layer": name,
            "layer_type": str(
                run.dataset["layer_type"].values[select.layer_names(run).index(name)]
            ),
            "phase": phase,
            "units": len(mine),
            "units_per_row": pool,
            "width": width,
            "by": "epoch" if by == "epoch" else "batch",
            "sort": sort,
        },
    )


def _window(run: xr.DataTree, phase: str, max_columns: int) -> int:
    """Return the fewest batches, a power of two, that fit and that a window is no longer than."""
    select.window_indices(run, phase, UNIT_GROUP)  # the phase has units
    longest = int(run.children[phase].children[UNIT_GROUP]["batches"].to_numpy().max(initial=1))
    n, width = run.children[phase].sizes["batch"], 1
    while width < longest or n > width * max_columns:
        width *= 2
    return width


def _spread(sums: xr.DataArray, columns: NDArray[np.int64], n_columns: int) -> NDArray[np.uint64]:
    """Return sums at their columns, 0 between, shape (n_units, n_columns)."""
    values = sums.transpose("unit", "epoch").to_numpy()
    out = np.zeros((len(values), n_columns), np.uint64)
    if len(columns):
        out[:, columns - columns[0]] = values
    return out


def _order(active: NDArray[Any], total: NDArray[Any], sort: str) -> NDArray[np.intp]:
    n = len(active)
    if sort == "index" or not n:
        return np.arange(n)
    died = lifetimes(active, total).died
    share = _shares(active.sum(axis=1), total.sum(axis=1))
    return np.lexsort((share, np.where(died < 0, active.shape[1], died)))


def _pooled(values: NDArray[Any], pool: int) -> NDArray[np.uint64]:
    """Return sums over groups of rows."""
    if not len(values):
        return values.astype(np.uint64)
    return np.add.reduceat(values.astype(np.uint64), np.arange(0, len(values), pool), axis=0)


def _shares(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    some = np.asarray(part, np.float64)
    out = np.full(some.shape, np.nan)
    np.divide(some, whole, out=out, where=np.asarray(whole) > 0)
    return out
