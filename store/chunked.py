"""An array of a run read chunk by chunk, as cheaply as its writer wrote it.

zarr reads any array, through an event loop and a dozen layers of codecs, and takes four
times as long over a chunk as unpacking it does. What our writer wrote is read here: which
chunks, checked by the store, unpacked, put side by side. May import xarray.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from actrace.store.manifest import ArrayEntry
from actrace.store.snapshot import SnapshotStore

__all__ = ["chunked"]

#: What xarray leaves in an encoding if the numbers are not those that are stored.
_DECODED: Final = frozenset(
    ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "units", "calendar")
)

Key = int | slice | NDArray[np.int64]


def chunked(variable: xr.Variable, entry: ArrayEntry, store: SnapshotStore) -> xr.Variable:
    """Return a variable that reads its chunks itself, the given one where it cannot.

    Parameters
    ----------
    variable : Variable
        As xarray opened it, not read yet.
    entry : ArrayEntry
        What the run's document says of the array.
    store : SnapshotStore
        Holds it. Over a network zarr asks for many chunks at once, which saves more than
        it costs; such a store's arrays stay as they are.
    """
    same = variable.dtype == entry.dtype and _DECODED.isdisjoint(variable.encoding)
    if not (same and store.near and entry.grows and entry.ours):
        return variable
    data = indexing.LazilyIndexedArray(_Chunked(store, entry))
    return xr.Variable(variable.dims, data, variable.attrs, variable.encoding)


class _Chunked(BackendArray):
    """An array that grows along its last dimension, a row of chunk files."""

    def __init__(self, store: SnapshotStore, entry: ArrayEntry) -> None:
        self.shape = entry.shape
        self.dtype = np.dtype(entry.dtype)
        self._store = store
        self._entry = entry

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._take
        )

    def _take(self, key: tuple[Key, ...]) -> NDArray[Any]:
        """Return the cells of an outer index: each dimension's own, crossed."""
        whole = [_kept(one, n) for one, n in zip(key, self.shape, strict=True)]
        rows = _indices(whole[-1], self.shape[-1])
        sizes = [len(_indices(one, n)) for one, n in zip(whole, self.shape, strict=True)]
        found = np.empty(sizes, self.dtype)
        if found.size:
            for at, there, here in _by_chunk(rows, self._entry.chunk[-1]):
                self._fill(found[..., there], whole[:-1], at, here)
        gone = tuple(axis for axis, one in enumerate(key) if isinstance(one, int | np.integer))
        return found.squeeze(gone) if gone else found

    def _fill(self, found: NDArray[Any], key: list[Key], at: int, rows: Key) -> None:
        """Put some rows of a chunk file into their place."""
        if not self._entry.sharded:
            found[...] = _crossed(self._store.piece(self._entry, at), [*key, rows])
            return
        for place, number in enumerate(_indices(key[0], self.shape[0]).tolist()):
            piece = self._store.piece(self._entry, at, number)
            found[place] = _crossed(piece, [slice(None), *key[1:], rows])[0]


def _kept(key: Key, n: int) -> Key:
    """Return an index that keeps its dimension."""
    if not isinstance(key, int | np.integer):
        return key
    at = int(key) + (n if key < 0 else 0)
    return slice(at, at + 1)


def _indices(key: Key, n: int) -> NDArray[np.int64]:
    if isinstance(key, slice):
        return np.arange(*key.indices(n))
    at = np.asarray(key, dtype=np.int64)
    return np.where(at < 0, at + n, at)


def _by_chunk(
    rows: NDArray[np.int64], length: int
) -> list[tuple[int, slice | NDArray[np.int64], slice | NDArray[np.int64]]]:
    """Return for each chunk file that is needed where its rows go, and which they are in it."""
    chunk = rows // length
    order = np.argsort(chunk, kind="stable")
    numbers, starts = np.unique(chunk[order], return_index=True)
    return [
        (int(at), _as_slice(there), _as_slice(rows[there] - at * length))
        for at, there in zip(numbers, np.split(order, starts[1:]), strict=True)
    ]


def _as_slice(at: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return indices as a slice where they follow each other: it copies nothing."""
    first = int(at[0])
    in_a_row = int(at[-1]) - first + 1 == len(at) and bool((np.diff(at) == 1).all())
    return slice(first, first + len(at)) if in_a_row else at


def _crossed(values: NDArray[Any], key: list[Key]) -> NDArray[Any]:
    """Return the cells of an outer index, whose parts all keep their dimension."""
    slices = tuple(one if isinstance(one, slice) else slice(None) for one in key)
    values = values[slices]
    for axis, one in enumerate(key):
        if not isinstance(one, slice):
            values = values.take(one, axis=axis)
    return values
