"""When units died and came back, from their activity in windows. Imports NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Lifetimes", "lifetimes"]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What became of units over the windows in which they were called.

    Attributes
    ----------
    windows, dead_windows : ndarray, shape (...), int64
        Windows in which the unit was called, and those of them without activity.
    died, recovered : ndarray, shape (...), int64
        Index of the first window of the death that lasts to the end, and of the last
        window that ended a death; -1 where there is none.
    revivals : ndarray, shape (...), int64
        Times that activity came back.
    """

    windows: NDArray[np.int64]
    dead_windows: NDArray[np.int64]
    died: NDArray[np.int64]
    recovered: NDArray[np.int64]
    revivals: NDArray[np.int64]


def lifetimes(active: ArrayLike, total: ArrayLike) -> Lifetimes:
    """Return when units died and came back.

    A unit is dead in a window in which it was called and none of its elements was
    active. Windows in which it was not called change nothing.

    Parameters
    ----------
    active, total : array, shape (..., n_windows)
        Active and all elements of each unit, window by window in their order.

    Examples
    --------
    >>> found = lifetimes([3, 0, 2, 0, 0], [4, 4, 4, 4, 4])
    >>> int(found.died), int(found.recovered), int(found.revivals), int(found.dead_windows)
    (3, 2, 1, 3)
    """
    called = np.asarray(total) > 0
    alive = called & (np.asarray(active) > 0)
    n = called.shape[-1]
    at = np.arange(n)
    if n == 0:
        none = np.full(called.shape[:-1], -1, np.int64)
        zero = np.zeros(called.shape[:-1], np.int64)
        return Lifetimes(zero, zero, none, none, zero)
    # The window before, of those in which the unit was called.
    last = np.maximum.accumulate(np.where(called, at, -1), axis=-1)
    before = np.concatenate([np.full((*last.shape[:-1], 1), -1), last[..., :-1]], axis=-1)
    was_alive = np.take_along_axis(alive, np.maximum(before, 0), axis=-1)
    revived = alive & (before >= 0) & ~was_alive
    last_alive = np.where(alive, at, -1).max(axis=-1)
    silent = called & (at > last_alive[..., np.newaxis])
    return Lifetimes(
        windows=called.sum(axis=-1),
        dead_windows=(called & ~alive).sum(axis=-1),
        died=np.where(silent.any(axis=-1), silent.argmax(axis=-1), -1),
        recovered=np.where(revived, at, -1).max(axis=-1),
        revivals=revived.sum(axis=-1),
    )
