"""Counts of unequal bins -> density in value.

A picture or a peak is always density in value, never counts of unequal bins:
on an axis whose bins widen away from zero, counts per bin of one normal peak
show two. So whatever draws or searches first rebins here, mass-preserving, to a
grid of its own. Imports NumPy and SciPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

__all__ = ["cumulative", "density", "occupied_range", "overlap_matrix", "rebin"]


def overlap_matrix(edges: ArrayLike, grid: ArrayLike) -> scipy.sparse.csr_array:
    """Return the share of each bin that falls into each cell of a grid.

    Parameters
    ----------
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    grid : array, shape (n_cells + 1,)
        Increasing edges of the cells.

    Returns
    -------
    csr_array, shape (n_cells, n_bins), float64
        Columns sum to 1 for bins that the grid covers, to less where a bin
        sticks out, to 0 outside.

    Raises
    ------
    ValueError
        Fewer than two edges, or edges that do not increase.

    Examples
    --------
    >>> overlap_matrix([0, 2, 4], [0, 1, 3]).toarray()
    array([[0.5, 0. ],
           [0.5, 0.5]])
    """
    source, target = _increasing(edges, "edges"), _increasing(grid, "grid")
    points = np.union1d(source, target)
    points = points[(points >= max(source[0], target[0])) & (points <= min(source[-1], target[-1]))]
    # Between two neighbouring points lies exactly one bin and one cell.
    cell = np.searchsorted(target, points[:-1], side="right") - 1
    bin_ = np.searchsorted(source, points[:-1], side="right") - 1
    share = np.diff(points) / (source[bin_ + 1] - source[bin_])
    return scipy.sparse.csr_array(
        (share, (cell, bin_)), shape=(len(target) - 1, len(source) - 1), dtype=np.float64
    )


def rebin(
    count: ArrayLike, edges: ArrayLike, grid: ArrayLike, *, axis: int = -1
) -> NDArray[np.float64]:
    """Return the counts moved to the cells of another grid, mass preserved.

    The mass of a bin is taken as spread evenly over its width, which is linear
    interpolation of the cumulative count. A grid that covers all occupied bins
    keeps the total; what lies outside the grid is left out.

    Parameters
    ----------
    count : array, shape (..., n_bins, ...)
        Elements per bin; any other axes (layers, batches) are kept.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    grid : array, shape (n_cells + 1,)
        Increasing edges of the cells.
    axis : int, default -1
        Axis of the bins.

    Returns
    -------
    ndarray, shape (..., n_cells, ...), float64

    Raises
    ------
    ValueError
        Edges that do not increase or do not fit `count`.

    Examples
    --------
    >>> rebin([4, 2], edges=[0, 2, 4], grid=[0, 1, 2, 4])
    array([2., 2., 2.])
    """
    values = np.asarray(count)
    matrix = overlap_matrix(edges, grid)
    _check_bins(values, matrix.shape[1], axis)
    moved = np.moveaxis(values, axis, 0)
    flat = moved.reshape(moved.shape[0], -1)
    out = np.asarray(matrix @ flat.astype(np.float64, copy=False))
    return np.ascontiguousarray(np.moveaxis(out.reshape(-1, *moved.shape[1:]), 0, axis))


def density(
    count: ArrayLike,
    edges: ArrayLike,
    grid: ArrayLike | None = None,
    *,
    axis: int = -1,
    total: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the density in value: share of elements per activation unit.

    Parameters
    ----------
    count : array, shape (..., n_bins, ...)
        Elements per bin.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    grid : array, shape (n_cells + 1,), optional
        Cells to answer on; the bins themselves when left out.
    axis : int, default -1
        Axis of the bins.
    total : array, shape of `count` without `axis`, optional
        What 1 is; the sum over the bins when left out. Give all finite elements
        to count under- and overflow as mass that is not shown.

    Returns
    -------
    ndarray, shape (..., n_cells, ...), float64, per activation unit
        Integrates to 1 over a grid that covers the bins; 0 where nothing was
        counted.

    Examples
    --------
    >>> density([1, 1, 0], edges=[0, 1, 3, 4])
    array([0.5 , 0.25, 0.  ])
    """
    values = np.asarray(count)
    cells = _increasing(edges if grid is None else grid, "edges" if grid is None else "grid")
    if grid is None:
        _check_bins(values, len(cells) - 1, axis)
        mass = values.astype(np.float64)
    else:
        mass = rebin(values, edges, cells, axis=axis)
    whole = values.sum(axis=axis, dtype=np.float64) if total is None else np.asarray(total)
    whole = np.expand_dims(np.asarray(whole, dtype=np.float64), axis)
    width = np.expand_dims(
        np.diff(cells), tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    )
    return np.divide(mass, whole * width, out=np.zeros_like(mass), where=whole > 0)


def occupied_range(
    count: ArrayLike, edges: ArrayLike, *, axis: int = -1, trim: float = 0.0
) -> tuple[float, float]:
    """Return the outer edges of the bins that hold anything, over all other axes.

    Parameters
    ----------
    count : array, shape (..., n_bins, ...)
        Elements per bin; other axes are summed.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    axis : int, default -1
        Axis of the bins.
    trim : float, default 0
        Share of the elements that may be left out at each end, so that one stray
        element does not squeeze a picture.

    Returns
    -------
    (low, high) : float, activation units
        NaN and NaN where nothing was counted.

    Examples
    --------
    >>> occupied_range([0, 3, 0, 1, 0], [0, 1, 2, 3, 4, 5])
    (1.0, 4.0)
    """
    values = np.asarray(count)
    limits = _increasing(edges, "edges")
    _check_bins(values, len(limits) - 1, axis)
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    per_bin = values.sum(axis=others, dtype=np.float64)
    total = per_bin.sum()
    if not total > 0:
        return float("nan"), float("nan")
    if not 0 <= trim < 0.5:
        raise ValueError(f"trim must be at least 0 and below 0.5, got {trim!r}")
    from_left = np.cumsum(per_bin)
    from_right = np.cumsum(per_bin[::-1])[::-1]
    first = int(np.argmax(from_left > trim * total))
    last = len(per_bin) - 1 - int(np.argmax(from_right[::-1] > trim * total))
    return float(limits[first]), float(limits[last + 1])


def cumulative(count: ArrayLike, *, axis: int = -1) -> NDArray[np.float64]:
    """Return the cumulative count at each edge, 0 at the first.

    Parameters
    ----------
    count : array, shape (..., n_bins, ...)

    Returns
    -------
    ndarray, shape (..., n_bins + 1, ...), float64

    Examples
    --------
    >>> cumulative([1, 2, 3])
    array([0., 1., 3., 6.])
    """
    values = np.moveaxis(np.asarray(count), axis, -1)
    out = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, dtype=np.float64, out=out[..., 1:])
    return np.moveaxis(out, -1, axis)


def _increasing(edges: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(edges, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{what} must be a list of 2 or more numbers, got shape {values.shape}")
    if not (np.diff(values) > 0).all():
        raise ValueError(f"{what} must be finite and increase, got {values}")
    return values


def _check_bins(values: NDArray[Any], n_bins: int, axis: int) -> None:
    if values.ndim == 0 or values.shape[axis] != n_bins:
        raise ValueError(
            f"count has shape {values.shape}, and its axis {axis} must hold the {n_bins} bins "
            "that the edges make"
        )
