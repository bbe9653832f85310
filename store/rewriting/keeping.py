"""Which batches of a run a thinning keeps whole, in which layers.

Only what a level stands for is ever thinned, by whole columns of the finest level,
so that every batch is there by itself or in a column all of whose batches are
thinned. Columns that an epoch's end falls into are kept, and for training those
that the beginning of an epoch's last quarter falls into: the sums over an epoch
and over the window of the charts are then those of the whole run. Imports NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.checking.lost import Lost
from actrace.store.levels.ladder import FIRST

__all__ = ["Keeping", "thinned_batches"]

_TRAIN: Final = "train"


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the user wants to keep; a cell that all of them name is kept.

    Attributes
    ----------
    epochs : tuple of int or None
        Below 0 from the end: -1 is the run's last. None is all of them.
    steps : (int or None, int or None) or None
        Training steps, ``first <= step < stop``; None is all of them.
    layers : tuple of str or None
        Names or shell patterns; None is all of them.
    """

    epochs: tuple[int, ...] | None = None
    steps: tuple[int | None, int | None] | None = None
    layers: tuple[str, ...] | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing was named, and so nothing is kept for its own sake."""
        return self.epochs is None and self.steps is None and self.layers is None

    def batches(
        self, step: NDArray[np.int64], epoch: NDArray[np.int64], last_epoch: int
    ) -> NDArray[np.bool_]:
        """Return which batches of a phase are kept.

        Parameters
        ----------
        step, epoch : ndarray, shape (n,)
            Of the phase's batches.
        last_epoch : int
            Of the whole run.
        """
        kept = np.full(len(step), not self.nothing)
        if self.epochs is not None:
            wanted = [e if e >= 0 else last_epoch + 1 + e for e in self.epochs]
            kept &= np.isin(epoch, wanted)
        if self.steps is not None:
            first, stop = self.steps
            kept &= step >= (0 if first is None else first)
            if stop is not None:
                kept &= step < stop
        return kept


def thinned_batches(
    phase: str,
    epoch: NDArray[np.int64],
    kept: NDArray[np.bool_],
    columns: int,
    lost: Iterable[Lost],
) -> NDArray[np.bool_]:
    """Return which batches of a phase are thinned in a layer.

    Parameters
    ----------
    phase : str
    epoch : ndarray, shape (n,)
    kept : ndarray of bool, shape (n,)
        What was asked for.
    columns : int
        Of the finest level.
    lost : iterable of Lost
        Batches that a repair has marked, by themselves or in the level; the one
        cannot stand for the other there.
    """
    n = len(epoch)
    # The last batch stays, so that the end of the array is always a recorded row.
    whole = max(0, min(columns, (n - 1) // FIRST))
    stay = kept.copy()
    for at in _cuts(phase, epoch):
        if at % FIRST:
            stay[at] = True
    for one in lost:
        stay[one.start : one.stop] = True
    thinned = np.zeros(n, bool)
    by_column = ~stay[: whole * FIRST].reshape(whole, FIRST).any(axis=1)
    thinned[: whole * FIRST] = np.repeat(by_column, FIRST)
    return thinned


def _cuts(phase: str, epoch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the batches that a window of a chart begins with."""
    begins = np.flatnonzero(np.diff(epoch)) + 1
    if phase != _TRAIN:
        return begins.astype(np.int64)
    order = np.argsort(epoch, kind="stable")
    _, starts, many = np.unique(epoch[order], return_index=True, return_counts=True)
    return np.concatenate([begins, order[starts + 3 * many // 4]]).astype(np.int64)
