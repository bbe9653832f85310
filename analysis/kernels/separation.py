"""How far apart YES and NO are: from moments and from histograms.

What needs smooth curves is `overlap`. Imports NumPy alone. Histograms come with under-
and overflow as their outermost bins, so nothing outside the axis is lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["auc", "best_threshold", "d_prime", "shares"]


def d_prime(
    mean_yes: ArrayLike, mean_no: ArrayLike, std_yes: ArrayLike, std_no: ArrayLike
) -> NDArray[np.float64]:
    """Return d', the distance of the means in units of the common spread.

    ``(mean_yes - mean_no) / sqrt((std_yes ** 2 + std_no ** 2) / 2)``; NaN where both
    spreads are 0.

    References
    ----------
    Simpson and Fitter (1973), What is the best index of detectability?, Psychological
    Bulletin 80:481 (their d_a).

    Examples
    --------
    >>> float(d_prime(3.0, 0.0, 1.0, 1.0))
    3.0
    """
    gap = np.asarray(mean_yes, np.float64) - np.asarray(mean_no, np.float64)
    spread = np.sqrt(
        (np.asarray(std_yes, np.float64) ** 2 + np.asarray(std_no, np.float64) ** 2) / 2
    )
    return np.asarray(np.divide(gap, spread, out=np.full(np.shape(gap), np.nan), where=spread > 0))


def auc(yes: ArrayLike, no: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the area under the ROC curve and how far binning may have moved it.

    ``P(yes > no) + P(same bin) / 2``, the Mann-Whitney statistic of the bins. What
    the elements of one bin would have said is not known, so the area of the values
    themselves lies within half the mass that is tied.

    Parameters
    ----------
    yes, no : array, shape (..., n_bins)
        Elements per bin in increasing order, under- and overflow outermost.

    Returns
    -------
    area, error : ndarray, shape (...), float64
        NaN where either has no elements.

    References
    ----------
    Hanley and McNeil (1982), The meaning and use of the area under a ROC curve,
    Radiology 143:29.

    Examples
    --------
    >>> area, error = auc([0, 1, 3], [3, 1, 0])
    >>> float(area), float(error)
    (0.96875, 0.03125)
    """
    p, q = shares(yes), shares(no)
    tied = (p * q).sum(axis=-1)
    above = (p * (np.cumsum(q, axis=-1) - q)).sum(axis=-1)
    return above + tied / 2, tied / 2


def best_threshold(
    yes: ArrayLike, no: ArrayLike, edges: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the threshold that tells YES from NO best, how well it does, and how much is left.

    The bin edge that maximises Youden's J, ``P(yes >= edge) - P(no >= edge)``; the
    middle of the edges that do so equally well next to each other.

    Parameters
    ----------
    yes, no : array, shape (..., n_bins + 2)
        Elements per bin, underflow first and overflow last.
    edges : array, shape (n_bins + 1,)
        Bin edges, activation units.

    Returns
    -------
    threshold : ndarray, shape (...), float64, activation units
    j : ndarray, shape (...), float64
        Exact at the threshold; NaN where either has no elements.
    error : ndarray, shape (...), float64
        A threshold within a bin may do better than any edge, by at most this much.

    References
    ----------
    Youden (1950), Index for rating diagnostic tests, Cancer 3:32.

    Examples
    --------
    >>> threshold, j, error = best_threshold([0, 0, 0, 4, 0], [0, 4, 0, 0, 0], [0, 1, 2, 3])
    >>> float(threshold), float(j), float(error)
    (1.5, 1.0, 0.0)
    """
    limits = np.asarray(edges, dtype=np.float64)
    p, q = shares(yes), shares(no)
    j = np.cumsum(q, axis=-1)[..., :-1] - np.cumsum(p, axis=-1)[..., :-1]
    best = j.max(axis=-1)
    flat = j >= best[..., None] - 1e-12
    first = flat.argmax(axis=-1)
    after = ~flat & (np.arange(len(limits)) > first[..., None])
    last = np.where(after.any(axis=-1), after.argmax(axis=-1), len(limits)) - 1
    middle = (limits[first] + limits[last]) / 2
    # Within a bin at best all NO of the bin lie below the threshold and all YES above.
    within = (np.cumsum(q, axis=-1) - (np.cumsum(p, axis=-1) - p)).max(axis=-1)
    return np.where(np.isnan(best), np.nan, middle), best, np.maximum(within - best, 0.0)


def shares(counts: ArrayLike) -> NDArray[np.float64]:
    """Return counts as shares of their sum along the last axis, NaN where that is 0."""
    values = np.asarray(counts, dtype=np.float64)
    total = values.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0))
