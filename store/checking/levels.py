"""Whether the levels of a run are the merge of what they stand for.

Each column of a level is compared with the merge of those of the level below,
the finest with the phase's own batches. Counts and extremes must be equal, means
to nine digits. Memory is bounded by a few chunk files. Imports NumPy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.checking.findings import Findings
from actrace.store.checking.lost import Lost
from actrace.store.checking.pieces import PieceReader
from actrace.store.levels.ladder import factors, level_path
from actrace.store.levels.rules import merge_layers, weight_of
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.schema import COUNTERS, MOMENTS, SAMPLED

__all__ = ["check_levels"]

_WORDS: Final = "a column is not the merge of the batches that it stands for"
_BY_LAYER: Final = tuple(v.name for v in (*COUNTERS, *MOMENTS, SAMPLED))
#: Columns of a level that are compared at once, and cells that are merged for them.
_COLUMNS: Final = 1024
_CELLS: Final = 2**25


def check_levels(
    reader: PieceReader, findings: Findings, lost: Mapping[str, Sequence[Lost]]
) -> None:
    """Note the columns of levels that are not the merge of what they stand for.

    What is damaged, in the level or in what it stands for, is left to the rest of
    the check.

    Parameters
    ----------
    reader : PieceReader
    findings : Findings
        Takes the broken columns.
    lost : mapping of str to sequence of Lost
        What an earlier repair marked.
    """
    look = _Look(reader, lost)
    weight = weight_of(reader.manifest.attributes)
    for lower, upper, width in _steps(reader.manifest):
        pairs = look.pairs(lower, upper)
        if "elements" not in pairs:
            continue
        columns = min(
            pairs["elements"][1].shape[-1], *(low.shape[-1] // width for low, _ in pairs.values())
        )
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            for entry, broken in look.numbers(pairs, start, stop, width, weight):
                findings.broken(entry, broken, start, _WORDS)
        if "count" not in pairs:
            continue
        below, level = pairs["count"]
        some = max(1, min(_COLUMNS, _CELLS // (width * level.shape[0] * level.shape[1])))
        for start in range(0, columns, some):
            stop = min(start + some, columns)
            findings.broken(level, look.histograms(below, level, start, stop, width), start, _WORDS)


def _steps(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    """Yield each level with the group that it is merged from, and how many of its columns."""
    for phase in manifest.phases:
        lower, below = phase, 1
        for factor in factors(manifest.groups, phase):
            upper = level_path(phase, factor)
            if factor % below == 0:
                yield lower, upper, factor // below
            lower, below = upper, factor


class _Look:
    """Reads any rows of arrays, and compares them with those of a level."""

    def __init__(self, reader: PieceReader, lost: Mapping[str, Sequence[Lost]]) -> None:
        self._reader = reader
        self._lost = lost

    def pairs(self, lower: str, upper: str) -> dict[str, tuple[ArrayEntry, ArrayEntry]]:
        """Return the arrays that two groups share, by name."""
        arrays = self._reader.manifest.arrays
        return {
            name: (arrays[f"{lower}/{name}"], arrays[f"{upper}/{name}"])
            for name in ("count", *_BY_LAYER)
            if f"{upper}/{name}" in arrays and f"{lower}/{name}" in arrays
        }

    def numbers(
        self,
        pairs: Mapping[str, tuple[ArrayEntry, ArrayEntry]],
        start: int,
        stop: int,
        width: int,
        weight: str,
    ) -> Iterator[tuple[ArrayEntry, NDArray[np.bool_]]]:
        """Yield where columns of each array that is by layer alone are no merge."""
        n = stop - start
        rows: dict[str, NDArray[Any]] = {}
        known = np.ones((pairs["elements"][1].shape[0], n), bool)
        for name, (below, _) in pairs.items():
            if name != "count":
                values, there = self._read(below, start * width, stop * width)
                rows[name] = np.moveaxis(values, -1, 0)
                known &= there.reshape(-1, n, width).all(axis=-1)
        # The histograms are compared by themselves.
        rows["count"] = np.zeros((n * width, len(known), 1), np.uint32)
        merged = merge_layers(rows, width, weight)
        for name, (_, level) in pairs.items():
            if name != "count":
                got, there = self._read(level, start, stop)
                yield level, known & there & ~_same(got, np.moveaxis(merged[name], 0, -1))

    def histograms(
        self, below: ArrayEntry, level: ArrayEntry, start: int, stop: int, width: int
    ) -> NDArray[np.bool_]:
        """Return where columns of a level's histograms are no sum, (layer, column)."""
        got, seen = self._read(level, start, stop)
        values, there = self._read(below, start * width, stop * width)
        n = stop - start
        expected = values.reshape(*values.shape[:-1], n, width).sum(axis=-1, dtype=np.uint64)
        known = seen & there.reshape(-1, n, width).all(axis=-1)
        return np.asarray(known & (got != expected).any(axis=1))

    def _read(
        self, entry: ArrayEntry, start: int, stop: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return rows of an array, rows last, and which are whole, (first dimension, row)."""
        values = np.zeros((*entry.shape[:-1], stop - start), np.dtype(entry.dtype))
        known = np.zeros((entry.shape[0], stop - start), bool)
        length = entry.chunk[-1]
        files = (*map(range, entry.grid[:-1]), range(start // length, -(-stop // length)))
        for index in itertools.product(*files):
            for piece in self._reader.read(entry, index):
                a, b = max(piece.start[-1], start), min(piece.stop[-1], stop)
                if piece.problem or piece.values is None or a >= b:
                    continue
                place = tuple(map(slice, piece.start[:-1], piece.stop[:-1]))
                part = piece.values[..., a - piece.start[-1] : b - piece.start[-1]]
                values[(*place, slice(a - start, b - start))] = part
                known[place[0], a - start : b - start] = True
        for one in self._lost.get(entry.path, ()):
            one.hide(known, start)
        return values, known


def _same(got: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.bool_]:
    if got.dtype.kind != "f":
        return np.asarray(got == expected)
    same: NDArray[np.bool_] = np.isclose(got, expected, rtol=1e-9, atol=0.0, equal_nan=True)
    return same
