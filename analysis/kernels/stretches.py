"""Sums, moments and rates over neighbouring columns. Imports NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["merge_stretches", "sum_stretches"]


def sum_stretches(counts: ArrayLike, *, starts: ArrayLike) -> NDArray[np.uint64]:
    """Return the sums of stretches of columns.

    Parameters
    ----------
    counts : array, shape (..., n_columns), unsigned
    starts : array, shape (n_stretches,), int, increasing
        First column of each stretch, which ends where the next begins.

    Returns
    -------
    ndarray, shape (..., n_stretches), uint64

    Examples
    --------
    >>> sum_stretches([1, 2, 3], starts=[0, 2])
    array([3, 3], dtype=uint64)
    """
    values = np.asarray(counts).astype(np.uint64)
    found: NDArray[np.uint64] = np.add.reduceat(values, np.asarray(starts, np.int64), axis=-1)
    return found


def merge_stretches(
    finite: ArrayLike,
    weight: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    activation_rate: ArrayLike,
    death_rate: ArrayLike,
    *,
    starts: ArrayLike,
) -> tuple[NDArray[np.float64], ...]:
    """Return mean, spread, activation and death rate of stretches of columns.

    Parameters
    ----------
    finite, weight : array, shape (..., n_columns)
        Finite elements, which the moments are of, and all elements, which the
        activation rate is of.
    mean, std, activation_rate, death_rate : array, shape (..., n_columns)
        NaN where a column has none.
    starts : array, shape (n_stretches,), int, increasing
        First column of each stretch, which ends where the next begins.

    Returns
    -------
    mean, std, activation_rate, death_rate : ndarray, shape (..., n_stretches), float64
        NaN where a stretch has none. The last is the smallest of the columns', an
        upper bound: a unit that is dead throughout is dead in each of them.

    References
    ----------
    Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for
    computing sample variances, STAN-CS-79-773, in its form for many parts.

    Examples
    --------
    >>> n, x = [1, 1, 2], [0.0, 2.0, 5.0]
    >>> mean, std, _, _ = merge_stretches(n, n, x, [0.0, 0.0, 1.0], x, x, starts=[0, 2])
    >>> mean, std
    (array([1., 5.]), array([1., 1.]))
    """
    first = np.asarray(starts, dtype=np.int64)
    lengths = np.diff(np.append(first, np.shape(mean)[-1]))
    middle = _average(mean, finite, first)
    apart = np.asarray(mean, dtype=np.float64) - np.repeat(middle, lengths, axis=-1)
    spread = np.sqrt(_average(np.asarray(std, dtype=np.float64) ** 2 + apart**2, finite, first))
    active = _average(activation_rate, weight, first)
    dead = np.fmin.reduceat(np.asarray(death_rate, dtype=np.float64), first, axis=-1)
    return middle, spread, active, dead


def _average(values: ArrayLike, weight: ArrayLike, first: NDArray[np.int64]) -> NDArray[np.float64]:
    x, n = np.asarray(values, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    used = (n > 0) & ~np.isnan(x)
    total = np.add.reduceat(np.where(used, n, 0.0), first, axis=-1)
    sums = np.add.reduceat(np.where(used, n, 0.0) * np.where(used, x, 0.0), first, axis=-1)
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)
