"""The levels of one phase while it is written: each merged from the one below.

There are no running sums to lose or to rebuild. What a level lacks is merged
from rows that the writer still has in memory, before their chunk leaves it and
before a commit, many columns at once; so a resumed run simply goes on. May
import NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.files import RunFiles
from actrace.store.group import GrowingGroup
from actrace.store.levels.rules import merge_layers, merge_scalars
from actrace.store.schema import LEVEL_VARIABLES, LEVELS_GROUP, SAMPLED, Variable

__all__ = ["FEWEST", "FIRST", "STEP", "Ladder", "factors", "level_path"]

#: Batches in a column of the finest level, and columns of a level in one of the next.
FIRST: Final = 16
STEP: Final = 4
#: Columns with which a level begins. With fewer nobody would look at it, and its
#: two dozen files and their metadata would make every short run twice as many.
FEWEST = 64
#: Columns that a writer catches up with at once, reading back what they are made of;
#: a chunk (1,024 batches) more than those that a level begins with.
LAG: Final = 128

_NAME: Final = re.compile(r"x([1-9][0-9]{0,18})")
_BY_LAYER: Final = tuple(v.name for v in (*LEVEL_VARIABLES, SAMPLED) if v.dims[0] == "layer")


def level_path(phase: str, factor: int) -> str:
    """Return the path below the run of a level.

    Examples
    --------
    >>> level_path("train", 64)
    'levels/train/x64'
    """
    return f"{LEVELS_GROUP}/{phase}/x{factor}"


def factors(groups: Iterable[str], phase: str) -> tuple[int, ...]:
    """Return the batches in a column of each level of `phase`, the finest first.

    Parameters
    ----------
    groups : iterable of str
        Paths of a run's groups.
    phase : str

    Examples
    --------
    >>> factors(["train", "levels/train", "levels/train/x64", "levels/train/x16"], "train")
    (16, 64)
    """
    above = f"{LEVELS_GROUP}/{phase}/"
    names = [path.removeprefix(above) for path in groups if path.startswith(above)]
    return tuple(sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name))))


class Ladder:
    """The levels of one phase.

    Parameters
    ----------
    phase : GrowingGroup
    make : callable
        Takes a level's factor and the largest count to expect, and returns its
        group without arrays.
    weight : {"elements", "sampled"}
        How many elements of a layer the moments are of.

    Attributes
    ----------
    levels : list of GrowingGroup
        The finest first.
    dormant : bool
        Nothing is added any more: the levels are too far behind the phase to be
        built while a training goes on, or what they need is damaged. They stay as
        they are, a whole prefix, until `build_levels` completes them.
    """

    __slots__ = ("_make", "_weight", "dormant", "levels", "phase")

    def __init__(
        self, phase: GrowingGroup, make: Callable[[int, int], GrowingGroup], weight: str
    ) -> None:
        self.phase = phase
        self.levels: list[GrowingGroup] = []
        self.dormant = False
        self._make = make
        self._weight = weight

    def grow(self, files: RunFiles) -> None:
        """Add to every level the columns that its phase has the batches for.

        Raises
        ------
        StoreWriteError
            A full chunk of a level cannot be written; try again later.
        """
        if self.dormant:
            return
        try:
            if any(missing > LAG for missing in self.missing()):
                self.dormant = True
            else:
                self._grow(0, files)
        except (DamagedRunError, OverflowError):
            # The batches themselves are none the worse, and a training goes on.
            self.dormant = True

    def complete(self, files: RunFiles, most: int) -> None:
        """Add what is missing, whatever it takes to read, up to `most` columns a level.

        Raises
        ------
        DamagedRunError
            What has to be read is damaged.
        OverflowError
            A count beyond the level's integers.
        StoreWriteError
            A full chunk of a level cannot be written.
        """
        self._grow(0, files, most)

    def missing(self) -> list[int]:
        """Return how many columns each level could have and has not, the finest first."""
        found: list[int] = []
        while True:
            at = len(found)
            have = self.levels[at].length if at < len(self.levels) else 0
            could = self.phase.length // _factor(at)
            if not have and could < FEWEST:
                return found
            found.append(could - have)

    def _grow(self, at: int, files: RunFiles, most: int | None = None) -> None:
        below = self.levels[at - 1] if at else self.phase
        width = STEP if at else FIRST
        have = self.levels[at].length if at < len(self.levels) else 0
        ready = below.length // width - have
        if not have and ready < FEWEST:
            return
        if most is not None:
            ready = min(ready, most)
        while ready > 0:
            # Whole columns from one chunk of what is below, so that no more is read.
            start = have * width
            chunk = below.chunk_rows("count")
            n = min(ready, max(1, (chunk - start % chunk) // width))
            merged = self._merge(at, have, n, files)
            level = self._level(at, merged, files)
            level.check(merged)
            done = 0
            while done < n:
                if not level.room:
                    # The level above takes what it needs while it is still in memory.
                    self._grow(at + 1, files, most)
                    level.make_room(files)
                stop = min(n, done + level.room)
                level.take(merged, done, stop)
                done = stop
            have, ready = have + n, ready - n
        self._grow(at + 1, files, most)

    def _merge(self, at: int, have: int, n: int, files: RunFiles) -> dict[str, NDArray[Any]]:
        """Return columns `have` to `have + n` of a level, every variable of them."""
        below = self.levels[at - 1] if at else self.phase
        width, factor = (STEP if at else FIRST), _factor(at)
        names = [name for name in _BY_LAYER if name in below]
        rows = {name: below.rows(name, have * width, (have + n) * width, files) for name in names}
        found = merge_layers(rows, width, self._weight)
        scalars = {
            name: self.phase.rows(name, have * factor, (have + n) * factor, files)
            for name in self.phase.names
            if name not in _BY_LAYER
        }
        found |= merge_scalars(scalars, factor)
        found["first_batch"] = np.arange(have, have + n) * factor
        found["batches"] = np.full(n, factor)
        return found

    def _level(self, at: int, merged: Mapping[str, NDArray[Any]], files: RunFiles) -> GrowingGroup:
        """Return a level's group with an array for each merged variable."""
        if at == len(self.levels):
            level = self._make(_factor(at), 2 * int(merged["elements"].max(initial=0)))
            level.declare(v for v in (*LEVEL_VARIABLES, SAMPLED) if v.name in merged)
            self.levels.append(level)
        level = self.levels[at]
        for name in sorted(merged.keys() - set(level.names)):
            words = f"{name}, as logged by the user, mean over the batches that have it"
            variable = Variable(name, ("batch",), "float64", words)
            if level.length:
                level.declare_late(variable, files)
            else:
                level.declare([variable])
        return level


def _factor(at: int) -> int:
    factor: int = FIRST * STEP**at
    return factor
