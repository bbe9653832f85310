"""The slots of many layers, side by side in a few arrays, for one batch or several.

Made once when the layers are known; then clearing them and turning them into
what the store takes are a few operations on whole arrays. Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.capture.kernels.slots import (
    ELEMENTS,
    M2,
    MAXIMUM,
    MEAN,
    MINIMUM,
    N_FINITE,
    N_SUMS,
    N_TALLIES,
    NORM,
    SAMPLED,
    SAMPLES,
    Slot,
    clear_sums,
)
from actrace.store.schema import COUNTERS, MOMENTS

__all__ = ["MOMENT", "SlotTable"]

#: Name of a moment -> its row in the store's array of moments.
MOMENT: Final = {variable.name: at for at, variable in enumerate(MOMENTS)}


class SlotTable:
    """Slots of a fixed number of layers, for each of `n_rows` batches.

    Parameters
    ----------
    n_bins : int
    units : sequence of int
        Units of each layer, 0 for one whose activity is kept elsewhere.
    n_rows : int, default 1

    Attributes
    ----------
    n_rows : int
    partial : bool
        Not all elements were read, and everything but their number is of those that were.
    count : ndarray, shape (n_rows, n, n_bins), int64
    tally : ndarray, shape (n_rows, n, N_TALLIES), int64
    sums : ndarray, shape (n_rows, n, N_SUMS), float64
    active : ndarray, shape (n_rows, sum of units), int64
        The layers' activity, end to end.
    units : ndarray, shape (n,), int64
    spans : list of (int, int)
        Where each layer's units begin and end in `active`.
    """

    def __init__(self, n_bins: int, units: Sequence[int], n_rows: int = 1) -> None:
        n = len(units)
        self.n_rows = n_rows
        self.partial = False
        self.count = np.zeros((n_rows, n, n_bins), np.int64)
        self.tally = np.zeros((n_rows, n, N_TALLIES), np.int64)
        self.sums = np.zeros((n_rows, n, N_SUMS))
        clear_sums(self.sums)
        self.active = np.zeros((n_rows, sum(units)), np.int64)
        self.units = np.array(units, np.int64)
        ends = np.cumsum([0, *units]).tolist()
        self.spans: list[tuple[int, int]] = list(pairwise(ends))
        self._slots: list[tuple[Slot, ...] | None] = [None] * n_rows
        self._with_units = np.flatnonzero(self.units)
        self._starts = np.array([start for start, stop in self.spans if stop > start], np.intp)

    def slots(self, row: int = 0) -> tuple[Slot, ...]:
        """Return the slots of one batch, views of the arrays."""
        found = self._slots[row]
        if found is None:
            found = self._slots[row] = tuple(
                Slot(
                    self.count[row, at],
                    self.tally[row, at],
                    self.sums[row, at],
                    self.active[row, start:stop],
                )
                for at, (start, stop) in enumerate(self.spans)
            )
        return found

    def clear(self, start: int = 0, stop: int = 1) -> None:
        """Make the slots of batches `start` to `stop` empty again."""
        self.count[start:stop].fill(0)
        self.tally[start:stop].fill(0)
        clear_sums(self.sums[start:stop])
        self.active[start:stop].fill(0)

    def total(self, start: int = 0, stop: int = 1) -> NDArray[np.int64]:
        """Return how many elements of each unit were looked at, shape (stop - start, n).

        Where a part was read: how many on average.
        """
        read = SAMPLED if self.partial else ELEMENTS
        return self.tally[start:stop, :, read] // np.maximum(self.units, 1)

    def sampled(self, start: int = 0, stop: int = 1) -> NDArray[np.int64]:
        """Return how many elements entered the histograms, shape (stop - start, n)."""
        return self.tally[start:stop, :, SAMPLED]

    def counters(self, start: int = 0, stop: int = 1) -> NDArray[np.int64]:
        """Return a view of the counters in the order of the schema, shape (8, batches, n)."""
        return np.moveaxis(self.tally[start:stop, :, : len(COUNTERS)], -1, 0)

    def moments(
        self, start: int = 0, stop: int = 1, total: NDArray[Any] | None = None
    ) -> NDArray[np.float64]:
        """Return the moments in the order of the schema, shape (7, batches, n).

        Parameters
        ----------
        start, stop : int
        total : ndarray, shape (stop - start, n), optional
            Elements that each unit of a layer had, where that is not `total`.

        Returns
        -------
        ndarray, float64
            Rates are NaN for layers without units.
        """
        sums = self.sums[start:stop]
        found = np.full((len(MOMENTS), *sums.shape[:2]), np.nan)
        n = sums[..., N_FINITE]
        some = n > 0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            spread = np.sqrt(sums[..., M2] / n)
            # Squares beyond float64 leave no number; the spread is beyond it too.
            spread[np.isnan(spread)] = np.inf
            norm = sums[..., NORM] / sums[..., SAMPLES]
            columns: tuple[tuple[str, NDArray[Any]], ...] = (
                ("mean", sums[..., MEAN]),
                ("std", spread),
                ("min", sums[..., MINIMUM]),
                ("max", sums[..., MAXIMUM]),
                ("norm", norm),
            )
            for name, column in columns:
                np.copyto(found[MOMENT[name]], column, where=some)
            at = self._with_units
            if at.size:
                units = self.units[at]
                seen: NDArray[Any]
                if total is not None:
                    seen = total[:, at]
                elif self.partial:
                    seen = self.sampled(start, stop)[:, at] / units
                else:
                    seen = self.total(start, stop)[:, at]
                rows = self.active[start:stop]
                active = np.add.reduceat(rows, self._starts, axis=1)
                dead = np.add.reduceat(rows == 0, self._starts, axis=1, dtype=np.int64)
                found[MOMENT["activation_rate"]][:, at] = active / (seen * units)
                found[MOMENT["death_rate"]][:, at] = np.where(seen > 0, dead / units, np.nan)
        return found
