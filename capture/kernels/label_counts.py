"""Counting an output layer by class and unit, compiled.

Each output goes into the histogram of its unit and into that of its sample's
class. Histograms by unit are filled a few units at a time, those by class a
sample at a time, so that what is written stays in the cache and a thousand
classes cost no more a number than ten. May import NumPy and Numba;
`label_counts_plain` does the same without Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from actrace.capture.kernels.tables import bin_table
from actrace.store.axis import Axis

__all__ = ["Finder", "binary", "multi_label", "regression", "single_label"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_Function: TypeAlias = Callable[..., Any]
_compiled: Callable[[_Function], _Function] = njit(**_OPTIONS)

#: Units whose histograms are filled together: 16 of 512 bins fit the cache.
_TILE = 16


class Finder:
    """Finds the shifted bins of outputs on an axis.

    Parameters
    ----------
    axis : Axis
    """

    def __init__(self, axis: Axis) -> None:
        table = bin_table(axis.edges)
        self._first, self._climb = table.first, table.climb_wide

    def find(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return 0 below the axis, n_bins + 1 above, n_bins + 2 for NaN and infinity.

        Parameters
        ----------
        values : ndarray, shape (n, n_units), float64
        """
        bins = np.empty(values.shape, np.int32)
        with np.errstate(over="ignore"):
            near = values.astype(np.float32)
        _find(values.ravel(), near.ravel(), self._first, self._climb, bins.ravel())
        return bins


@_compiled
def _find(values: Any, near: Any, first: Any, climb: Any, bins: Any) -> Any:
    """Find bins, starting from each value's float32 neighbour (see `BinTable`)."""
    bits = near.view(np.uint32)
    n_bins = climb.size - 3
    for j in range(values.size):
        x = values[j]
        i: Any = np.int64(first[bits[j] >> np.uint32(16)])
        if i == n_bins + 2 and abs(x) < np.inf:
            # Finite, but beyond float32.
            i = n_bins + 1 if x > 0 else 0
        if i <= n_bins + 1:
            while i <= n_bins and x >= climb[i]:
                i += 1
            while i > 0 and x < climb[i - 1]:
                i -= 1
        bins[j] = i


@_compiled
def _by_unit(values: Any, bins: Any, roles: Any, count: Any, sums: Any) -> Any:
    """Add outputs to their units' cells; roles, shape (n, n_units), 0 is yes."""
    odd = count.shape[2] - 1
    n_units = values.shape[1]
    for start in range(0, n_units, _TILE):
        for i in range(values.shape[0]):
            for u in range(start, min(start + _TILE, n_units)):
                k = bins[i, u]
                role = roles[i, u]
                count[u, role, k] += 1
                if k != odd:
                    x = values[i, u]
                    sums[u, role, 0] += x
                    sums[u, role, 1] += x * x


@_compiled
def _by_class(row: Any, bins: Any, roles: Any, c: Any, count: Any, sums: Any, matrix: Any) -> Any:
    """Add one sample's outputs to the cells of its class; role 2 is left out."""
    odd = count.shape[2] - 1
    total = np.zeros(3)
    squares = np.zeros(3)
    full = matrix.shape[0] > 0
    for u in range(row.size):
        k = bins[u]
        role = roles[u]
        if role < 2:
            count[c, role, k] += 1
        if k != odd:
            x = row[u]
            total[role] += x
            squares[role] += x * x
            if full:
                matrix[c, u, 0] += 1
                matrix[c, u, 1] += x
                matrix[c, u, 2] += x * x
    for role in range(2):
        sums[c, role, 0] += total[role]
        sums[c, role, 1] += squares[role]


@_compiled
def single_label(
    values: Any,
    bins: Any,
    target: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
    confusion: Any,
) -> Any:
    """Add samples with one class each; see `LabelledSums` for the arrays."""
    roles = np.ones(values.shape, np.uint8)
    for i in range(values.shape[0]):
        c = target[i]
        roles[i, c] = 0
        _by_class(values[i], bins[i], roles[i], c, classes[0], classes[1], matrix)
        best = -1
        for u in range(values.shape[1]):
            x = values[i, u]
            if x == x and (best < 0 or x > values[i, best]):
                best = u
        totals[c, 0] += 1
        if best == c:
            totals[c, 1] += 1
        if best >= 0 and confusion.shape[0] > 0:
            confusion[c, best] += 1
    _by_unit(values, bins, roles, units[0], units[1])


@_compiled
def binary(
    values: Any,
    bins: Any,
    target: Any,
    threshold: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
) -> Any:
    """Add samples with one output that says yes (class 1) or no (class 0)."""
    roles = np.empty(values.shape, np.uint8)
    for i in range(values.shape[0]):
        c = target[i]
        x = values[i, 0]
        roles[i, 0] = 0 if c == 1 else 1
        _by_class(values[i], bins[i], roles[i], c, classes[0], classes[1], matrix)
        totals[c, 0] += 1
        if x == x and (x > threshold) == (c == 1):
            totals[c, 1] += 1
    _by_unit(values, bins, roles, units[0], units[1])


@_compiled
def multi_label(
    values: Any,
    bins: Any,
    target: Any,
    threshold: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
) -> Any:
    """Add samples each of which may have any of the labels."""
    roles = np.empty(values.shape, np.uint8)
    own = np.empty(values.shape[1], np.uint8)
    for i in range(values.shape[0]):
        for u in range(values.shape[1]):
            roles[i, u] = 0 if target[i, u] else 1
            # For one of its labels, the sample's other labels are neither yes nor no.
            own[u] = 2 if target[i, u] else 1
        for c in range(values.shape[1]):
            if target[i, c]:
                own[c] = 0
                _by_class(values[i], bins[i], own, c, classes[0], classes[1], matrix)
                own[c] = 2
                totals[c, 0] += 1
                if values[i, c] > threshold:
                    totals[c, 1] += 1
    _by_unit(values, bins, roles, units[0], units[1])


@_compiled
def regression(
    values: Any, bins: Any, target: Any, target_bins: Any, units: Any, squared: Any
) -> Any:
    """Add predictions (role 0) and targets (role 1) on one axis."""
    roles = np.zeros(values.shape, np.uint8)
    _by_unit(values, bins, roles, units[0], units[1])
    _by_unit(target, target_bins, roles + np.uint8(1), units[0], units[1])
    for i in range(values.shape[0]):
        for u in range(values.shape[1]):
            if np.isfinite(values[i, u]) and np.isfinite(target[i, u]):
                error = values[i, u] - target[i, u]
                squared[u] += error * error
