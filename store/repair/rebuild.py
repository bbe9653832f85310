"""The growing arrays of a run, written anew: whole chunk files as they are, others rebuilt.

A row stays a row, so that all arrays of a group keep their length. A cell that
is lost holds the fill value, but `step` and `epoch`, which never fall, hold the
value before it; counts that follow from the others are put back. The exception
are windows whose place is lost: nothing says what they are sums of, so they are
left out. May import NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.checking.findings import Findings
from actrace.store.checking.lost import Lost
from actrace.store.checking.pieces import Piece, PieceReader
from actrace.store.checking.rules import FAMILIES, missing_part
from actrace.store.checking.stretches import Loader, stretch_length
from actrace.store.files import RunFiles
from actrace.store.manifest import ArrayEntry
from actrace.store.rewriting.marks import thinned_cells, unknown_cells
from actrace.store.tail import Tail

__all__ = ["Rebuilder", "Rows"]

#: Numbers that never fall: where one is lost it is at least the one before.
_NEVER_FALL = ("step", "epoch")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one chunk file, mended.

    Attributes
    ----------
    values : ndarray, shape (n, ...)
    lost : tuple of Lost
        In rows of the array.
    derived : int
        Rows that follow from others and were put back.
    file : bytes or None
        The file itself, where it is whole.
    """

    values: NDArray[Any]
    lost: tuple[Lost, ...] = ()
    derived: int = 0
    file: bytes | None = None


class Rebuilder:
    """Reads a damaged run's growing arrays and writes them into another.

    Parameters
    ----------
    reader : PieceReader
        Of the damaged run.
    files : RunFiles
        Of the new one.
    lost : mapping of str to list of Lost
        What an earlier repair marked; what is lost now is added.
    advance : callable
        Called after each chunk file.

    Attributes
    ----------
    derived : dict of str to int
        Array -> rows put back from others.
    """

    def __init__(
        self,
        reader: PieceReader,
        files: RunFiles,
        lost: dict[str, list[Lost]],
        advance: Callable[[], None],
    ) -> None:
        self.derived: dict[str, int] = {}
        self._reader = reader
        self._files = files
        attributes = reader.manifest.attributes
        self._before = unknown_cells(attributes)
        self._thinned = thinned_cells(attributes)
        self._lost = lost
        self._advance = advance

    def copy(self, entry: ArrayEntry, keep: NDArray[np.bool_] | None = None) -> int:
        """Write an array, mended, and return its length.

        Parameters
        ----------
        keep : ndarray of bool, shape (rows,), optional
            Rows to keep; all by default.

        Raises
        ------
        DamagedRunError
            It is damaged and not laid out as a writer of ours does it.
        StoreWriteError
            The new run cannot be written.
        """
        self._files.make_directory(entry.key((0,) * len(entry.shape)).rpartition("/")[0])
        if keep is None:
            for rows, index in self._mended(entry):
                data = rows.file
                if data is None:
                    data = entry.layout.encode(rows.values)
                self._files.write(entry.key(index), data)
                self._advance()
            return entry.shape[-1]
        tail = Tail(entry.path, entry.layout, 0)
        marked: list[Lost] = list(self._lost.pop(entry.path, []))
        for rows, index in self._mended(entry):
            start = index[-1] * entry.chunk[-1]
            kept = rows.values[keep[start : start + len(rows.values)]]
            at = 0
            while at < len(kept):
                tail.make_room(self._files)
                stop = min(len(kept), at + tail.room)
                tail.append(kept[at:stop])
                at = stop
            self._advance()
        tail.write(self._files)
        marked += self._lost.pop(entry.path, [])
        new = np.concatenate([[0], np.cumsum(keep)])
        moved = [replace(one, start=int(new[one.start]), stop=int(new[one.stop])) for one in marked]
        self._lost[entry.path] = [one for one in moved if one.stop > one.start]
        return tail.length

    def write(self, entry: ArrayEntry, values: NDArray[Any]) -> None:
        """Write an array of rows that are known, shape (rows, ...)."""
        self._files.make_directory(entry.key((0,) * len(entry.shape)).rpartition("/")[0])
        for at in range(entry.n_files):
            rows = values[at * entry.chunk[-1] : (at + 1) * entry.chunk[-1]]
            self._files.write(f"{entry.path}/{entry.layout.key(at)}", entry.layout.encode(rows))
            self._advance()
        self.derived[entry.path] = len(values)

    def _mended(self, entry: ArrayEntry) -> Iterator[tuple[Rows, tuple[int, ...]]]:
        """Yield the rows of each chunk file and its place, what is lost noted."""
        before = 0
        holds = entry.path.rpartition("/")[2] in _NEVER_FALL and len(entry.shape) == 1
        for at in range(entry.n_files):
            index = tuple(int(i) for i in np.unravel_index(at, entry.grid))
            pieces = list(self._reader.read(entry, index))
            if not any(piece.problem for piece in pieces):
                file = self._reader.read_file(entry.key(index))
                rows = Rows(_joined(entry, index, pieces), file=file)
            elif not entry.ours:
                raise DamagedRunError(
                    f"{entry.describe(index)} is damaged and not laid out as actrace does it, so "
                    "it cannot be repaired; restore the file from a copy"
                )
            else:
                rows = self._mend(entry, index, pieces)
            if holds:
                _hold(rows, index[-1] * entry.chunk[-1], before)
                before = int(rows.values[-1])
            if rows.lost:
                self._lost.setdefault(entry.path, []).extend(rows.lost)
            if rows.derived:
                self.derived[entry.path] = self.derived.get(entry.path, 0) + rows.derived
            yield rows, index

    def _mend(self, entry: ArrayEntry, index: tuple[int, ...], pieces: Sequence[Piece]) -> Rows:
        start = index[-1] * entry.chunk[-1]
        stop = min(start + entry.chunk[-1], entry.shape[-1])
        n = stop - start
        values = np.moveaxis(_joined(entry, index, pieces), 0, -1)
        known = np.ones((*entry.shape[:1], n) if values.ndim > 1 else (n,), bool)
        for piece in pieces:
            got = 0 if piece.values is None else piece.values.shape[-1]
            if values.ndim > 1:
                known[piece.start[0] : piece.stop[0], got:] = False
            else:
                known[got:] = False
        damaged = ~known
        found = self._derive(entry, start, stop)
        if found is not None and damaged.any():
            there, right = found
            put = damaged & right
            values = np.where(_spread(put, values), there, values).astype(values.dtype)
            known |= put
        marks = self._thinned.get(entry.path)
        if marks is not None:
            # What a thinned cell held is known.
            marks.blank(values, 0, start)
            known |= np.stack([marks.rows(at, start, stop) for at in range(len(values))])
        rows = damaged if damaged.ndim == 1 else damaged.any(axis=0)
        gone = ~known
        whole = int(rows.sum() - (gone if gone.ndim == 1 else gone.any(axis=0)).sum())
        return Rows(np.moveaxis(values, -1, 0), tuple(_ranges(gone, start)), whole)

    def _derive(
        self, entry: ArrayEntry, start: int, stop: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
        """Return what rows of a count must have been by the others, and where that is certain."""
        group, _, name = entry.path.rpartition("/")
        arrays = self._reader.manifest.arrays
        sample = self._reader.manifest.attributes.get("sample")
        if (isinstance(sample, dict) and sample.get("mode") != "exact") or group.startswith(
            "levels"
        ):
            return None
        for family in FAMILIES:
            names = [n for n in family.names if n not in family.moments]
            if name not in names or name == family.count:
                continue
            entries = {n: arrays[f"{group}/{n}"] for n in names if f"{group}/{n}" in arrays}
            length = stretch_length(list(entries.values()))
            if len(entries) < len(names) or length is None:
                continue
            first = start // length * length
            last = min(first + length, entry.shape[-1])
            loader = Loader(self._reader, Findings(self._reader), self._before, lambda: None)
            loaded = {n: loader.load(e, first, last) for n, e in entries.items()}
            found = missing_part(family, loaded, name)
            if found is None:
                return None
            rows = slice(start - first, stop - first)
            known = np.broadcast_to(found.known, found.values.shape)[..., rows]
            # What one place of the first dimension holds is put back whole or not at all.
            by_place = np.asarray(known.all(axis=tuple(range(1, known.ndim - 1))))
            return found.values[..., rows], by_place
        return None


def _joined(entry: ArrayEntry, index: tuple[int, ...], pieces: Sequence[Piece]) -> NDArray[Any]:
    """Return the rows of a chunk file, shape (n, ...); what is not there is the fill value."""
    origin = [i * c for i, c in zip(index, entry.chunk, strict=True)]
    shape = [min(c, n - o) for c, n, o in zip(entry.chunk, entry.shape, origin, strict=True)]
    fill = np.nan if entry.dtype.startswith("float") else 0
    values = np.full(shape, fill, np.dtype(entry.dtype).newbyteorder("<"))
    for piece in pieces:
        if piece.values is not None:
            place = tuple(
                slice(a - o, a - o + n)
                for a, o, n in zip(piece.start, origin, piece.values.shape, strict=True)
            )
            values[place] = piece.values
    return np.moveaxis(values, -1, 0)


def _spread(mask: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of (first dimension, rows) with the dims of `values`."""
    return mask.reshape(mask.shape[0], *(1 for _ in values.shape[1:-1]), *mask.shape[1:])


def _hold(rows: Rows, first_row: int, before: int) -> None:
    """Put the value before it in place of each lost one."""
    for one in rows.lost:
        at = one.start - first_row
        rows.values[at : one.stop - first_row] = rows.values[at - 1] if at else before


def _ranges(gone: NDArray[np.bool_], first_row: int) -> Iterator[Lost]:
    """Yield what is lost, places that lost the same rows together."""
    if gone.ndim == 1:
        gone = gone[np.newaxis]
        for _, start, stop in _spans(gone):
            yield Lost(first_row + start, first_row + stop)
        return
    by_span: dict[tuple[int, int], list[int]] = {}
    for place, start, stop in _spans(gone):
        by_span.setdefault((start, stop), []).append(place)
    for (start, stop), places in by_span.items():
        at = () if len(places) == len(gone) else tuple(places)
        yield Lost(first_row + start, first_row + stop, at)


def _spans(gone: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    for place, row in enumerate(gone):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            yield place, start, stop
