"""Sums over a window of the output layer's values by class, unit and role.

Role ``yes`` is a unit whose sample has its class, ``no`` one whose sample has
not; in a regression the roles are ``prediction`` and ``target``. May import
NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actrace.capture.labels.targets import Labelling
from actrace.store.axis import Axis
from actrace.store.schema import MAX_MATRIX_CLASSES

__all__ = ["LabelledSums"]

_Cells: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


def _cells(rows: int, n_bins: int) -> _Cells:
    """Return counts (row, role, shifted bin) and sums (row, role, of x and of x squared).

    Shifted bin 0 is underflow, ``n_bins + 1`` overflow, ``n_bins + 2`` what is
    not finite.
    """
    return np.zeros((rows, 2, n_bins + 3), np.int64), np.zeros((rows, 2, 2))


def _moments(
    n: NDArray[Any], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        spread = np.sqrt(np.maximum(squares / n - mean * mean, 0.0))
    return mean, np.where(n > 0, spread, np.nan)


class LabelledSums:
    """The open window of an output group.

    Parameters
    ----------
    labels : Labelling
    axis : Axis
    compiled : bool
        Count with Numba rather than NumPy.
    """

    def __init__(self, labels: Labelling, axis: Axis, *, compiled: bool) -> None:
        name = "label_counts" if compiled else "label_counts_plain"
        self._count: Any = import_module(f"actrace.capture.kernels.{name}")
        self._labels = labels
        self._finder = self._count.Finder(axis)
        n_classes, n_units = len(labels.classes), labels.n_units
        small = 0 < max(n_classes, n_units) <= MAX_MATRIX_CLASSES and n_classes > 0
        single = labels.task == "single-label"
        self._units = _cells(n_units, axis.n_bins)
        self._classes = _cells(n_classes, axis.n_bins)
        self._totals = np.zeros((n_classes, 2), np.int64)
        self._matrix = np.zeros((n_classes if small else 0, n_units, 3))
        self._confusion = np.zeros((n_classes if small and single else 0, n_units), np.int64)
        self._squared = np.zeros(n_units)

    def add(self, values: NDArray[np.float64], target: NDArray[Any]) -> None:
        """Add outputs and their targets, as `Labelling.read` returns them."""
        labels, count = self._labels, self._count
        values = np.ascontiguousarray(values)
        target = np.ascontiguousarray(target)
        bins = self._finder.find(values)
        if labels.task == "regression":
            found = self._finder.find(target)
            count.regression(values, bins, target, found, self._units, self._squared)
            return
        common = (self._units, self._classes, self._totals, self._matrix)
        if labels.task == "single-label":
            count.single_label(values, bins, target, *common, self._confusion)
        elif labels.task == "binary":
            count.binary(values, bins, target, labels.threshold, *common)
        else:
            count.multi_label(values, bins, target, labels.threshold, *common)

    def take(self) -> dict[str, NDArray[Any]]:
        """Return copies of the window's values by the schema's names, and begin the next."""
        values = self._by("by_unit", self._units)
        if self._labels.task == "regression":
            values["squared_error"] = self._squared
        else:
            values |= self._by("by_class", self._classes)
            values["samples"] = self._totals[:, 0]
            values["correct"] = self._totals[:, 1]
            if len(self._matrix):
                n, total, squares = np.moveaxis(self._matrix, -1, 0)
                values["output_mean"], values["output_std"] = _moments(n, total, squares)
            if len(self._confusion):
                values["confusion"] = self._confusion
        values = {name: array.copy() for name, array in values.items()}
        for array in (*self._units, *self._classes, self._totals, self._matrix):
            array.fill(0)
        self._confusion.fill(0)
        self._squared.fill(0)
        return values

    def _by(self, suffix: str, cells: _Cells) -> dict[str, NDArray[Any]]:
        count, sums = cells
        elements = count.sum(axis=-1)
        finite = elements - count[..., -1]
        mean, spread = _moments(finite, sums[..., 0], sums[..., 1])
        return {
            f"count_{suffix}": count[..., 1:-2],
            f"underflow_{suffix}": count[..., 0],
            f"overflow_{suffix}": count[..., -2],
            f"nonfinite_{suffix}": count[..., -1],
            f"elements_{suffix}": elements,
            f"mean_{suffix}": mean,
            f"std_{suffix}": spread,
        }
