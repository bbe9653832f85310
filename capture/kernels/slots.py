"""Where a kernel adds up what it reads: the slot of one layer and one batch.

A slot starts as the identity (`Slot.clear`) and every call of the layer is
merged into it, so one call on a whole tensor and several on its parts give the
same counts. Imports NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CALLS",
    "ELEMENTS",
    "M2",
    "MAXIMUM",
    "MEAN",
    "MINIMUM",
    "NAN",
    "NEGINF",
    "NORM",
    "N_FINITE",
    "N_SUMS",
    "N_TALLIES",
    "OVERFLOW",
    "POSINF",
    "SAMPLED",
    "SAMPLES",
    "UNDERFLOW",
    "ZERO",
    "Shape",
    "Slot",
]

#: (samples, outer, units, inner): how a flat tensor in memory order is read.
Shape = tuple[int, int, int, int]

# Columns of `Slot.tally`: the counters in the order of `schema.COUNTERS`, and how
# many elements entered the histogram.
UNDERFLOW, OVERFLOW, NAN, POSINF, NEGINF, ZERO, ELEMENTS, CALLS, SAMPLED = range(9)
N_TALLIES = 9

# Columns of `Slot.sums`: finite elements, their mean, sum of squared deviations
# and extremes; the sum of the samples' norms and the number of samples.
N_FINITE, MEAN, M2, MINIMUM, MAXIMUM, NORM, SAMPLES = range(7)
N_SUMS = 7


@dataclass(slots=True)
class Slot:
    """Sums over the calls of one layer in one batch.

    Attributes
    ----------
    count : ndarray, shape (n_bins,), int64
        Elements per bin.
    tally : ndarray, shape (9,), int64
        Counters in the order of `schema.COUNTERS`, then `SAMPLED`: the elements that
        entered the histogram, all of them unless sampled (see `sampling`).
    sums : ndarray, shape (7,), float64
        See `N_FINITE` and its neighbours.
    active : ndarray, shape (n_units,), int64
        Active elements per unit.
    """

    count: NDArray[np.int64]
    tally: NDArray[np.int64]
    sums: NDArray[np.float64]
    active: NDArray[np.int64]

    @classmethod
    def empty(cls, n_bins: int, n_units: int) -> Slot:
        """Return a slot with nothing in it."""
        slot = cls(
            count=np.zeros(n_bins, np.int64),
            tally=np.zeros(N_TALLIES, np.int64),
            sums=np.zeros(N_SUMS),
            active=np.zeros(n_units, np.int64),
        )
        clear_sums(slot.sums)
        return slot

    def clear(self) -> None:
        """Make the slot empty again."""
        self.count.fill(0)
        self.tally.fill(0)
        clear_sums(self.sums)
        self.active.fill(0)


def clear_sums(sums: NDArray[np.float64]) -> None:
    """Set `sums`, shape (..., 7), to those of no element."""
    sums.fill(0.0)
    sums[..., MINIMUM] = np.inf
    sums[..., MAXIMUM] = -np.inf


def merge_moments(
    sums: NDArray[np.float64], n: float, mean: float, m2: float, low: float, high: float
) -> None:
    """Merge the moments of `n` more elements into `sums`, shape (7,).

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances" (1979), eq. 2.1.
    """
    if n == 0:
        return
    before = float(sums[N_FINITE])
    total = before + n
    sums[N_FINITE] = total
    if before == 0:
        sums[MEAN], sums[M2] = mean, m2
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            delta = np.float64(mean) - sums[MEAN]
            sums[MEAN] += delta * (n / total)
            sums[M2] += m2 + delta * delta * (before * (n / total))
    sums[MINIMUM] = min(sums[MINIMUM], low)
    sums[MAXIMUM] = max(sums[MAXIMUM], high)
