"""The slots of many rows, side by side in a few arrays.

Made once when the rows are known; then clearing them and writing them into a
row of the store are a few operations on whole arrays. Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.capture.kernels.slots import (
    M2,
    MAXIMUM,
    MEAN,
    MINIMUM,
    N_FINITE,
    N_SUMS,
    N_TALLIES,
    NORM,
    SAMPLES,
    Slot,
    clear_sums,
)
from actrace.store.schema import MOMENTS

__all__ = ["MOMENT", "SlotTable"]

#: Name of a moment -> its row in the store's array of moments.
MOMENT: Final = {variable.name: at for at, variable in enumerate(MOMENTS)}


class SlotTable:
    """Slots of a fixed number of rows.

    Parameters
    ----------
    n_bins : int
    units : sequence of int
        Units of each row, 0 for a row whose activity is kept elsewhere.

    Attributes
    ----------
    slots : tuple of Slot
        One a row, views of the arrays below.
    active : ndarray, shape (sum of units,), int64
        The rows' activity, end to end.
    spans : list of (int, int)
        Where each row's units begin and end in `active`.
    """

    def __init__(self, n_bins: int, units: Sequence[int]) -> None:
        n = len(units)
        self._count = np.zeros((n, n_bins), np.int64)
        self._tally = np.zeros((n, N_TALLIES), np.int64)
        self._sums = np.zeros((n, N_SUMS))
        clear_sums(self._sums)
        self.active = np.zeros(sum(units), np.int64)
        ends = np.cumsum([0, *units]).tolist()
        self.spans: list[tuple[int, int]] = list(pairwise(ends))
        self.slots = tuple(
            Slot(self._count[at], self._tally[at], self._sums[at], self.active[start:stop])
            for at, (start, stop) in enumerate(self.spans)
        )
        self._with_units = np.array([i for i, (a, b) in enumerate(self.spans) if b > a], np.intp)
        self._starts = np.array([a for a, b in self.spans if b > a], np.intp)
        self._n_units = np.array([b - a for a, b in self.spans if b > a], np.int64)

    def clear(self) -> None:
        """Make every slot empty again."""
        self._count.fill(0)
        self._tally.fill(0)
        clear_sums(self._sums)
        self.active.fill(0)

    def fill(
        self,
        count: NDArray[np.uint64],
        counters: NDArray[np.uint64],
        moments: NDArray[np.float64],
        total: NDArray[np.float64],
    ) -> None:
        """Write what the slots hold into the arrays of a row of the store.

        Parameters
        ----------
        count : ndarray, shape (n, n_bins)
        counters : ndarray, shape (at most 8, n)
            In the order of `schema.COUNTERS`, as many of them as wanted.
        moments : ndarray, shape (len(schema.MOMENTS), n)
            Rates are left as they are for rows without units.
        total : ndarray, shape (n,)
            Elements that each unit of a row had.
        """
        np.copyto(count, self._count, casting="unsafe")
        np.copyto(counters, self._tally.T[: len(counters)], casting="unsafe")
        sums = self._sums
        n = sums[:, N_FINITE]
        some = n > 0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            spread = np.sqrt(sums[:, M2] / n)
            # Squares beyond float64 leave no number; the spread is beyond it too.
            spread[np.isnan(spread)] = np.inf
            columns: dict[str, NDArray[Any]] = {
                "mean": sums[:, MEAN],
                "std": spread,
                "min": sums[:, MINIMUM],
                "max": sums[:, MAXIMUM],
                "norm": sums[:, NORM] / sums[:, SAMPLES],
            }
        for name, column in columns.items():
            moments[MOMENT[name]] = np.where(some, column, np.nan)
        at = self._with_units
        if at.size:
            n_units = self._n_units
            active = np.add.reduceat(self.active, self._starts)
            dead = np.add.reduceat(self.active == 0, self._starts, dtype=np.int64)
            with np.errstate(invalid="ignore", divide="ignore"):
                moments[MOMENT["activation_rate"], at] = active / (total[at] * n_units)
                moments[MOMENT["death_rate"], at] = np.where(total[at] > 0, dead / n_units, np.nan)
