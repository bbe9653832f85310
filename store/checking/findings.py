"""The damage found so far, what lies side by side put together. May import NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.checking.pieces import Piece, PieceReader, grows
from actrace.store.checking.report import Damage
from actrace.store.manifest import ArrayEntry
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP

__all__ = ["Findings"]

#: Damages of one array's numbers that are kept apart; later ones join the last.
_APART: Final = 200


class Findings:
    """Damages, by array and in the order of rows.

    Parameters
    ----------
    reader : PieceReader
        For names, and for the batches that windows stand for.
    """

    __slots__ = ("_found", "_names", "_now", "_reader")

    def __init__(self, reader: PieceReader) -> None:
        self._reader = reader
        self._found: list[Damage] = []
        #: Of the file being read: (path, problem, rows) -> places, dim and number of them.
        self._now: dict[tuple[str, str, tuple[int, int] | None], tuple[list[int], Damage, int]] = {}
        self._names: dict[str, list[str] | None] = {}

    def piece(self, entry: ArrayEntry, piece: Piece) -> None:
        """Note a damaged piece of the file that is being read."""
        rows = None
        if grows(entry):
            begin = piece.start[-1]
            if piece.values is not None and not piece.problem.startswith("the shard"):
                begin += piece.values.shape[-1]
            rows = (begin, piece.stop[-1])
        at = list(range(piece.start[0], piece.stop[0])) if entry.sharded else []
        dim = entry.dims[0] if len(entry.dims) > 1 or not grows(entry) else ""
        key = (entry.path, piece.problem, rows)
        known = self._now.get(key)
        if known is None:
            damage = Damage(entry.path, piece.problem, piece.key, rows, dim=dim)
            self._now[key] = (at, damage, entry.shape[0])
        else:
            known[0].extend(at)

    def file_ends(self) -> None:
        """Take what was noted of a file, and begin another."""
        for at, damage, n in self._now.values():
            self.add(replace(damage, at=() if len(at) == n else tuple(at)))
        self._now.clear()

    def add(self, damage: Damage) -> None:
        """Note a damage; one that goes on where the last of its kind ended is joined to it."""
        last = self._found[-1] if self._found else None
        if last is not None and last.rows is not None and damage.rows is not None:
            alike = (last.path, last.problem) == (damage.path, damage.problem)
            if alike and last.at == damage.at and last.rows[1] == damage.rows[0]:
                self._found[-1] = replace(last, rows=(last.rows[0], damage.rows[1]))
                return
        self._found.append(damage)

    def broken(
        self, entry: ArrayEntry, where: NDArray[np.bool_], first_row: int, problem: str
    ) -> None:
        """Note the rows and places where a rule is broken.

        Parameters
        ----------
        where : ndarray of bool, shape (first dimension, ..., n) or (n,)
        first_row : int
            The row that its last dimension begins with.
        """
        if not where.any():
            return
        by_place = where
        if where.ndim > 2:
            by_place = np.asarray(where.any(axis=tuple(range(1, where.ndim - 1))))
        rows = by_place if by_place.ndim == 1 else np.asarray(by_place.any(axis=0))
        apart = sum(d.path == entry.path and d.problem == problem for d in self._found)
        for start, stop in _runs(rows):
            places: tuple[int, ...] = ()
            if by_place.ndim > 1:
                places = tuple(np.flatnonzero(by_place[:, start:stop].any(axis=1)).tolist())
            span = (start + first_row, stop + first_row)
            dim = entry.dims[0] if by_place.ndim > 1 else ""
            if apart >= _APART:
                last = self._found[-1]
                if last.path == entry.path and last.problem == problem and last.rows:
                    joined = tuple(sorted({*last.at, *places}))
                    self._found[-1] = replace(last, rows=(last.rows[0], span[1]), at=joined)
                    continue
            self.add(Damage(entry.path, problem, rows=span, at=places, dim=dim))
            apart += 1

    def all(self) -> Iterator[Damage]:
        """Yield every damage with the names and batches that it means."""
        for damage in self._found:
            yield replace(damage, names=self._named(damage), batches=self._batches(damage))

    def _named(self, damage: Damage) -> tuple[str, ...]:
        if not damage.at:
            return ()
        group = damage.path.rpartition("/")[0]
        path = damage.dim if damage.dim == "layer" else f"{group}/{damage.dim}"
        if path not in self._names:
            self._names[path] = self._reader.names(path)
        names = self._names[path]
        return tuple(names[at] if names and at < len(names) else f"number {at}" for at in damage.at)

    def _batches(self, damage: Damage) -> tuple[int, int] | None:
        if damage.rows is None:
            return None
        group = damage.path.rpartition("/")[0]
        if group.startswith("levels/"):
            factor = group.rpartition("/x")[2]
            if not factor.isdecimal():
                return None
            return (damage.rows[0] * int(factor), damage.rows[1] * int(factor))
        if group.rpartition("/")[2] not in (OUTPUT_GROUP, UNIT_GROUP) or "/" not in group:
            return damage.rows
        first = self._number(f"{group}/first_batch", damage.rows[0])
        last = self._number(f"{group}/first_batch", damage.rows[1] - 1)
        many = self._number(f"{group}/batches", damage.rows[1] - 1)
        if first is None or last is None or many is None or last + many <= first:
            return None
        return (first, last + many)

    def _number(self, path: str, row: int) -> int | None:
        entry: Any = self._reader.manifest.arrays.get(path)
        if entry is None or row >= entry.shape[-1]:
            return None
        for piece in self._reader.read(entry, (row // entry.chunk[-1],)):
            if piece.start[-1] <= row < piece.stop[-1] and piece.values is not None:
                at = row - piece.start[-1]
                if not piece.problem and at < piece.values.shape[-1]:
                    return int(piece.values[at])
        return None


def _runs(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
