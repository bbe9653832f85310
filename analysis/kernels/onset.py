"""From which epoch on did a training overfit, or two phases differ. Imports NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Parting", "find_parting", "first_stretch"]


@dataclass(frozen=True, slots=True)
class Parting:
    """Where validation turned while training went on, as indices into the epochs.

    Attributes
    ----------
    best : int
        Where the validation's error is least.
    onset, confirmed : int or None
        The epoch after it, and the one in which patience was over; None where
        validation never got worse by enough for long enough.
    """

    best: int
    onset: int | None
    confirmed: int | None


def find_parting(
    train: ArrayLike, valid: ArrayLike, band: ArrayLike, *, patience: int, rise: float
) -> Parting:
    """Return where validation turned for the worse while training went on.

    After the epoch in which validation was best, its error must lie above the least
    by the share `rise`, the gap to training's must have grown by more than `band`, and
    training's must not have grown by more than that, in `patience` epochs in a row.
    What counts is how the gap grows, not how large it is: dropout, augmentation and
    wrong labels make training look worse than validation all along.

    Parameters
    ----------
    train, valid : array, shape (n_epochs,), n_epochs at least 1, finite
        Errors, 0 or more: the less the better.
    band : array, shape (n_epochs,)
        How far errors of two windows of training differ by chance; NaN where it is
        not known, which is taken as the largest that is, or 0.
    patience : int, at least 1
    rise : float, at least 0

    References
    ----------
    Prechelt (1998), Early stopping - but when?, LNCS 1524:55: `rise` is his
    generalization loss, patience his UP.

    Examples
    --------
    >>> find_parting([3, 2, 1, 0.5, 0.2], [3, 2, 2.5, 3, 4], [0.1] * 5, patience=2, rise=0.05)
    Parting(best=1, onset=2, confirmed=3)
    """
    a, b = np.asarray(train, dtype=np.float64), np.asarray(valid, dtype=np.float64)
    chance = np.asarray(band, dtype=np.float64)
    known = chance[~np.isnan(chance)]
    chance = np.where(np.isnan(chance), known.max(initial=0.0), chance)
    best = int(b.argmin())
    worse = b > b[best] * (1 + rise)
    apart = (b - a) - (b[best] - a[best]) > chance
    trains = a <= a[best] + chance
    held = worse & apart & trains & (np.arange(len(b)) > best)
    first = first_stretch(held, patience)
    if first is None:
        return Parting(best, None, None)
    return Parting(best, best + 1, first + patience - 1)


def first_stretch(held: ArrayLike, length: int) -> int | None:
    """Return where `held` first is true `length` times in a row, None if nowhere.

    Examples
    --------
    >>> first_stretch([True, False, True, True], 2)
    2
    """
    so_far = 0
    values: NDArray[np.bool_] = np.asarray(held, dtype=bool)
    for at, value in enumerate(values):
        so_far = so_far + 1 if value else 0
        if so_far == length:
            return at - length + 1
    return None
