"""Sums over stretches of the last axis, each entry read once. Imports NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["sums_of"]


def sums_of(values: NDArray[Any], parts: Sequence[slice | NDArray[np.int64]]) -> NDArray[np.uint64]:
    """Return the sum over each part of the last axis, exactly.

    Parts may overlap: what lies between two ends of any of them is summed once, and a
    part is the sum of such pieces.

    Parameters
    ----------
    values : ndarray, shape (..., n), unsigned integer
    parts : sequence of slice, or of increasing indices, none empty
        Slices with a start and a stop within n.

    Returns
    -------
    ndarray, shape (..., len(parts)), uint64

    Examples
    --------
    >>> sums_of(np.array([1, 2, 4, 8], np.uint32), [slice(0, 2), slice(1, 4), np.array([0, 3])])
    array([ 3, 14,  9], dtype=uint64)
    """
    found = np.zeros((*values.shape[:-1], len(parts)), dtype=np.uint64)
    slices = [part for part in parts if isinstance(part, slice)]
    ends = np.unique([end for part in slices for end in (part.start, part.stop)])
    if len(slices):
        longest = int(np.diff(ends).max(initial=0))
        inside = values[..., ends[0] : ends[-1]]
        dtype = _dtype_of_sums(inside, longest)
        pieces = np.add.reduceat(inside, ends[:-1] - ends[0], axis=-1, dtype=dtype)
    for i, part in enumerate(parts):
        if isinstance(part, slice):
            first, stop = np.searchsorted(ends, [part.start, part.stop])
            if stop - first == 1:
                found[..., i] = pieces[..., first]
            else:
                found[..., i] = pieces[..., first:stop].sum(axis=-1, dtype=np.uint64)
        else:
            found[..., i] = values[..., part].sum(axis=-1, dtype=np.uint64)
    return found


def _dtype_of_sums(values: NDArray[Any], length: int) -> type[np.uint32 | np.uint64]:
    """Return what holds any sum of so many: 32 bits where they do, which is faster."""
    fits = values.dtype == np.uint32 and int(values.max(initial=0)) * length < 2**32
    return np.uint32 if fits else np.uint64
