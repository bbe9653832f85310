"""Merging of counts, means and standard deviations. Imports NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["merge_moments"]


def merge_moments(
    n: ArrayLike, mean: ArrayLike, std: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return number, mean and standard deviation of all parts together.

    Parameters
    ----------
    n : array, shape (..., n_parts)
        Elements of each part; a part of 0 elements may have NaN beside it.
    mean, std : array, shape (..., n_parts)
        Mean and standard deviation (divisor n) of each part.

    Returns
    -------
    n, mean, std : ndarray, shape (...), float64
        Mean and std are NaN where there is no element.

    References
    ----------
    Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for
    computing sample variances, STAN-CS-79-773, in its form for many parts.

    Examples
    --------
    >>> n, mean, std = merge_moments([2, 2], [0.0, 4.0], [1.0, 1.0])
    >>> float(n), float(mean), round(float(std) ** 2, 9)
    (4.0, 2.0, 5.0)
    """
    weight = np.asarray(n, dtype=np.float64)
    held = weight > 0
    means = np.where(held, np.asarray(mean, dtype=np.float64), 0.0)
    stds = np.where(held, np.asarray(std, dtype=np.float64), 0.0)
    total = weight.sum(axis=-1)
    share = np.divide(
        weight, total[..., None], out=np.zeros_like(weight), where=total[..., None] > 0
    )
    merged = (share * means).sum(axis=-1)
    variance = (share * (stds**2 + (means - merged[..., None]) ** 2)).sum(axis=-1)
    nothing = total == 0
    return total, np.where(nothing, np.nan, merged), np.where(nothing, np.nan, np.sqrt(variance))
