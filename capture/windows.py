"""How long a window of the output and unit groups is, and when it ends.

A window is closed once and never changed. It has a length that keeps its group
smaller than the main one, stays short against a quarter of an epoch, and ends
with its epoch and at every commit. Lengths are powers of two and ends are
multiples of them, so that windows of several processes, which commit at other
moments, soon end together again. Imports the standard library alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["EpochLengths", "WindowSpan", "output_length", "unit_length", "window_parts"]

#: A window is at most this part of an epoch: four to a quarter of one.
EPOCH_PART = 16


def _power_of_two(least: float) -> int:
    """Return the smallest power of two that is at least `least`, and at least 1."""
    length = 1
    while length < least:
        length *= 2
    return length


def output_length(n_classes: int, n_layers: int) -> int:
    """Return the target length of the output group's windows, in batches.

    Examples
    --------
    >>> output_length(10, 8), output_length(1000, 50)
    (8, 128)
    """
    return _power_of_two(4 * n_classes / max(n_layers, 1))


def unit_length(n_units: int, n_layers: int, n_bins: int) -> int:
    """Return the target length of the unit group's windows, in batches.

    Examples
    --------
    >>> unit_length(5000, 20, 512)
    2
    """
    return _power_of_two(4 * n_units / max(n_layers * n_bins, 1))


@dataclass(slots=True)
class EpochLengths:
    """Counts each phase's batches by epoch, to know how long one is.

    Attributes
    ----------
    before : dict of str to int
        Batches in the phase's previous epoch, where there was one.
    seen : dict of str to int
        Batches in its current epoch so far.
    epoch : dict of str to int
    batches : dict of str to int
        Batches in all.
    """

    before: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    epoch: dict[str, int] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)

    def add(self, phase: str, epoch: int) -> tuple[int, int]:
        """Count one more batch; return its number in the phase and what `limit` is with it."""
        if self.epoch.get(phase, epoch) != epoch:
            self.before[phase] = self.seen[phase]
            self.seen[phase] = 0
        self.epoch[phase] = epoch
        self.seen[phase] = self.seen.get(phase, 0) + 1
        self.batches[phase] = self.batches.get(phase, 0) + 1
        return self.batches[phase], self.limit(phase)

    def limit(self, phase: str) -> int:
        """Return how many batches a window of `phase` may span now, a power of two."""
        length = self.before.get(phase, self.seen.get(phase, 0))
        return 1 << (max(1, length // EPOCH_PART).bit_length() - 1)


@dataclass(slots=True)
class WindowSpan:
    """The batches of the window that is open now; none if `batches` is 0."""

    epoch: int = 0
    batches: int = 0

    def add(self, epoch: int, batches: int) -> None:
        """Take in more batches."""
        self.epoch = epoch
        self.batches += batches

    def close(self) -> tuple[int, int]:
        """Return its epoch and number of batches, and begin the next."""
        batches, self.batches = self.batches, 0
        return self.epoch, batches


def window_parts(limits: Sequence[tuple[int, int]], wanted: int) -> list[tuple[int, int, bool]]:
    """Return (start, stop, whether a window ends there) of batches that follow each other.

    Parameters
    ----------
    limits : sequence of (int, int)
        Of each batch: its number in the phase, and how many batches a window may span.
    wanted : int
        The windows' target length, a power of two.

    Examples
    --------
    >>> window_parts([(3, 8), (4, 8), (5, 8)], 4)
    [(0, 2, True), (2, 3, False)]
    """
    found: list[tuple[int, int, bool]] = []
    start = 0
    for stop, (number, limit) in enumerate(limits, 1):
        if number % min(wanted, limit) == 0:
            found.append((start, stop, True))
            start = stop
    if start < len(limits):
        found.append((start, len(limits), False))
    return found
