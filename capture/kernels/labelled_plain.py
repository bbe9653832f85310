"""Counting an output layer by class and unit, in NumPy.

What `labelled` does where Numba is not installed. Imports NumPy alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["binary", "multi_label", "regression", "single_label"]

_Arrays: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
_Floats: TypeAlias = NDArray[np.float64]
_Ints: TypeAlias = NDArray[Any]


def _add_at(array: Any, where: Any, what: Any) -> None:
    # The stub of numpy.add.at refuses a constant among the indices.
    np.add.at(array, where, what)


def _put(values: _Floats, rows: _Ints, roles: _Ints, edges: _Floats, cells: _Arrays) -> None:
    """Add flat values to the cells (rows, roles)."""
    count, tally, sums = cells
    n_bins = count.shape[2]
    _add_at(tally, (rows, roles, 3), 1)
    finite = np.isfinite(values)
    _add_at(tally, (rows[~finite], roles[~finite], 2), 1)
    values, rows, roles = values[finite], rows[finite], roles[finite]
    _add_at(sums, (rows, roles, 0), values)
    _add_at(sums, (rows, roles, 1), values * values)
    place = np.searchsorted(edges, values, side="right")
    place[values == edges[-1]] = n_bins
    for at, where in ((0, place == 0), (1, place == n_bins + 1)):
        _add_at(tally, (rows[where], roles[where], at), 1)
    inside = (place > 0) & (place <= n_bins)
    _add_at(count, (rows[inside], roles[inside], place[inside] - 1), 1)


def _put_matrix(values: _Floats, classes: _Ints, units: _Ints, matrix: _Floats) -> None:
    if not len(matrix):
        return
    finite = np.isfinite(values)
    values, classes, units = values[finite], classes[finite], units[finite]
    for at, power in enumerate((np.ones_like(values), values, values * values)):
        _add_at(matrix, (classes, units, at), power)


def single_label(
    values: _Floats,
    target: _Ints,
    edges: _Floats,
    units: _Arrays,
    classes: _Arrays,
    totals: _Ints,
    matrix: _Floats,
    confusion: _Ints,
) -> None:
    """Add samples with one class each; see `LabelledSums` for the arrays."""
    n, n_units = values.shape
    unit = np.tile(np.arange(n_units), n)
    own = np.repeat(target, n_units)
    role = (unit != own).astype(np.int64)
    flat = values.ravel()
    _put(flat, unit, role, edges, units)
    _put(flat, own, role, edges, classes)
    _put_matrix(flat, own, unit, matrix)
    numbers = ~np.isnan(values).all(axis=1)
    best = np.where(np.isnan(values), -np.inf, values).argmax(axis=1) if n else target
    # A row of NaN and -inf: the first that is a number wins.
    low = numbers & (np.where(np.isnan(values), -np.inf, values).max(axis=1, initial=-np.inf) < 0)
    low &= ~np.isfinite(values).any(axis=1)
    best[low] = (~np.isnan(values[low])).argmax(axis=1)
    _add_at(totals, (target, 0), 1)
    _add_at(totals, (target[numbers & (best == target)], 1), 1)
    if len(confusion):
        _add_at(confusion, (target[numbers], best[numbers]), 1)


def binary(
    values: _Floats,
    target: _Ints,
    edges: _Floats,
    threshold: float,
    units: _Arrays,
    classes: _Arrays,
    totals: _Ints,
    matrix: _Floats,
) -> None:
    """Add samples with one output that says yes (class 1) or no (class 0)."""
    flat = values[:, 0]
    role = 1 - target
    _put(flat, np.zeros_like(target), role, edges, units)
    _put(flat, target, role, edges, classes)
    _put_matrix(flat, target, np.zeros_like(target), matrix)
    right = ((flat > threshold) == (target == 1)) & ~np.isnan(flat)
    _add_at(totals, (target, 0), 1)
    _add_at(totals, (target[right], 1), 1)


def multi_label(
    values: _Floats,
    target: _Ints,
    edges: _Floats,
    threshold: float,
    units: _Arrays,
    classes: _Arrays,
    totals: _Ints,
    matrix: _Floats,
) -> None:
    """Add samples each of which may have any of the labels."""
    n, n_units = values.shape
    unit = np.tile(np.arange(n_units), n)
    _put(values.ravel(), unit, 1 - target.ravel().astype(np.int64), edges, units)
    for label in range(n_units):
        has = target[:, label] == 1
        mine, wanted = values[has], target[has]
        totals[label, 0] += len(mine)
        totals[label, 1] += int((mine[:, label] > threshold).sum())
        rows, columns = np.divmod(np.arange(mine.size), n_units)
        flat = mine.ravel()
        _put_matrix(flat, np.full(flat.shape, label), columns, matrix)
        counted = (columns == label) | (wanted[rows, columns] == 0)
        role = (columns != label).astype(np.int64)[counted]
        _put(flat[counted], np.full(role.shape, label), role, edges, classes)


def regression(
    values: _Floats, target: _Floats, edges: _Floats, units: _Arrays, squared: _Floats
) -> None:
    """Add predictions (role 0) and targets (role 1) on one axis."""
    n, n_units = values.shape
    unit = np.tile(np.arange(n_units), n)
    for role, numbers in enumerate((values, target)):
        _put(numbers.ravel(), unit, np.full(unit.shape, role), edges, units)
    both = np.isfinite(values) & np.isfinite(target)
    error = np.where(both, values, 0.0) - np.where(both, target, 0.0)
    squared += (error * error).sum(axis=0)
