"""Where the windows of a damaged group lie, as far as that is known. May import NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actrace.store.checking.findings import Findings
from actrace.store.checking.lost import Lost
from actrace.store.checking.pieces import PieceReader
from actrace.store.checking.stretches import Loader, stretch_length

__all__ = ["Windows", "find_windows"]


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one group.

    Attributes
    ----------
    first_batch : ndarray or None
        Where all of them begin, if that had to be put back.
    keep : ndarray of bool or None
        Windows whose place is known, None if all of them are.
    """

    first_batch: NDArray[np.int64] | None = None
    keep: NDArray[np.bool_] | None = None


def find_windows(reader: PieceReader, group: str, lost: Mapping[str, Sequence[Lost]]) -> Windows:
    """Return what is known of the windows of `group`.

    Windows follow each other; there may be gaps. So where the first batch of some
    is lost, the numbers of batches tell it only if they fill the space between
    the windows around them, or up to the phase's end, exactly.
    """
    arrays = reader.manifest.arrays
    entries = [arrays.get(f"{group}/{name}") for name in ("first_batch", "batches")]
    first, batches = entries
    if first is None or batches is None or stretch_length([first, batches]) is None:
        return Windows()
    n = first.shape[-1]
    loader = Loader(reader, Findings(reader), lost, lambda: None)
    begins, many = (loader.load(entry, 0, n) for entry in (first, batches))
    if not n or (begins.known & many.known).all():
        return Windows()
    starts, sizes = begins.values.astype(np.int64), many.values.astype(np.int64)
    known = begins.known.copy()
    end_of_phase = reader.manifest.length(group.rpartition("/")[0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~known, [False]])))
    for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if not many.known[max(0, a - 1) : b].all():
            continue
        at = 0 if a == 0 else int(starts[a - 1] + sizes[a - 1])
        ends = at + np.cumsum(sizes[a:b])
        if ends[-1] == (end_of_phase if b == n else starts[b]):
            starts[a:b] = ends - sizes[a:b]
            known[a:b] = True
    keep = known & many.known
    return Windows(
        starts if known.any() and not begins.known.all() else None, None if keep.all() else keep
    )
