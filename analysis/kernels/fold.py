"""Statistics of batches in a row as one: what a long run is read through. Imports NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTS", "fold", "weighted_mean"]

Floats = NDArray[np.float64]

#: What is summed; the other variables are merged each in its own way.
COUNTS = ("elements", "finite", "nonfinite", "outside", "read", "zero")


def fold(values: Mapping[str, Floats], starts: NDArray[np.int64]) -> dict[str, Floats]:
    """Return each variable over stretches of columns.

    Parameters
    ----------
    values : dict of str to ndarray, shape (n_rows, n_columns), float64
        Counts as `COUNTS` names them, ``mean``, ``std``, ``min``, ``max``, ``norm``,
        ``activation_rate`` and ``death_rate``; those that are missing are left out.
    starts : ndarray of int64, increasing, the first 0
        First column of each stretch.

    Returns
    -------
    dict of str to ndarray, shape (n_rows, len(starts)), float64
        Sums of counts; moments as if all elements had been taken together; extremes;
        ``norm`` and ``activation_rate`` weighted with elements; the smallest
        ``death_rate``, an upper bound.

    References
    ----------
    Chan, Golub and LeVeque (1979), STAN-CS-79-773, for the moments.

    Examples
    --------
    >>> n, mean, std = np.array([[2.0, 2.0]]), np.array([[0.0, 2.0]]), np.zeros((1, 2))
    >>> found = fold({"finite": n, "mean": mean, "std": std}, np.array([0]))
    >>> found["mean"].tolist(), found["std"].tolist()
    ([[1.0]], [[1.0]])
    """
    found = {
        name: np.add.reduceat(values[name], starts, axis=1) for name in COUNTS if name in values
    }
    weight = values["finite"]
    if "mean" in values:
        found["mean"] = weighted_mean(values["mean"], weight, starts)
        lengths = np.diff(np.append(starts, weight.shape[1]))
        apart = values["mean"] - np.repeat(found["mean"], lengths, axis=1)
        found["std"] = np.sqrt(weighted_mean(values["std"] ** 2 + apart**2, weight, starts))
    for name, extreme in (("min", np.fmin), ("max", np.fmax), ("death_rate", np.fmin)):
        if name in values:
            found[name] = extreme.reduceat(values[name], starts, axis=1)
    for name in ("norm", "activation_rate"):
        if name in values:
            found[name] = weighted_mean(values[name], weight, starts)
    return found


def weighted_mean(values: Floats, weight: Floats, starts: NDArray[np.int64]) -> Floats:
    """Return the mean over stretches along the last axis, NaN where nothing has weight.

    Values that are NaN have none.
    """
    known = np.where(np.isnan(values), 0.0, weight)
    total = np.add.reduceat(known, starts, axis=-1)
    part = np.add.reduceat(np.where(known > 0, values, 0.0) * known, starts, axis=-1)
    return np.divide(part, total, out=np.full_like(total, np.nan), where=total > 0)
