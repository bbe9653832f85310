"""What must be true of the numbers of a run, over a stretch of its rows.

Each rule takes values with a mask of what is known of them and returns where it
is broken; what is damaged or was lost breaks no rule. Imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAMILIES", "Family", "Stretch", "empty_with_moments", "falls", "mass", "missing_part"]

_ENDS: Final = ("underflow", "overflow")
_ODD: Final = ("nan", "posinf", "neginf")


@dataclass(frozen=True, slots=True)
class Family:
    """Arrays of one group whose counts add up to a total.

    Attributes
    ----------
    count : str
        The histogram.
    parts : tuple of str
        What is counted beside it.
    total : str
    moments : tuple of str
        NaN where there is no element.
    """

    count: str
    parts: tuple[str, ...]
    total: str
    moments: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of the arrays."""
        return (self.count, *self.parts, self.total, *self.moments)


def _labelled(suffix: str) -> Family:
    parts = tuple(f"{name}_{suffix}" for name in (*_ENDS, "nonfinite"))
    moments = tuple(f"{name}_{suffix}" for name in ("mean", "std"))
    return Family(f"count_{suffix}", parts, f"elements_{suffix}", moments)


#: The families that a group may have.
FAMILIES: Final = (
    Family("count", (*_ENDS, *_ODD), "elements", ("mean", "std", "min", "max")),
    _labelled("by_unit"),
    _labelled("by_class"),
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one array, the histogram's bins summed.

    Attributes
    ----------
    values : ndarray, shape (..., n)
    known : ndarray of bool, broadcasts with `values`
    """

    values: NDArray[Any]
    known: NDArray[np.bool_]


def mass(
    family: Family, stretches: Mapping[str, Stretch], mode: str
) -> tuple[NDArray[np.bool_], str]:
    """Return where counts do not add up to their total, and how that is said.

    Parameters
    ----------
    family : Family
    stretches : mapping of str to Stretch
        With ``"sampled"`` in a sampled run.
    mode : {"exact", "histogram", "all"}
        How the run was sampled. In a sampled histogram the elements that are not
        finite were counted beyond the sample, which leaves bounds alone.
    """
    inside, known = _sum(stretches, (family.count, *family.parts))
    total = stretches[family.total]
    if mode == "exact" or "sampled" not in stretches:
        broken = known & total.known & (inside != total.values)
        return broken, f"its bins and what lies beyond do not add up to {family.total!r}"
    sampled = stretches["sampled"]
    known = known & sampled.known
    words = "its bins and what lies beyond do not add up to 'sampled'"
    if mode == "all":
        return known & (inside != sampled.values), words
    finite, _ = _sum(stretches, (family.count, *_ENDS))
    least = sampled.values.astype(np.uint64)
    beyond = known & total.known & (sampled.values > total.values)
    return beyond | (known & ((finite > least) | (inside < least))), words


def missing_part(family: Family, stretches: Mapping[str, Stretch], name: str) -> Stretch | None:
    """Return what the counts of array `name` must have been, None if that cannot be told.

    Of an exact run, from all others of the family.
    """
    if name == family.count or name not in (*family.parts, family.total):
        return None
    others = [n for n in (family.count, *family.parts) if n != name]
    found, known = _sum(stretches, others)
    if name == family.total:
        return Stretch(found, known)
    total = stretches[family.total]
    values = total.values.astype(np.uint64)
    known = known & total.known & (values >= found)
    return Stretch(np.where(known, values - found, 0), known)


def empty_with_moments(family: Family, stretches: Mapping[str, Stretch]) -> NDArray[np.bool_]:
    """Return where there is a mean, spread or extreme of no element."""
    total = stretches[family.total]
    empty = total.known & (total.values == 0)
    broken = np.zeros(empty.shape, bool)
    for name in family.moments:
        if name in stretches:
            moment = stretches[name]
            broken |= empty & moment.known & ~np.isnan(moment.values)
    return broken


def falls(values: NDArray[Any], before: int | None) -> NDArray[np.bool_]:
    """Return where a number is below the one before it.

    Parameters
    ----------
    values : ndarray, shape (n,)
    before : int or None
        The number before the first.
    """
    ahead = np.concatenate([[values[0] if before is None else before], values[:-1]])
    return np.asarray(values < ahead)


def _sum(
    stretches: Mapping[str, Stretch], names: tuple[str, ...] | list[str]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    first, *others = (stretches[name] for name in names)
    values = first.values.astype(np.uint64)
    known = np.broadcast_to(first.known, values.shape).copy()
    for other in others:
        values = values + other.values.astype(np.uint64)
        known &= other.known
    return values, known
