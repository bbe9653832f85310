"""What a repair has marked as lost in a run: the root attribute ``damaged``.

Path of an array -> list of [start, stop, places]: rows along its growing
dimension and indices of its first dimension, null for all of them. The cells
hold the fill value. Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ATTRIBUTE", "Lost", "as_attribute", "lost_cells"]

ATTRIBUTE = "damaged"


@dataclass(frozen=True, slots=True)
class Lost:
    """Cells of one array that are lost.

    Attributes
    ----------
    start, stop : int
        Rows along the growing dimension; 0 and 0 in an array that does not grow.
    at : tuple of int
        Places along the first dimension, empty for all.
    """

    start: int
    stop: int
    at: tuple[int, ...] = ()

    def hide(self, known: NDArray[np.bool_], first_row: int) -> None:
        """Set False what is lost in a mask whose last dimension begins at `first_row`."""
        rows = slice(max(0, self.start - first_row), max(0, self.stop - first_row))
        if self.at and known.ndim > 1:
            places = [place for place in self.at if place < known.shape[0]]
            known[places, ..., rows] = False
        else:
            known[..., rows] = False


def lost_cells(attributes: Mapping[Any, Any]) -> dict[str, list[Lost]]:
    """Return array -> what is lost of it, by a run's root attributes.

    What no repair writes is left out.

    Examples
    --------
    >>> lost_cells({"damaged": {"train/count": [[0, 16, [2]]], "train/loss": [[3, 4, None]]}})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'train/count': [Lost(start=0, stop=16, at=(2,))],
     'train/loss': [Lost(start=3, stop=4, at=())]}
    """
    said = attributes.get(ATTRIBUTE)
    found: dict[str, list[Lost]] = {}
    for path, ranges in said.items() if isinstance(said, Mapping) else ():
        for one in ranges if isinstance(ranges, list) else ():
            if not (isinstance(one, list) and len(one) == 3):
                continue
            start, stop, at = one
            places = [] if at is None else at
            if not isinstance(places, list) or not _whole([start, stop, *places]):
                continue
            found.setdefault(str(path), []).append(Lost(start, stop, tuple(places)))
    return found


def as_attribute(found: Mapping[str, Sequence[Lost]]) -> dict[str, Any]:
    """Return what `lost_cells` reads."""
    return {
        path: [[one.start, one.stop, list(one.at) or None] for one in ranges]
        for path, ranges in sorted(found.items())
        if ranges
    }


def _whole(numbers: Sequence[Any]) -> bool:
    return all(type(n) is int and 0 <= n < 2**62 for n in numbers)
