"""Windows between steps of a training: so many batches each, or from one step to another.

A *step* is the number of training batches before a batch, so it says of the batches
of every phase how far the training was. Imports NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMED", "TRAIN", "StepWindows", "Window", "check_window", "step_windows"]

#: Which batches: of each epoch by name; so many batches in a row; or (start, stop) in steps.
Window = str | int | tuple[int, int]

#: ``chart``: the last quarter of an epoch's batches for phase ``train`` (where the
#: weights move) and all batches of any other. ``epoch``: always all batches.
NAMED: Final = ("chart", "epoch")

TRAIN: Final = "train"


@dataclass(frozen=True, slots=True)
class StepWindows:
    """Where windows begin and end, in steps.

    Attributes
    ----------
    phase : str
        The phase by which windows are counted: ``train``, the first one where there is none.
    length : int or None
        Batches of `phase` in a window; None for one window from step to step.
    edges : ndarray of int64, shape (n_windows + 1,)
        Step of each window's first batch, and the step after the last one's.
    """

    phase: str
    length: int | None
    edges: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def numbers(self, phase: str, step: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the window of each batch of a phase; outside all below 0 or from `len` on.

        A batch of training belongs where its step lies. One of another phase belongs to
        the training that it followed: a validation after the batch of step 99 is at step
        100, and in the window that ends there. Before the first step it is in the first.

        Examples
        --------
        >>> ten = step_windows((0, 10), "train", np.arange(30))
        >>> ten.numbers("train", np.array([0, 9, 10])), ten.numbers("valid", np.array([0, 10, 11]))
        (array([0, 0, 1]), array([0, 0, 1]))
        """
        if self.length is not None and phase == self.phase:
            return np.arange(len(step), dtype=np.int64) // self.length
        if phase == TRAIN:
            return np.searchsorted(self.edges, step, side="right").astype(np.int64) - 1
        edges = self.edges.copy()
        if self.length is not None:
            edges[-1] = np.iinfo(np.int64).max
        if self.length is not None or edges[0] == 0:
            edges[0] = -1
        return np.searchsorted(edges, step, side="left").astype(np.int64) - 1


def check_window(window: Window) -> None:
    """Raise ValueError for what is no window."""
    if isinstance(window, str):
        fits = window in NAMED
    elif isinstance(window, (tuple, list)):
        fits = len(window) == 2 and all(map(_is_number, window)) and 0 <= window[0] < window[1]
    else:
        fits = _is_number(window) and window >= 1
    if not fits:
        raise ValueError(
            f"window must be one of {', '.join(map(repr, NAMED))}, a number of batches from 1, or "
            f"(start, stop) in steps, as (0, 100), got {window!r}"
        )


def step_windows(window: int | tuple[int, int], phase: str, step: NDArray[np.int64]) -> StepWindows:
    """Return the windows that a phase's steps are cut into.

    Parameters
    ----------
    window : int or (int, int)
        Batches of `phase` in each, counted from its first; or start and stop, in steps.
    phase : str
    step : ndarray of int64, shape (n_batches,)
        Of the batches of `phase`, not falling.

    Examples
    --------
    >>> step_windows(4, "train", np.arange(10)).edges
    array([ 0,  4,  8, 10])
    """
    if isinstance(window, (tuple, list)):
        return StepWindows(phase, None, np.array(window, dtype=np.int64))
    last = step[-1:].astype(np.int64) + 1
    edges = np.concatenate([step[:: int(window)].astype(np.int64), last])
    return StepWindows(phase, int(window), edges if len(step) else np.zeros(1, np.int64))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
