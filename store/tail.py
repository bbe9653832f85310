"""The unfinished chunk of one growing array, kept in memory.

A chunk file is always written whole from here, again when it has grown, and
never read back and changed; rows of full chunks may be read for a level. Rows
lie in memory one after another, so that an append is one copy; they are turned
to the disk's order, batch last, when the file is encoded. May import NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError, RemoteError
from actrace.store.files import RunFiles
from actrace.store.layout import Layout, is_unwritten

__all__ = ["Tail"]


class Tail:
    """The rows of an array since its last full chunk file.

    Parameters
    ----------
    path : str
        The array's path below the run.
    layout : Layout
    fill : float or int
        Value of cells not written yet.
    """

    __slots__ = ("_buffer", "_dirty", "_filled", "_start", "fill", "layout", "path")

    def __init__(self, path: str, layout: Layout, fill: float) -> None:
        self.path = path
        self.layout = layout
        self.fill = fill
        # Untouched pages of it cost no memory.
        self._buffer: NDArray[Any] = np.empty((layout.length, *layout.fixed), layout.dtype)
        self._start = 0
        self._filled = 0
        self._dirty = False

    @property
    def length(self) -> int:
        """Rows of the array, those on disk and those in memory."""
        return self._start + self._filled

    @property
    def room(self) -> int:
        """Rows that the chunk in memory still takes, 0 if it is full."""
        return self.layout.length - self._filled

    @property
    def dirty(self) -> bool:
        """Whether it holds rows that its chunk file does not."""
        return self._dirty

    def check(self, rows: NDArray[Any]) -> None:
        """Refuse rows that this array cannot hold exactly.

        Parameters
        ----------
        rows : ndarray, shape (n, *fixed)

        Raises
        ------
        OverflowError
            A count of 2**32 - 1 or more in a run of 32-bit counts.
        ValueError
            Another shape than the array's, or a step, epoch or size below 0.
        """
        if rows.shape[1:] != self.layout.fixed:
            raise ValueError(
                f"{self.path}: got a row of shape {rows.shape[1:]}, expected {self.layout.fixed}"
            )
        if self.layout.dtype == np.uint32 and rows.max(initial=0) >= 0xFFFFFFFF:
            raise OverflowError(
                f"{self.path}: a count reached 2**32, got {int(rows.max())}, and this run's "
                "counts have 32 bits; record fewer samples a batch"
            )
        if self.layout.dtype.kind == "i" and rows.min(initial=0) < 0:
            raise ValueError(f"{self.path}: got {int(rows.min())}, expected 0 or more")

    def make_room(self, files: RunFiles) -> None:
        """Start the next chunk if this one is full, writing it first.

        Raises
        ------
        StoreWriteError
            The full chunk cannot be written; it stays in memory.
        """
        if not self.room:
            self.write(files)
            self._start += self._filled
            self._filled = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows that were checked, no more than there is `room` for."""
        end = self._filled + len(rows)
        # Checked: what is cast here fits; a moment beyond float32 becomes infinity.
        with np.errstate(over="ignore"):
            np.copyto(self._buffer[self._filled : end], rows, casting="unsafe")
        self._filled = end
        self._dirty = True

    def rows(self, start: int, stop: int, files: RunFiles) -> NDArray[Any]:
        """Return rows that the array has, shape (n, *fixed); not to be changed.

        Those of the chunk in memory come from there, others from their full chunks.

        Raises
        ------
        DamagedRunError
            A chunk is missing or damaged.
        RemoteError
            An object store does not answer.
        """
        parts = []
        while start < min(stop, self._start):
            index, at = divmod(start, self.layout.length)
            end = min(stop - start + at, self.layout.length)
            parts.append(self._read(index, files)[at:end])
            start += end - at
        if start < stop or not parts:
            parts.append(self._buffer[start - self._start : stop - self._start])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read(self, index: int, files: RunFiles) -> NDArray[Any]:
        key = f"{self.path}/{self.layout.key(index)}"
        what = f"run {str(files.where)!r}: chunk file {key!r}"
        try:
            data = files.read(key)
        except RemoteError:
            raise
        except OSError as error:
            raise DamagedRunError(
                f"{what} cannot be read: {error.strerror}; restore the file from a copy"
            ) from error
        rows = self.layout.decode(data, what)
        if is_unwritten(rows[-1]):
            raise DamagedRunError(
                f"{what} lacks rows that were committed; restore the file from a copy"
            )
        return rows

    def restore(self, start: int, rows: NDArray[Any]) -> None:
        """Take over `rows`, which are on disk in the chunk that begins at `start`."""
        self._start = start
        self._buffer[: len(rows)] = rows
        self._filled = len(rows)

    def write(self, files: RunFiles) -> None:
        """Write the chunk file if it holds rows that the disk does not.

        Raises
        ------
        StoreWriteError
            The file cannot be written; the rows stay in memory.
        """
        if not self._dirty:
            return
        index = self._start // self.layout.length
        data = self.layout.encode(self._buffer[: self._filled])
        files.write(f"{self.path}/{self.layout.key(index)}", data)
        self._dirty = False

    def backfill(self, files: RunFiles, n: int) -> None:
        """Make the array `n` rows long, all of them the fill value.

        Raises
        ------
        StoreWriteError
            A chunk cannot be written.
        """
        length = self.layout.length
        full, rest = divmod(n, length)
        if full:
            rows = np.full((length, *self.layout.fixed), self.fill, self.layout.dtype)
            data = self.layout.encode(rows)
            for index in range(full):
                files.write(f"{self.path}/{self.layout.key(index)}", data)
        self._start = full * length
        self._buffer[:rest] = self.fill
        self._filled = rest
        self._dirty = rest > 0
