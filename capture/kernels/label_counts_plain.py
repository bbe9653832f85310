"""Counting an output layer by class and unit, in NumPy.

What `labelled` does where Numba is not installed. Imports NumPy alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actrace.store.axis import Axis

__all__ = ["Finder", "binary", "multi_label", "regression", "single_label"]

_Cells: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
_Floats: TypeAlias = NDArray[np.float64]
_Ints: TypeAlias = NDArray[Any]


class Finder:
    """Finds the shifted bins of outputs on an axis.

    Parameters
    ----------
    axis : Axis
    """

    def __init__(self, axis: Axis) -> None:
        self._edges = axis.edges

    def find(self, values: _Floats) -> NDArray[np.int32]:
        """Return 0 below the axis, n_bins + 1 above, n_bins + 2 for NaN and infinity.

        Parameters
        ----------
        values : ndarray, shape (n, n_units), float64
        """
        n_bins = len(self._edges) - 1
        bins = np.searchsorted(self._edges, values, side="right")
        bins[values == self._edges[-1]] = n_bins
        bins[~np.isfinite(values)] = n_bins + 2
        return bins.astype(np.int32)


def _add_at(array: Any, where: Any, what: Any) -> None:
    # The stub of numpy.add.at refuses a constant among the indices.
    np.add.at(array, where, what)


def _put(values: _Floats, bins: _Ints, rows: _Ints, roles: _Ints, cells: _Cells) -> None:
    """Add flat values to the cells (rows, roles)."""
    count, sums = cells
    _add_at(count, (rows, roles, bins), 1)
    finite = np.isfinite(values)
    values, rows, roles = values[finite], rows[finite], roles[finite]
    _add_at(sums, (rows, roles, 0), values)
    _add_at(sums, (rows, roles, 1), values * values)


def _put_matrix(values: _Floats, classes: _Ints, units: _Ints, matrix: _Floats) -> None:
    if not len(matrix):
        return
    finite = np.isfinite(values)
    values, classes, units = values[finite], classes[finite], units[finite]
    for at, power in enumerate((np.ones_like(values), values, values * values)):
        _add_at(matrix, (classes, units, at), power)


def _largest(values: _Floats) -> _Ints:
    """Return the first unit of the largest output, -1 where none is a number."""
    best = np.full(len(values), -1)
    for unit in range(values.shape[1]):
        x = values[:, unit]
        so_far = values[np.arange(len(values)), np.maximum(best, 0)]
        best[~np.isnan(x) & ((best < 0) | (x > so_far))] = unit
    return best


def single_label(
    values: _Floats,
    bins: _Ints,
    target: _Ints,
    units: _Cells,
    classes: _Cells,
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
    _put(flat, bins.ravel(), unit, role, units)
    _put(flat, bins.ravel(), own, role, classes)
    _put_matrix(flat, own, unit, matrix)
    best = _largest(values)
    _add_at(totals, (target, 0), 1)
    _add_at(totals, (target[best == target], 1), 1)
    if len(confusion):
        _add_at(confusion, (target[best >= 0], best[best >= 0]), 1)


def binary(
    values: _Floats,
    bins: _Ints,
    target: _Ints,
    threshold: float,
    units: _Cells,
    classes: _Cells,
    totals: _Ints,
    matrix: _Floats,
) -> None:
    """Add samples with one output that says yes (class 1) or no (class 0)."""
    flat, place = values[:, 0], bins[:, 0]
    role = 1 - target
    _put(flat, place, np.zeros_like(target), role, units)
    _put(flat, place, target, role, classes)
    _put_matrix(flat, target, np.zeros_like(target), matrix)
    right = ((flat > threshold) == (target == 1)) & ~np.isnan(flat)
    _add_at(totals, (target, 0), 1)
    _add_at(totals, (target[right], 1), 1)


def multi_label(
    values: _Floats,
    bins: _Ints,
    target: _Ints,
    threshold: float,
    units: _Cells,
    classes: _Cells,
    totals: _Ints,
    matrix: _Floats,
) -> None:
    """Add samples each of which may have any of the labels."""
    n, n_units = values.shape
    unit = np.tile(np.arange(n_units), n)
    _put(values.ravel(), bins.ravel(), unit, 1 - target.ravel().astype(np.int64), units)
    for label in range(n_units):
        has = target[:, label] == 1
        mine, wanted = values[has], target[has]
        totals[label, 0] += len(mine)
        totals[label, 1] += int((mine[:, label] > threshold).sum())
        rows, columns = np.divmod(np.arange(mine.size), n_units)
        flat, place = mine.ravel(), bins[has].ravel()
        _put_matrix(flat, np.full(flat.shape, label), columns, matrix)
        # For one of its labels, a sample's other labels are neither yes nor no.
        counted = (columns == label) | (wanted[rows, columns] == 0)
        role = (columns != label).astype(np.int64)[counted]
        _put(flat[counted], place[counted], np.full(role.shape, label), role, classes)


def regression(
    values: _Floats,
    bins: _Ints,
    target: _Floats,
    target_bins: _Ints,
    units: _Cells,
    squared: _Floats,
) -> None:
    """Add predictions (role 0) and targets (role 1) on one axis."""
    n, n_units = values.shape
    unit = np.tile(np.arange(n_units), n)
    for role, (numbers, place) in enumerate(((values, bins), (target, target_bins))):
        _put(numbers.ravel(), place.ravel(), unit, np.full(unit.shape, role), units)
    both = np.isfinite(values) & np.isfinite(target)
    error = np.where(both, values, 0.0) - np.where(both, target, 0.0)
    squared += (error * error).sum(axis=0)
