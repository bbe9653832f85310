"""What recording may cost, what it does cost, and what is given up to keep to it.

A `Governor` is told what recording has cost so far and picks a level: one block in so
many is read of a batch, and one batch in so many is recorded. Decisions depend on the
clock and the costs told alone. Imports the standard library alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["EVERIES", "STRIDES", "Governor", "Level", "Spent", "levels_of"]

#: What is chosen from: one block in so many is read. Odd, so that no layout of channels
#: beats with the choice.
STRIDES: Final = (1, 5, 17, 65, 257)
#: And: one batch in so many is recorded.
EVERIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: Recorded batches between two decisions.
_EVERY: Final = 16
#: Batches before the first: caches and allocators warm up.
_WARM_UP: Final = 4
#: A finer level is taken where it would stay below this part of the wanted share, ...
_SLACK: Final = 0.7
#: ... at so many decisions in a row, so that one quiet moment is not enough.
_PATIENCE: Final = 2
#: Batches that the writer's cost is averaged over, at least: it takes many at once, and
#: commits seldom.
_MEMORY: Final = 512
#: The share is missed where it was exceeded by this factor at so many decisions in a row
#: with nothing left to give up.
_MISSED_BY: Final = 1.25
_MISSED_TIMES: Final = 8


@dataclass(frozen=True, slots=True)
class Level:
    """How much is recorded.

    Attributes
    ----------
    stride : int
        One block in so many is read.
    every : int
        One batch in so many is recorded.
    """

    stride: int = 1
    every: int = 1


def levels_of(*, reads: bool, batches: bool) -> tuple[Level, ...]:
    """Return the levels that may be picked, the finest first.

    Parameters
    ----------
    reads, batches : bool
        Whether parts of batches, and whole ones, may be left out. All batches are kept as
        long as reading less of them is enough.
    """
    strides = STRIDES if reads else (1,)
    everies = EVERIES[1:] if batches else ()
    return (*(Level(n, 1) for n in strides), *(Level(strides[-1], n) for n in everies))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds that recording took, by what took them.

    Attributes
    ----------
    training : float
        In the training's thread: hooks, kernels, beginnings and ends of batches.
    calling : float
        In the training's thread: torch's calling of the hooks, estimated.
    writer : float
        Processor time of the writer's thread. Where the training leaves a core idle it
        costs less than that; on a busy machine it does not.
    """

    training: float = 0.0
    calling: float = 0.0
    writer: float = 0.0

    @property
    def whole(self) -> float:
        """All of it."""
        return self.training + self.calling + self.writer

    def __sub__(self, other: Spent) -> Spent:
        return Spent(
            self.training - other.training,
            self.calling - other.calling,
            self.writer - other.writer,
        )

    def over(self, seconds: float) -> Spent:
        """Return its parts as shares of so many seconds."""
        return Spent(self.training / seconds, self.calling / seconds, self.writer / seconds)


class Governor:
    """Picks the finest level that keeps the whole cost of recording under a share.

    A step is the median time from one batch to the next, less what recording took of it:
    what a training does now and then (a checkpoint, a pause) is no part of it.

    Parameters
    ----------
    levels : tuple of Level
        The finest first.
    share : float
        What recording may cost, as a share of a step without it.
    on_device : bool
        Steps are spent waiting for a device, so that processor time says little of them.

    Attributes
    ----------
    shares : Spent or None
        What it cost at the last decision, as shares of a step without it; None before.
    missed : bool
        The share is exceeded for good, and nothing is left to give up.
    """

    def __init__(self, levels: tuple[Level, ...], share: float, *, on_device: bool = False) -> None:
        self.shares: Spent | None = None
        self.missed = False
        self._levels = levels
        self._wanted = share
        self._at = 0
        self._batches = -_WARM_UP
        self._since: float | None = None
        self._recorded = False
        #: Seconds from the beginning of a batch to that of the next, left out and recorded.
        self._steps: dict[bool, list[float]] = {False: [], True: []}
        self._before = Spent()
        self._on_device = on_device
        self._processor = 0.0
        self._writer = 0.0
        self._written = 0
        self._of = 1.0
        self._quiet = 0
        self._over = 0

    @property
    def level(self) -> Level:
        """What is picked now."""
        return self._levels[self._at]

    def leave_out(self) -> None:
        """Note that a batch begins which is left out."""
        self._clock(recorded=False)

    def begin(self, spent: Callable[[], Spent]) -> bool:
        """Note that a recorded batch begins; return whether another level was picked.

        Parameters
        ----------
        spent : callable
            Returns what recording has taken so far; asked only now and then.
        """
        self._clock(recorded=True)
        self._batches += 1
        if self._batches % _EVERY:
            return False
        so_far, steps = spent(), self._steps
        new, self._before = so_far - self._before, so_far
        self._steps = {False: [], True: []}
        processor = time.thread_time()
        busy, self._processor = processor - self._processor, processor
        if self._batches <= 0:
            return False  # it begins here
        self._writer += new.writer
        self._written += _EVERY
        each = Spent(new.training / _EVERY, new.calling / _EVERY, self._writer / self._written)
        if self._written >= 2 * _MEMORY:
            self._writer, self._written = self._writer / 2, self._written // 2
        took = each.training + each.calling
        alone = [*steps[False], *(step - took for step in steps[True])]
        bare = statistics.median(alone)
        if bare <= 0:
            bare = statistics.fmean(alone)  # few of the steps took most of the time
        # Short epochs keep more batches than the level says.
        n = len(steps[False]) + len(steps[True])
        self._of = n / max(1, len(steps[True]))
        # Where others take the processor too, a processor second is more than one of steps.
        least = bare if self._on_device else min(bare, busy / max(1, n))
        if bare <= 0 or least <= 0:
            return False
        shares = each.over(least * self._of)
        self.shares = replace(shares, training=each.training / (bare * self._of))
        return self._pick(self.shares)

    def _clock(self, *, recorded: bool) -> None:
        now = time.perf_counter()
        if self._since is not None:
            self._steps[self._recorded].append(now - self._since)
        self._since, self._recorded = now, recorded

    def _pick(self, shares: Spent) -> bool:
        at, last = self._at, len(self._levels) - 1
        self._over = self._over + 1 if shares.whole > _MISSED_BY * self._wanted else 0
        quiet = at > 0 and self._with(shares, at - 1) < _SLACK * self._wanted
        self._quiet = self._quiet + 1 if quiet else 0
        if shares.whole > self._wanted:
            if at < last and self._levels[at + 1].every == 1:
                at += 1  # what reading less saves is found out step by step
            else:
                while at < last and self._with(shares, at) > self._wanted:
                    at += 1
        elif self._quiet >= _PATIENCE:
            at -= 1
        if at == self._at:
            self.missed = self._over >= _MISSED_TIMES
            return False
        self._at, self._quiet, self._over, self.missed = at, 0, 0, False
        return True

    def _with(self, shares: Spent, at: int) -> float:
        """Return the whole cost with another level, at most."""
        now, then = self.level, self._levels[at]
        # As though all of the training's part were reading, which is more than it would be.
        read = shares.training * max(1.0, now.stride / then.stride)
        return (read + shares.calling + shares.writer) * self._of / then.every
