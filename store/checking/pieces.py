"""The chunk files of a run, one inner chunk at a time, each whole or with what is wrong with it.

Reading a run stops at the first damage; here damage is an answer. What cannot be
read the ordinary way but is there all the same is handed out too: the rows of a
file that is older than its commit, and the inner chunks of a shard whose index
is damaged. May import NumPy and numcodecs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.chunk_checks import OVERHEAD, check_chunk
from actrace.store.layout import CRC_BYTES, NO_CHUNK, crc32c, decode_strings, is_unwritten
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.rewriting.marks import Marks, thinned_cells
from actrace.store.snapshot import SnapshotStore
from actrace.store.sources.source import OpenFile

__all__ = ["Piece", "PieceReader", "grows"]

_BLOSC_HEADER: Final = 16


def grows(entry: ArrayEntry) -> bool:
    """Return whether an array grows while a run is recorded."""
    return entry.dims[-1] in ("batch", "window")


@dataclass(frozen=True, slots=True)
class Piece:
    """One inner chunk as it was found.

    Attributes
    ----------
    key : str
        Its file, below the run.
    start, stop : tuple of int
        What of the array it holds, cut to the committed shape.
    values : ndarray or None
        The values, shape ``stop - start``; None where nothing can be had. Of an
        older file the last dimension is shorter.
    problem : str
        What is wrong with it, empty if it is whole.
    """

    key: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    values: NDArray[Any] | None
    problem: str = ""


class PieceReader:
    """Reads the pieces of one committed state of a run.

    Parameters
    ----------
    manifest : Manifest
        The run's root document, checked.
    """

    __slots__ = ("_store", "_thinned", "manifest")

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._store = SnapshotStore(manifest)
        self._thinned = thinned_cells(manifest.attributes)

    def close(self) -> None:
        """Close every file."""
        self._store.close()

    def read(self, entry: ArrayEntry, index: tuple[int, ...]) -> Iterator[Piece]:
        """Yield the pieces of chunk file `index`, in their order."""
        key = entry.key(index)
        places = list(_places(entry, index))
        try:
            file = self._store.open_file(key, "it")
            located = _locate(file, entry)
        except DamagedRunError as error:
            problem = str(error).removeprefix("it ").partition(";")[0].partition(",")[0]
            for _, start, stop in places:
                yield Piece(key, start, stop, None, problem)
            return
        for number, start, stop in places:
            found = located[number]
            if isinstance(found, str):
                yield Piece(key, start, stop, None, found)
                continue
            offset, length, problem = found
            try:
                values = _decode(file.read(offset, offset + length), entry)
            except (DamagedRunError, RuntimeError, ValueError) as error:
                yield Piece(key, start, stop, None, _short(error))
                continue
            values = values[tuple(slice(b - a) for a, b in zip(start, stop, strict=True))]
            gone = _gone(self._thinned.get(entry.path), start, stop)
            written = _written(values, gone) if grows(entry) else values.shape[-1]
            if written < values.shape[-1]:
                problem = problem or "older than the commit: it lacks rows that were committed"
            yield Piece(key, start, stop, values[..., :written], problem)

    def read_file(self, key: str, most: int = 2**31) -> bytes:
        """Return a file of the run as it is.

        Raises
        ------
        DamagedRunError
            It is missing, a link, or longer than `most`.
        """
        file = self._store.open_file(key, "it")
        if file.size > most:
            raise DamagedRunError(f"it has {file.size} bytes, more than {most}")
        return file.read(0, file.size)

    def names(self, path: str) -> list[str] | None:
        """Return a list of names, None where it is not there or damaged."""
        entry = self.manifest.arrays.get(path)
        if entry is None or entry.dtype != "string" or len(entry.shape) != 1:
            return None
        found: list[str] = []
        for at in range(entry.grid[0]):
            for piece in self.read(entry, (at,)):
                if piece.problem or piece.values is None:
                    return None
                found += map(str, piece.values)
        return found


def _places(
    entry: ArrayEntry, index: tuple[int, ...]
) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Yield number, start and stop of each piece of a chunk file that was committed."""
    grid = tuple(c // i for c, i in zip(entry.chunk, entry.inner, strict=True))
    origin = tuple(i * c for i, c in zip(index, entry.chunk, strict=True))
    # Not all of the grid: a chunk may be far larger than what there is of the array.
    there = (
        range(min(g, -(-(n - o) // i)))
        for g, n, o, i in zip(grid, entry.shape, origin, entry.inner, strict=True)
    )
    for at in itertools.product(*there):
        start = tuple(o + a * i for o, a, i in zip(origin, at, entry.inner, strict=True))
        stop = tuple(min(a + i, n) for a, i, n in zip(start, entry.inner, entry.shape, strict=True))
        yield int(np.ravel_multi_index(at, grid)), start, stop


def _locate(file: OpenFile, entry: ArrayEntry) -> list[tuple[int, int, str] | str]:
    """Return (offset, length, problem) of each inner chunk, or why it cannot be had."""
    names = 2**26 if entry.inner_bytes is None else entry.inner_bytes
    most = names + OVERHEAD
    if not entry.sharded:
        if file.size > most:
            return [f"has {file.size} bytes; it can hold {most}"]
        return [(0, file.size, "")]
    table = 16 * entry.n_inner + CRC_BYTES
    tail = file.read(max(0, file.size - table), file.size)
    if len(tail) != table or crc32c(tail[:-CRC_BYTES]) != tail[-CRC_BYTES:]:
        return _walk(file, entry, most)
    found: list[tuple[int, int, str] | str] = []
    for offset, length in np.frombuffer(tail[:-CRC_BYTES], "<u8").reshape(-1, 2).tolist():
        if NO_CHUNK in (offset, length):
            found.append("the shard lacks it")
        elif length > most or offset + length > file.size - table:
            found.append("the shard's index points outside")
        else:
            found.append((offset, length, ""))
    return found


def _walk(file: OpenFile, entry: ArrayEntry, most: int) -> list[tuple[int, int, str] | str]:
    """Return where the inner chunks of a shard lie whose index is damaged.

    The writer puts them one after another, and each says its own length, so they
    are found from the front for as long as every one is whole.
    """
    problem = "the shard's index is damaged or cut off"
    found: list[tuple[int, int, str] | str] = []
    offset = 0
    if entry.codecs == ("bytes", "blosc", "crc32c"):
        while len(found) < entry.n_inner:
            header = file.read(offset, offset + _BLOSC_HEADER)
            length = int.from_bytes(header[12:16], "little") + CRC_BYTES
            if len(header) < _BLOSC_HEADER or length > most:
                break
            data = file.read(offset, offset + length)
            if len(data) < length or crc32c(data[:-CRC_BYTES]) != data[-CRC_BYTES:]:
                break
            found.append((offset, length, problem))
            offset += length
    return found + [problem] * (entry.n_inner - len(found))


def _decode(data: bytes, entry: ArrayEntry) -> NDArray[Any]:
    """Return the values of an inner chunk, whole size, little-endian."""
    check_chunk(data, entry, "it")
    if entry.dtype == "string":
        return _decode_names(data, entry)
    if entry.checked:
        data = data[:-CRC_BYTES]
    if "blosc" in entry.codecs:
        data = Blosc().decode(data)
    elif "zstd" in entry.codecs:
        data = Zstd().decode(data)
    return np.frombuffer(data, np.dtype(entry.dtype).newbyteorder("<")).reshape(entry.inner)


def _decode_names(data: bytes, entry: ArrayEntry) -> NDArray[Any]:
    if entry.codecs != ("vlen-utf8", "blosc", "crc32c"):
        raise DamagedRunError("it has other codecs than a writer's; it is not read here")
    names = decode_strings(data, "it")
    if len(names) != math.prod(entry.inner):
        raise DamagedRunError(f"it holds {len(names)} names, expected {math.prod(entry.inner)}")
    found = np.empty(len(names), object)
    found[:] = names
    return found


def _gone(
    marks: Marks | None, start: tuple[int, ...], stop: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Return which rows of a piece were thinned in all of its layers, None for none."""
    if marks is None:
        return None
    rows = [marks.rows(layer, start[-1], stop[-1]) for layer in range(start[0], stop[0])]
    return np.asarray(np.logical_and.reduce(rows))


def _written(values: NDArray[Any], gone: NDArray[np.bool_] | None = None) -> int:
    """Return how many of the last dimension's rows were there when the file was written.

    Those that were thinned do not tell.
    """
    n = int(values.shape[-1])
    if gone is not None and gone.any():
        kept = np.flatnonzero(~gone)
        there = _written(values[..., kept])
        return n if there == len(kept) else int(kept[there])
    if not n or not values.size or not is_unwritten(values[..., n - 1]):
        return n
    low, high = 0, n - 1  # rows are written from the front
    while low < high:
        middle = (low + high) // 2
        if is_unwritten(values[..., middle]):
            high = middle
        else:
            low = middle + 1
    return low


def _short(error: Exception) -> str:
    """Return an error's reason alone."""
    text = str(error).removeprefix("it is damaged: ").removeprefix("it ")
    return text.partition(";")[0][:200]
