"""Hartigan's dip of binned counts: how far from any distribution of one peak. NumPy alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actrace.analysis.kernels.density import cumulative

__all__ = ["dip"]


def dip(count: ArrayLike, edges: ArrayLike) -> tuple[float, float]:
    """Return the dip statistic of binned counts, and how far binning may have moved it.

    The largest distance of the distribution function from the nearest one that has a
    single mode: 0 where there is one peak, at most 1/4. The mass of each bin is
    spread evenly over it. Two distribution functions that nowhere differ by more than e
    have dips that differ by no more than e, and elements placed otherwise in their bins
    change the function by no more than the largest bin's share.

    Parameters
    ----------
    count : array, shape (n_bins,)
        Elements per bin.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges, activation units.

    Returns
    -------
    dip, error : float
        NaN where nothing was counted.

    References
    ----------
    Hartigan and Hartigan (1985), The dip test of unimodality, Annals of Statistics 13:70;
    Hartigan (1985), Algorithm AS 217, Applied Statistics 34:320.

    Examples
    --------
    >>> dip([1, 2, 4, 2, 1], np.arange(6.0))
    (0.0, 0.4)
    >>> dip([5, 0, 0, 0, 5], np.arange(6.0))[0]
    0.1875
    """
    values, x = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    below = cumulative(values)
    if not below[-1] > 0:
        return math.nan, math.nan
    held = np.flatnonzero(values)
    # Empty bins outside the data bend no hull, those within do.
    part = slice(int(held[0]), int(held[-1]) + 2)
    found = _twice(x[part], below[part] / below[-1]) / 2
    return found, float(values.max() / below[-1])


def _twice(x: NDArray[np.float64], f: NDArray[np.float64]) -> float:
    """Return twice the dip of the distribution function through the points.

    Narrows the interval that must hold the mode: left of it the function is held against
    its greatest convex minorant, right of it against its least concave majorant.
    """
    low, high, widest = 0, len(x) - 1, 0.0
    while low < high:
        convex, concave = _hull(x, f, low, high, 1), _hull(x, f, low, high, -1)
        at_convex = np.interp(x[convex], x[concave], f[concave]) - f[convex]
        at_concave = f[concave] - np.interp(x[concave], x[convex], f[convex])
        if max(at_convex.max(), at_concave.max()) <= widest:
            break
        if at_convex.max() > at_concave.max():
            left = int(convex[at_convex.argmax()])
            right = int(concave[np.searchsorted(concave, left)])
        else:
            right = int(concave[at_concave.argmax()])
            left = int(convex[np.searchsorted(convex, right, side="right") - 1])
        before, after = slice(low, left + 1), slice(right, high + 1)
        under = f[before] - np.interp(x[before], x[convex], f[convex])
        over = np.interp(x[after], x[concave], f[concave]) - f[after]
        widest = max(widest, float(under.max()), float(over.max()))
        if (left, right) == (low, high):
            break
        low, high = left, right
    return widest


def _hull(
    x: NDArray[np.float64], f: NDArray[np.float64], low: int, high: int, side: int
) -> NDArray[np.int64]:
    """Return the points from `low` to `high` on the lower (side 1) or upper (-1) convex hull."""
    xs, fs = x.tolist(), (side * f).tolist()
    kept = [low]
    for i in range(low + 1, high + 1):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (fs[b] - fs[a]) * (xs[i] - xs[b]) < (fs[i] - fs[b]) * (xs[b] - xs[a]):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept, dtype=np.int64)
