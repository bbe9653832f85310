"""How far a series moves by itself, and when another leaves it for good. Imports NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["first_lasting", "movement", "shifted", "upper_quantile", "within"]


def movement(
    histogram: ArrayLike,
    lag: int,
    distance: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the distances of each position to those up to `lag` before and after it.

    Parameters
    ----------
    histogram : array, shape (..., n_positions, n_cells)
    lag : int, 1 or more
        In positions that hold anything; empty ones are stepped over.
    distance : callable
        Of two arrays of shape (..., n, n_cells), over the last dimension.

    Returns
    -------
    ndarray, shape (..., n_positions, 2 * lag), float64
        NaN where there is no such position.

    Examples
    --------
    >>> apart = lambda p, q: abs(p - q)[..., 0]
    >>> movement([[1], [2], [5]], 1, apart)
    array([[nan,  1.],
           [ 1.,  3.],
           [ 3., nan]])
    """
    counts = np.asarray(histogram, dtype=np.float64)
    n = counts.shape[-2]
    found = np.full((*counts.shape[:-1], 2 * lag), np.nan)
    # Positions that are empty in all layers hold no batch, as between two evaluations.
    held = np.flatnonzero(counts.any(axis=-1).reshape(-1, n).any(axis=0))
    for step in range(1, min(lag, len(held) - 1) + 1):
        before, after = held[:-step], held[step:]
        apart = distance(counts[..., before, :], counts[..., after, :])
        found[..., after, lag - step] = apart
        found[..., before, lag + step - 1] = apart
    return found.reshape(*counts.shape[:-2], n, 2 * lag)


def shifted(histogram: ArrayLike, edges: ArrayLike, by: ArrayLike) -> NDArray[np.float64]:
    """Return the histograms that elements all larger by so much would give.

    The elements of a bin are taken to lie evenly in it. What lies below the first edge
    stays there, as nobody knows how far below.

    Parameters
    ----------
    histogram : array, shape (..., n_bins + 2)
        Under- and overflow outermost.
    edges : array, shape (n_bins + 1,), increasing
    by : array, shape (...), 0 or more
        NaN as 0.

    Returns
    -------
    ndarray, shape (..., n_bins + 2), float64

    Examples
    --------
    >>> shifted([0, 4, 2, 0], [0.0, 1.0, 2.0], 0.5)
    array([0., 2., 3., 1.])
    """
    counts = np.asarray(histogram, dtype=np.float64)
    at = np.asarray(edges, dtype=np.float64)
    way = np.broadcast_to(np.nan_to_num(np.asarray(by, dtype=np.float64)), counts.shape[:-1])
    below = np.cumsum(counts, axis=-1)
    found = np.empty_like(counts)
    for index in np.ndindex(way.shape):
        moved = np.interp(at - way[index], at, below[index][:-1])
        found[index] = np.diff(moved, prepend=0.0, append=below[index][-1])
    return found


def within(values: ArrayLike, lag: int) -> NDArray[np.float64]:
    """Return for each position the values up to `lag` positions before and after it.

    Parameters
    ----------
    values : array, shape (..., n_positions)
    lag : int

    Returns
    -------
    ndarray, shape (..., n_positions, 2 * lag + 1), float64
        NaN beyond the ends.

    Examples
    --------
    >>> within([1.0, 2.0], 1)
    array([[nan,  1.,  2.],
           [ 1.,  2., nan]])
    """
    x = np.asarray(values, dtype=np.float64)
    ends = np.full((*x.shape[:-1], lag), np.nan)
    padded = np.concatenate([ends, x, ends], axis=-1)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * lag + 1, axis=-1)


def upper_quantile(values: ArrayLike, quantile: float) -> NDArray[np.float64]:
    """Return the smallest value that at least a share `quantile` of them lies at or below.

    An order statistic and not interpolated, so of few values it is the largest: of up
    to 20 for 0.95.

    Parameters
    ----------
    values : array, shape (..., n)
        NaN are left out.
    quantile : float, 0 to 1

    Returns
    -------
    ndarray, shape (...), float64
        0 where there is none.

    Examples
    --------
    >>> upper_quantile([[3.0, 1.0, 2.0], [4.0, np.nan, np.nan]], 0.5)
    array([2., 4.])
    """
    x = np.sort(np.asarray(values, dtype=np.float64), axis=-1)  # NaN come last
    n = (~np.isnan(x)).sum(axis=-1)
    if not x.shape[-1]:
        return np.zeros(x.shape[:-1])
    at = np.clip(np.ceil(quantile * n).astype(np.int64) - 1, 0, x.shape[-1] - 1)
    found = np.take_along_axis(x, at[..., None], axis=-1)[..., 0]
    return np.where(n > 0, found, 0.0)


def first_lasting(beyond: ArrayLike, known: ArrayLike, patience: int) -> NDArray[np.int64]:
    """Return where the first `patience` known positions in a row begin that are all beyond.

    Parameters
    ----------
    beyond : array, shape (..., n_positions), bool
    known : array, shape (..., n_positions), bool
        Others are stepped over.
    patience : int, 1 or more

    Returns
    -------
    ndarray, shape (...), int64
        Index of the position; -1 where there is none.

    Examples
    --------
    >>> x, here = [False, True, False, True, True, True], [True] * 4 + [False, True]
    >>> int(first_lasting(x, here, 2)), int(first_lasting(x, here, 3))
    (3, -1)
    """
    over, there = np.broadcast_arrays(np.asarray(beyond, bool), np.asarray(known, bool))
    out = np.full(over.shape[:-1], -1, np.int64)
    for index in np.ndindex(out.shape):
        at = np.flatnonzero(there[index])
        if len(at) < patience:
            continue
        rows = np.lib.stride_tricks.sliding_window_view(over[index][at], patience)
        lasting = rows.all(axis=-1)
        if lasting.any():
            out[index] = at[int(lasting.argmax())]
    return out
