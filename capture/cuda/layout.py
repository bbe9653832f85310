"""Where the statistics of a batch lie in a row of device memory, and how they are read.

A row is one stretch of 64-bit words: for each layer its counts, tally and sums,
then every unit's activity, then the loss and a mark. Words are integers or, as marked, the
bits of a float64. A row begins as `RowLayout.blank`, and everything a kernel
does to it is an addition, a minimum or a maximum, so calls merge in any order.
Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

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
    NAN,
    NEGINF,
    NORM,
    POSINF,
    SAMPLED,
    SAMPLES,
    Slot,
)

__all__ = [
    "HIGHEST",
    "LOWEST",
    "NORMS",
    "N_EXTRA",
    "SAMPLE_COUNT",
    "SHIFT",
    "SQUARES",
    "TOTAL",
    "TRASH",
    "RowLayout",
    "key_of",
    "value_of",
]

# Words of a layer after its counts and its tally. SHIFT is 0, or 2**32 and the bits
# of the float32 that TOTAL and SQUARES, float64, are taken about. LOWEST and HIGHEST
# are keys (`key_of`). NORMS is the samples' norms added up, float64. TRASH takes
# what must be written somewhere.
SHIFT, TOTAL, SQUARES, LOWEST, HIGHEST, NORMS, SAMPLE_COUNT, TRASH = range(8)
N_EXTRA: Final = 8

_MASK: Final = np.int64(0x7FFF_FFFF_FFFF_FFFF)


def key_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return integers in the order of `values`, float64 of any shape."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    return bits ^ ((bits >> np.int64(63)) & _MASK)


def value_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the float64 values that `key_of` made `keys` of.

    Examples
    --------
    >>> value_of(key_of(np.array([-2.5, 0.0, 3.0]))).tolist()
    [-2.5, 0.0, 3.0]
    """
    return (keys ^ ((keys >> np.int64(63)) & _MASK)).view(np.float64)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Places in a row.

    Attributes
    ----------
    n_bins : int
    units : tuple of int
        Units of each layer, 0 for one whose activity is not counted.
    stride : int
        Words of a layer.
    others : tuple of (int, int)
        Layers with calls of other numbers of units, and these: their activity is
        counted apart.
    partial : bool
        Statistics besides the histogram are of the elements read, see `SlotTable.partial`.
    starts : tuple of int
        Where each layer's units begin.
    other_starts : tuple of int
        Where those of `others` begin.
    loss : int
        Where the loss is, float64.
    mark : int
        Where it says which captured forward was replayed, 0 for none.
    n_words : int
        Of the whole row.
    """

    n_bins: int
    units: tuple[int, ...]
    others: tuple[tuple[int, int], ...] = ()
    partial: bool = False
    stride: int = field(init=False)
    starts: tuple[int, ...] = field(init=False)
    other_starts: tuple[int, ...] = field(init=False)
    loss: int = field(init=False)
    mark: int = field(init=False)
    n_words: int = field(init=False)

    def __post_init__(self) -> None:
        stride = self.n_bins + N_TALLIES + N_EXTRA
        n, sizes = len(self.units), [*self.units, *(size for _, size in self.others)]
        ends = (np.cumsum([0, *sizes]) + stride * n).tolist()
        object.__setattr__(self, "stride", stride)
        object.__setattr__(self, "starts", tuple(ends[:n]))
        object.__setattr__(self, "other_starts", tuple(ends[n:-1]))
        object.__setattr__(self, "loss", ends[-1])
        object.__setattr__(self, "mark", ends[-1] + 1)
        object.__setattr__(self, "n_words", ends[-1] + 2)

    @classmethod
    def of(
        cls,
        n_bins: int,
        units: Sequence[int],
        others: Sequence[tuple[int, int]] = (),
        *,
        partial: bool = False,
    ) -> RowLayout:
        """Return the layout of layers with so many units each."""
        return cls(n_bins, tuple(int(n) for n in units), tuple(others), partial)

    def place(self, layer: int, units: int) -> int:
        """Return where the activity of a call with so many units begins, -1 for nowhere."""
        if self.units[layer] == units:
            return self.starts[layer]
        at = (layer, units)
        return self.other_starts[self.others.index(at)] if at in self.others else -1

    def blank(self) -> NDArray[np.int64]:
        """Return a row with nothing in it, shape (n_words,), int64."""
        row = np.zeros(self.n_words, np.int64)
        extra = self._layers(row)[:, self.n_bins + N_TALLIES :]
        extra[:, LOWEST] = key_of(np.array(np.inf))
        extra[:, HIGHEST] = key_of(np.array(-np.inf))
        row[self.loss : self.mark].view(np.float64)[:] = np.nan
        return row

    def statistics(
        self, row: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return what the layers' slots would have: count, tally and sums.

        Parameters
        ----------
        row : ndarray, shape (n_words,), int64

        Returns
        -------
        count : ndarray, shape (n_layers, n_bins), int64
            A view of the row.
        tally : ndarray, shape (n_layers, N_TALLIES), int64
        sums : ndarray, shape (n_layers, N_SUMS), float64
        """
        layers = self._layers(row)
        n_bins, tallies = self.n_bins, self.n_bins + N_TALLIES
        extra = layers[:, tallies:]
        tally = layers[:, n_bins:tallies].copy()
        floats = extra.copy().view(np.float64)
        read = tally[:, SAMPLED if self.partial else ELEMENTS]
        n = (read - tally[:, NAN] - tally[:, POSINF] - tally[:, NEGINF]).astype(float)
        shift = (extra[:, SHIFT] & np.int64(0xFFFF_FFFF)).astype(np.uint32).view(np.float32)
        total, squares = floats[:, TOTAL], floats[:, SQUARES]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = np.where(n > 0, shift.astype(np.float64) + total / n, 0.0)
            m2 = np.where(n > 0, np.maximum(squares - total * total / n, 0.0), 0.0)
        sums = np.empty((len(layers), N_SUMS))
        sums[:, N_FINITE], sums[:, MEAN], sums[:, M2] = n, mean, m2
        sums[:, MINIMUM] = value_of(extra[:, LOWEST])
        sums[:, MAXIMUM] = value_of(extra[:, HIGHEST])
        sums[:, NORM], sums[:, SAMPLES] = floats[:, NORMS], extra[:, SAMPLE_COUNT]
        return layers[:, :n_bins], tally, sums

    def read(self, row: NDArray[np.int64], slots: Sequence[Slot]) -> None:
        """Put a row into empty slots, one for each layer.

        Parameters
        ----------
        row : ndarray, shape (n_words,), int64
        slots : sequence of Slot
            Their activity is filled where it has the layer's number of units.
        """
        count, tally, sums = self.statistics(row)
        for at, slot in enumerate(slots):
            slot.count[:], slot.tally[:], slot.sums[:] = count[at], tally[at], sums[at]
            if self.units[at] and slot.active.size == self.units[at]:
                slot.active[:] = row[self.starts[at] : self.starts[at] + self.units[at]]

    def loss_of(self, row: NDArray[np.int64]) -> float:
        """Return the loss in a row, NaN where none was put."""
        return float(row[self.loss : self.mark].view(np.float64)[0])

    def mark_of(self, row: NDArray[np.int64]) -> int:
        """Return the mark in a row."""
        return int(row[self.mark])

    def _layers(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        n = len(self.units)
        return row[: n * self.stride].reshape(n, self.stride)
