"""Rows of a group's arrays, a stretch at a time, damage noted on the way. May import NumPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from actrace.store.checking.findings import Findings
from actrace.store.checking.lost import Lost
from actrace.store.checking.pieces import PieceReader
from actrace.store.checking.rules import Stretch
from actrace.store.manifest import ArrayEntry

__all__ = ["Loader", "stretch_length"]

_BINS: Final = ("bin", "gradient_bin")
#: Bytes that the arrays of a family may take together in memory.
_MEMORY: Final = 2**28


def _bins(entry: ArrayEntry) -> int | None:
    """Return the place of a histogram's bins among its dims."""
    return next((at for at, dim in enumerate(entry.dims[:-1]) if dim in _BINS), None)


def stretch_length(entries: Sequence[ArrayEntry]) -> int | None:
    """Return rows that end where a chunk file of every array ends.

    None where so many rows do not fit in memory: chunk files of odd lengths, or
    far larger ones than a writer makes.
    """
    length = math.lcm(*(entry.chunk[-1] for entry in entries))
    size = sum(
        8
        * length
        * math.prod(n for n, dim in zip(e.shape[:-1], e.dims, strict=False) if dim not in _BINS)
        for e in entries
    )
    return length if size <= _MEMORY else None


class Loader:
    """Reads stretches of arrays and notes what is damaged in them.

    Parameters
    ----------
    reader : PieceReader
    findings : Findings
    lost : mapping of str to sequence of Lost
        What an earlier repair marked.
    advance : callable
        Called after each chunk file.
    """

    __slots__ = ("_advance", "_findings", "_lost", "pieces", "reader")

    def __init__(
        self,
        reader: PieceReader,
        findings: Findings,
        lost: Mapping[str, Sequence[Lost]],
        advance: Callable[[], None],
    ) -> None:
        self.reader = reader
        self.pieces = 0
        self._findings = findings
        self._lost = lost
        self._advance = advance

    def load(self, entry: ArrayEntry, start: int, stop: int) -> Stretch:
        """Return rows `start` to `stop` of an array of numbers, bins summed.

        Parameters
        ----------
        start, stop : int
            At the ends of chunk files, `stop` or the end of the array.
        """
        bins = _bins(entry)
        n = stop - start
        fixed = [size for at, size in enumerate(entry.shape[:-1]) if at != bins]
        values = np.zeros((*fixed, n), np.uint64 if bins is not None else np.dtype(entry.dtype))
        known = np.ones((*fixed[:1], *(1 for _ in fixed[1:]), n), bool)
        for index in self._files(entry, start, stop):
            for piece in self.reader.read(entry, index):
                self.pieces += 1
                rows = slice(piece.start[-1] - start, piece.stop[-1] - start)
                got = rows.start
                if piece.problem:
                    self._findings.piece(entry, piece)
                if piece.values is not None and not piece.problem.startswith("the shard"):
                    got += piece.values.shape[-1]
                    place = tuple(
                        slice(a, b)
                        for at, (a, b) in enumerate(
                            zip(piece.start[:-1], piece.stop[:-1], strict=True)
                        )
                        if at != bins
                    )
                    part = piece.values if bins is None else piece.values.sum(bins, dtype=np.uint64)
                    values[(*place, slice(rows.start, got))] += part
                if fixed:
                    known[piece.start[0] : piece.stop[0], ..., got : rows.stop] = False
                else:
                    known[got : rows.stop] = False
            self._findings.file_ends()
            self._advance()
        for lost in self._lost.get(entry.path, ()):
            lost.hide(known, start)
        return Stretch(values, known)

    def look(self, entry: ArrayEntry) -> None:
        """Read an array for damage alone."""
        for index in itertools.product(*map(range, entry.grid)):
            for piece in self.reader.read(entry, index):
                self.pieces += 1
                if piece.problem:
                    self._findings.piece(entry, piece)
            self._findings.file_ends()
            self._advance()

    def _files(self, entry: ArrayEntry, start: int, stop: int) -> Iterator[tuple[int, ...]]:
        length = entry.chunk[-1]
        last = range(start // length, -(-stop // length))
        return itertools.product(*map(range, entry.grid[:-1]), last)
