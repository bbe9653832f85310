"""Which batches and windows of the ranks of a run belong together.

Ranks never speak with each other while they record, so their batches are
matched afterwards: by the training step, which every rank counts for itself.
The epoch would not do: a rank that alone validates begins an epoch that the
others do not see. Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Alignment", "WindowPlan", "align_batches", "align_windows"]

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where each merged batch is found in each rank.

    Attributes
    ----------
    at : tuple of ndarray of int64, shape (n_batches,)
        One for each rank: the batch's index there, -1 where the rank has it not.
    step, epoch : ndarray of int64, shape (n_batches,)
        The largest of the ranks' own.
    """

    at: tuple[Indices, ...]
    step: Indices
    epoch: Indices

    @property
    def ranks(self) -> NDArray[np.int32]:
        """How many ranks have each batch, shape (n_batches,)."""
        there = np.stack([at >= 0 for at in self.at])
        return np.asarray(there.sum(axis=0), np.int32)


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How the ranks' windows make the merged ones.

    Attributes
    ----------
    first_batch, batches : ndarray of int64, shape (n_windows,)
        Of the merged windows, along the merged batches.
    windows : tuple of ndarray of int64
        For each rank, the indices of its windows that take part, in order.
    lengths : tuple of ndarray of int64, shape (n_windows,)
        For each rank, how many of them each merged window holds; 0 where the
        rank has none of its batches.
    """

    first_batch: Indices
    batches: Indices
    windows: tuple[Indices, ...]
    lengths: tuple[Indices, ...]


def align_batches(steps: Sequence[Indices], epochs: Sequence[Indices]) -> Alignment:
    """Return which batches of the ranks are one.

    A batch is known by its step and its number among those of that step (all
    batches of an evaluation have the same step). Where ranks have epochs of
    different lengths, so that their steps drift apart and their epochs do not,
    it is known by its epoch and its number in the epoch.

    Parameters
    ----------
    steps, epochs : sequence of ndarray of int64, one a rank
        Of each batch, steps never decreasing.

    Examples
    --------
    >>> found = align_batches([np.array([0, 1, 2]), np.array([0, 2])], [np.zeros(3), np.zeros(2)])
    >>> [at.tolist() for at in found.at], found.ranks.tolist()
    ([[0, 1, 2], [0, -1, 1]], [2, 1, 2])
    """
    steps = [np.asarray(step, np.int64) for step in steps]
    epochs = [np.asarray(epoch, np.int64) for epoch in epochs]
    if all(np.array_equal(step, steps[0]) for step in steps):
        whole = np.arange(len(steps[0]), dtype=np.int64)
        return Alignment((whole,) * len(steps), steps[0], np.max(epochs, axis=0))
    leading = epochs if _drifting(steps, epochs) else steps
    keys = [np.stack([lead, _number_within(lead)], axis=-1) for lead in leading]
    merged = np.unique(np.concatenate(keys), axis=0)
    at, step, epoch = [], np.full(len(merged), -1), np.full(len(merged), -1)
    for key, own_step, own_epoch in zip(keys, steps, epochs, strict=True):
        places = _find(merged, key)
        mine = np.full(len(merged), -1, np.int64)
        mine[places] = np.arange(len(key))
        at.append(mine)
        step[places] = np.maximum(step[places], own_step)
        epoch[places] = np.maximum(epoch[places], own_epoch)
    return Alignment(tuple(at), step, epoch)


def align_windows(
    alignment: Alignment, firsts: Sequence[Indices], batches: Sequence[Indices]
) -> WindowPlan:
    """Return the shortest windows that every rank's own add up to.

    A merged window ends where no rank's window goes on. Batches that a rank has
    and that are in none of its windows leave a gap, as a lost window does.

    Parameters
    ----------
    alignment : Alignment
        Of the same ranks.
    firsts, batches : sequence of ndarray of int64, one a rank
        ``first_batch`` and ``batches`` of the rank's windows.
    """
    n = len(alignment.step)
    inside = np.zeros(n + 2, np.int64)
    spans = []
    for at, first, length in zip(alignment.at, firsts, batches, strict=True):
        # Rows of a rank stand in order, so these are their places among all.
        places = np.flatnonzero(at >= 0)
        fits = (first >= 0) & (length > 0) & (first + length <= len(places))
        kept = np.flatnonzero(fits)
        start, stop = places[first[kept]], places[first[kept] + length[kept] - 1] + 1
        np.add.at(inside, start + 1, 1)
        np.add.at(inside, stop, -1)
        spans.append((kept, start, length[kept]))
    bounds = np.flatnonzero(np.cumsum(inside)[: n + 1] == 0)
    n_spans = len(bounds) - 1
    whole, some = np.ones(n_spans, bool), np.zeros(n_spans, bool)
    numbers = []
    for at, (_, start, length) in zip(alignment.at, spans, strict=True):
        own = np.searchsorted(bounds, start, side="right") - 1
        covered = np.bincount(own, weights=length, minlength=n_spans).astype(np.int64)
        there = np.diff(np.concatenate([[0], np.cumsum(at >= 0)])[bounds])
        whole &= covered == there
        some |= covered > 0
        numbers.append(own)
    kept_spans = np.flatnonzero(whole & some)
    windows, lengths = [], []
    for own, (kept, _, _) in zip(numbers, spans, strict=True):
        part = np.isin(own, kept_spans)
        windows.append(kept[part])
        lengths.append(np.bincount(own[part], minlength=n_spans)[kept_spans].astype(np.int64))
    return WindowPlan(
        bounds[kept_spans], np.diff(bounds)[kept_spans], tuple(windows), tuple(lengths)
    )


def _drifting(steps: Sequence[Indices], epochs: Sequence[Indices]) -> bool:
    """Return whether the ranks' epochs agree and the steps at which they begin do not.

    A gap in one rank's steps, as a kill leaves, is no drift.
    """
    if not all(len(step) for step in steps) or any(np.any(np.diff(e) < 0) for e in epochs):
        return False
    found = [np.unique(epoch, return_index=True) for epoch in epochs]
    if not all(np.array_equal(values, found[0][0]) for values, _ in found):
        return False
    begins = [step[starts] for step, (_, starts) in zip(steps, found, strict=True)]
    if len(begins[0]) < 2 or all(int(begin[-1]) == int(begins[0][-1]) for begin in begins):
        return False
    # Steps of a training go up one by one, also from epoch to epoch; those of an
    # evaluation stand still.
    going = all(np.all(np.diff(step) > 0) for step in steps)
    if going and any(int(begin[0]) != int(begins[0][0]) for begin in begins):
        return False
    jumps = {
        int(np.diff(step)[going | (np.diff(epoch) == 0)].max(initial=0))
        for step, epoch in zip(steps, epochs, strict=True)
    }
    return len(jumps) == 1


def _number_within(values: Indices) -> Indices:
    """Return each entry's number among its equals, for values that never decrease."""
    new = np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.zeros(0, bool)
    starts = np.flatnonzero(new)
    return np.arange(len(values)) - starts[np.cumsum(new) - 1] if len(values) else values


def _find(rows: Indices, wanted: Indices) -> Indices:
    """Return where each wanted pair stands among sorted rows that hold all of them."""
    span = int(rows[:, 1].max(initial=0)) + 1
    return np.searchsorted(rows[:, 0] * span + rows[:, 1], wanted[:, 0] * span + wanted[:, 1])
