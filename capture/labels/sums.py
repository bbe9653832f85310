"""Sums over a window of the output layer's values by class, unit and role.

Role ``yes`` is a unit whose sample has its class, ``no`` one whose sample has
not; in a regression the roles are ``prediction`` and ``target``. May import
NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actrace.capture.labels.targets import Labelling
from actrace.store.axis import Axis
from actrace.store.schema import MAX_MATRIX_CLASSES

__all__ = ["LabelledSums"]

_Cells: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
#: Memory that windows which close together may take.
_BYTES: Final = 8 * 2**20


def _cells(windows: int, rows: int, n_bins: int) -> _Cells:
    """Return counts (window, row, role, shifted bin) and sums (window, row, role, 2).

    Shifted bin 0 is underflow, ``n_bins + 1`` overflow, ``n_bins + 2`` what is
    not finite; the sums are those of x and of x squared.
    """
    shape = windows, rows, 2
    return np.zeros((*shape, n_bins + 3), np.int64), np.zeros((*shape, 2))


def _moments(
    n: NDArray[Any], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        spread = np.sqrt(np.maximum(squares / n - mean * mean, 0.0))
    return mean, np.where(n > 0, spread, np.nan)


class LabelledSums:
    """The open window of an output group, and those that follow it.

    Windows are numbered from the open one, 0, so that those that close in a run of
    batches are written together.

    Parameters
    ----------
    labels : Labelling
    axis : Axis
    compiled : bool
        Count with Numba rather than NumPy.

    Attributes
    ----------
    most : int
        Windows that may be added to before some are forgotten.
    """

    def __init__(self, labels: Labelling, axis: Axis, *, compiled: bool) -> None:
        name = "label_counts" if compiled else "label_counts_plain"
        self._count: Any = import_module(f"actrace.capture.kernels.{name}")
        self._labels = labels
        self._finder = self._count.Finder(axis)
        self._n_bins = axis.n_bins
        n_classes, n_units = len(labels.classes), labels.n_units
        window = 8 * 2 * (n_units + n_classes) * (axis.n_bins + 3)
        self.most = max(2, min(64, _BYTES // window))
        self._make(1)

    def find(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the bins of outputs, for `add`."""
        bins: NDArray[np.int32] = self._finder.find(np.ascontiguousarray(values))
        return bins

    def add(
        self,
        values: NDArray[np.float64],
        bins: NDArray[np.int32],
        target: NDArray[Any],
        window: int = 0,
    ) -> None:
        """Add outputs and their targets, as `Labelling.read` returns them, to a window.

        Parameters
        ----------
        values, target
        bins : ndarray, shape of `values`
            From `find`.
        window : int
            Below `most`.
        """
        if window >= len(self._totals):
            self._make(window + 1)
        labels, count, at = self._labels, self._count, window
        values = np.ascontiguousarray(values)
        target = np.ascontiguousarray(target)
        units = self._units[0][at], self._units[1][at]
        if labels.task == "regression":
            found = self._finder.find(target)
            count.regression(values, bins, target, found, units, self._squared[at])
            return
        classes = self._classes[0][at], self._classes[1][at]
        common = (units, classes, self._totals[at], self._matrix[at])
        if labels.task == "single-label":
            count.single_label(values, bins, target, *common, self._confusion[at])
        elif labels.task == "binary":
            count.binary(values, bins, target, labels.threshold, *common)
        else:
            count.multi_label(values, bins, target, labels.threshold, *common)

    def take(self, n: int = 1) -> dict[str, NDArray[Any]]:
        """Return copies of the first `n` windows, as `values`, and forget them."""
        values = {name: array.copy() for name, array in self.values(n).items()}
        self.forget(n)
        return values

    def values(self, n: int = 1) -> dict[str, NDArray[Any]]:
        """Return the first `n` windows by the schema's names, window first.

        Partly views, good until something is added or forgotten.
        """
        if n > len(self._totals):
            self._make(n)
        values = self._by("by_unit", self._units, n)
        if self._labels.task == "regression":
            values["squared_error"] = self._squared[:n]
        else:
            values |= self._by("by_class", self._classes, n)
            values["samples"] = self._totals[:n, :, 0]
            values["correct"] = self._totals[:n, :, 1]
            if self._matrix.shape[1]:
                count, total, squares = np.moveaxis(self._matrix[:n], -1, 0)
                values["output_mean"], values["output_std"] = _moments(count, total, squares)
            if self._confusion.shape[1]:
                values["confusion"] = self._confusion[:n]
        return values

    def forget(self, n: int = 1) -> None:
        """Forget the first `n` windows; the next is the open one, and none is beyond it."""
        for array in self._arrays():
            if n < len(array):
                array[0] = array[n]
            array[int(n < len(array)) : n + 1].fill(0)

    def clear(self) -> None:
        """Forget every window."""
        for array in self._arrays():
            array.fill(0)

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return (
            *self._units,
            *self._classes,
            self._totals,
            self._matrix,
            self._confusion,
            self._squared,
        )

    def _make(self, windows: int) -> None:
        """Have room for so many windows, keeping what is in them."""
        labels, n_bins = self._labels, self._n_bins
        had = self._arrays() if hasattr(self, "_totals") else ()
        n_classes, n_units = len(labels.classes), labels.n_units
        small = 0 < max(n_classes, n_units) <= MAX_MATRIX_CLASSES and n_classes > 0
        single = labels.task == "single-label"
        self._units = _cells(windows, n_units, n_bins)
        self._classes = _cells(windows, n_classes, n_bins)
        self._totals = np.zeros((windows, n_classes, 2), np.int64)
        self._matrix = np.zeros((windows, n_classes if small else 0, n_units, 3))
        of_classes = n_classes if small and single else 0
        self._confusion = np.zeros((windows, of_classes, n_units), np.int64)
        self._squared = np.zeros((windows, n_units))
        for array, before in zip(self._arrays(), had, strict=False):
            array[: len(before)] = before

    def _by(self, suffix: str, cells: _Cells, n: int) -> dict[str, NDArray[Any]]:
        count, sums = cells[0][:n], cells[1][:n]
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
