"""How statistics of ranks, or of windows, become those of all of them together.

Pure rules on arrays: each takes one array a part, all of one shape, has an
identity (a part of 0 elements) and is associative, so that merging in any
grouping gives what the whole would have given. Imports NumPy alone.

The moments follow Chan, Golub and LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances" (1979), in its form for many parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "first_held",
    "largest",
    "merge_moments",
    "pooled_mean",
    "pooled_moments",
    "root_of_squares",
    "smallest",
    "sum_runs",
    "total",
    "weighted_mean",
]

Array: TypeAlias = NDArray[Any]
Parts: TypeAlias = Sequence[NDArray[Any]]


def total(parts: Parts, dtype: str = "uint64") -> Array:
    """Return the sum of the parts; identity 0.

    Examples
    --------
    >>> total([np.array([1, 2], np.uint32), np.array([3, 4], np.uint32)]).tolist()
    [4, 6]
    """
    found = np.zeros(np.broadcast_shapes(*(part.shape for part in parts)), dtype)
    for part in parts:
        np.add(found, part, out=found, casting="unsafe")
    return found


def largest(parts: Parts) -> Array:
    """Return the largest number at each place, NaN only where all parts are NaN."""
    found = parts[0]
    for part in parts[1:]:
        found = np.fmax(found, part)
    return found


def smallest(parts: Parts) -> Array:
    """Return the smallest number at each place, NaN only where all parts are NaN."""
    found = parts[0]
    for part in parts[1:]:
        found = np.fmin(found, part)
    return found


def merge_moments(n: Parts, mean: Parts, std: Parts) -> tuple[Array, Array]:
    """Return mean and standard deviation (divisor n) of all parts together, float64.

    Parameters
    ----------
    n : sequence of array
        Finite elements of each part; a part of 0 may have NaN beside it.
    mean, std : sequence of array

    Returns
    -------
    mean, std : array
        NaN where no part has an element.

    Examples
    --------
    >>> mean, std = merge_moments([np.array(2), np.array(2)], [0.0, 4.0], [1.0, 1.0])
    >>> float(mean), round(float(std) ** 2, 9)
    (2.0, 5.0)
    """
    weights = [np.asarray(w, np.float64) for w in n]
    whole = total(weights, "float64")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        shares = [weight / whole for weight in weights]
        means = [_held(w, m) for w, m in zip(weights, mean, strict=True)]
        merged = total([s * m for s, m in zip(shares, means, strict=True)], "float64")
        spread = total(
            [
                s * (_held(w, d) ** 2 + (m - merged) ** 2)
                for s, w, m, d in zip(shares, weights, means, std, strict=True)
            ],
            "float64",
        )
        return merged, np.sqrt(spread)


def weighted_mean(weight: Parts, value: Parts) -> Array:
    """Return the mean of the values that are numbers, float64; NaN where there is none.

    Parameters
    ----------
    weight : sequence of array
        A part of weight 0 is left out.
    value : sequence of array
        NaN where a part has none.
    """
    weights = [
        np.where(np.isnan(v), 0.0, np.asarray(w, np.float64))
        for w, v in zip(weight, value, strict=True)
    ]
    whole = total(weights, "float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        return total(
            [(w / whole) * _held(w, v) for w, v in zip(weights, value, strict=True)], "float64"
        )


def root_of_squares(parts: Parts) -> Array:
    """Return the Euclidean norm of what the parts are pieces of; NaN where there is none."""
    known = [~np.isnan(part) for part in parts]
    with np.errstate(over="ignore"):
        squares = total(
            [np.where(k, part, 0.0) ** 2.0 for k, part in zip(known, parts, strict=True)],
            "float64",
        )
    return np.where(np.logical_or.reduce(known), np.sqrt(squares), np.nan)


def first_held(held: Parts, parts: Parts) -> Array:
    """Return at each place the first part that is there, the first of all where none is."""
    found = parts[0]
    for there, part in zip(reversed(held), reversed(parts), strict=True):
        found = np.where(there, part, found)
    return found


def sum_runs(values: Array, lengths: NDArray[np.int64]) -> Array:
    """Return sums over runs of neighbours along the last axis, each of at least one.

    Parameters
    ----------
    values : array, shape (..., n)
    lengths : array of int64, shape (m,)
        Length of each run; together n.

    Examples
    --------
    >>> sum_runs(np.array([1, 2, 3, 4, 5]), np.array([2, 3])).tolist()
    [3, 12]
    """
    starts = np.cumsum(lengths) - lengths
    # Counts of 32 bits may need more once they are summed.
    dtype = np.dtype("uint64") if values.dtype.kind == "u" else values.dtype
    summed: Array = np.add.reduceat(values, starts, axis=-1, dtype=dtype)
    return summed


def pooled_moments(
    n: Array, mean: Array, std: Array, lengths: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return mean and standard deviation over runs of neighbours along the last axis.

    Parameters
    ----------
    n, mean, std : array, shape (..., n_windows)
        Finite elements and their moments.
    lengths : array of int64, shape (m,)

    Returns
    -------
    mean, std : array, shape (..., m), float64
    """
    weight = np.asarray(n, np.float64)
    means, stds = _held(weight, mean), _held(weight, std)
    whole = sum_runs(weight, lengths)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = weight / np.repeat(whole, lengths, axis=-1)
        merged = sum_runs(share * means, lengths)
        away = means - np.repeat(merged, lengths, axis=-1)
        spread = sum_runs(share * (stds**2 + away**2), lengths)
        return merged, np.sqrt(spread)


def pooled_mean(weight: Array, value: Array, lengths: NDArray[np.int64]) -> Array:
    """Return the mean over runs of neighbours along the last axis, float64.

    Parameters
    ----------
    weight, value : array, shape (..., n)
        Entries that are NaN or of weight 0 are left out.
    lengths : array of int64, shape (m,)

    Returns
    -------
    array, shape (..., m)
        NaN where a run has no entry.

    Examples
    --------
    >>> pooled_mean(np.array([1, 3, 1]), np.array([2.0, 6.0, np.nan]), np.array([2, 1])).tolist()
    [5.0, nan]
    """
    weights = np.where(np.isnan(value), 0.0, np.asarray(weight, np.float64))
    whole = sum_runs(weights, lengths)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sum_runs(
            weights / np.repeat(whole, lengths, axis=-1) * _held(weights, value), lengths
        )


def _held(weight: Array, value: Array) -> Array:
    """Return the value in float64, 0 where the part holds nothing."""
    return np.where(weight > 0, np.asarray(value, np.float64), 0.0)
