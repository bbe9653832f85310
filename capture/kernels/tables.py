"""From a value to its bin in one look, exactly.

The top 16 bits of a float32 (sign, exponent, first bits of the mantissa) name a
bucket of neighbouring values. A table says in which bin the lowest value of
each bucket lies; from there the value climbs while it is at or above the bin's
right edge. Buckets are narrow: on the usual axes none holds more than one edge,
and then the comparison itself fits into the table (`BinTable.packed`).

Bins are those of `numpy.histogram`: half-open, the last one closed. Indices
here are shifted by one, so that 0 is underflow and ``n_bins + 1`` overflow;
``n_bins + 2`` takes what is not finite. Imports NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BinTable", "bin_table", "narrow_threshold"]

_BUCKETS = 1 << 16
_NEGATIVE = 1 << 15


@dataclass(frozen=True, slots=True)
class BinTable:
    """What a kernel needs to find the bin of a float32 or a float64.

    Attributes
    ----------
    first : ndarray, shape (65536,), uint16
        Shifted bin of the lowest float32 in each bucket.
    climb, climb_wide : ndarray, shape (n_bins + 3,), float32 and float64
        A value at or above ``climb[k]`` lies above the shifted bin ``k``.
    packed : ndarray, shape (65536,), uint32
        Added to the bits of a float32, modulo 2**32, it leaves in the upper 16
        bits the shifted bin of a positive value, and ``2 * n_bins + 4`` less the
        shifted bin of a negative one, whose bits run against its value. The
        bucket's edge sits in the lower 16 bits so that reaching it carries over.
    plain : bool
        No bucket holds more than one edge: `packed` may be used.
    plain_wide : bool
        Nor do two edges lie between the same two float32: it leads a float64 to its
        bin or next to it.
    """

    first: NDArray[np.uint16]
    climb: NDArray[np.float32]
    climb_wide: NDArray[np.float64]
    packed: NDArray[np.uint32]
    plain: bool
    plain_wide: bool


def _climb(edges: NDArray[np.float64], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Return the smallest `dtype` at or above each edge, so that `x >= edge` stays exact."""
    n_bins = len(edges) - 1
    infinity = dtype(np.inf)
    with np.errstate(over="ignore"):
        rounded = edges.astype(dtype)
        low = rounded.astype(np.float64) < edges
        rounded[low] = np.nextafter(rounded[low], infinity)
        # The last bin is closed: only what is above the last edge climbs out of it.
        if float(rounded[-1]) == edges[-1]:
            rounded[-1] = np.nextafter(rounded[-1], infinity)
    climb = np.full(n_bins + 3, np.nan, dtype)
    climb[: n_bins + 1] = rounded
    return climb


def narrow_threshold(threshold: float) -> np.float32:
    """Return the largest float32 at or below a threshold.

    A float32 is above the one just if it is above the other.
    """
    below = np.float32(threshold)
    return below if float(below) <= threshold else np.nextafter(below, np.float32(-np.inf))


def bin_table(edges: NDArray[np.float64]) -> BinTable:
    """Return the table for `edges`, shape (n_bins + 1,), float64, increasing."""
    n_bins = len(edges) - 1
    climb = _climb(edges, np.float32)
    steps = climb[: n_bins + 1]
    bucket = np.arange(_BUCKETS, dtype=np.uint32)
    nearest_bits = bucket << np.uint32(16)
    nearest = nearest_bits.view(np.float32)
    farthest = (nearest_bits | np.uint32(0xFFFF)).view(np.float32)
    negative = bucket >= _NEGATIVE
    finite = np.isfinite(nearest)
    # NaN is in no bin, so it must not reach searchsorted, which puts it last.
    at_nearest = np.searchsorted(steps, np.where(finite, nearest, 0), side="right")
    at_farthest = np.searchsorted(steps, np.where(finite, farthest, 0), side="right")
    at_nearest[~finite] = at_farthest[~finite] = n_bins + 2
    split = np.abs(at_farthest - at_nearest)
    plain = bool(split.max() <= 1) and 2 * n_bins + 6 < _BUCKETS

    packed = np.zeros(_BUCKETS, np.uint32)
    if plain:
        start = np.where(negative, 2 * n_bins + 4 - at_nearest, at_nearest)
        start[~finite & negative] = 2 * n_bins + 5
        # Shifted bin whose right edge cuts the bucket, and how many of its 65,536
        # values, counted away from zero, lie on the near side.
        below = np.minimum(at_nearest, at_farthest)
        edge = np.abs(climb[np.minimum(below, n_bins)]).view(np.uint32) & np.uint32(0xFFFF)
        near_side = np.where(split == 1, edge + negative, 1 << 16)
        offset = start * (1 << 16) + ((1 << 16) - near_side) - nearest_bits.astype(np.int64)
        packed = (offset % (1 << 32)).astype(np.uint32)
    return BinTable(
        first=np.where(negative, at_farthest, at_nearest).astype(np.uint16),
        climb=climb,
        climb_wide=_climb(edges, np.float64),
        packed=packed,
        plain=plain,
        plain_wide=plain and bool((np.diff(steps) > 0).all()),
    )
