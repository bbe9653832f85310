"""The unfinished chunk of one growing array, kept in memory.

A chunk file is always written whole from here, again when it has grown, and
never read back and changed. Rows lie in memory one after another, so that an
append is one copy; they are turned to the disk's order, batch last, when the
file is encoded. May import NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.store.files import RunFiles
from actrace.store.layout import Layout

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
    def full(self) -> bool:
        """Whether the next row begins another chunk."""
        return self._filled == self.layout.length

    @property
    def dirty(self) -> bool:
        """Whether it holds rows that its chunk file does not."""
        return self._dirty

    def check(self, value: Any) -> None:
        """Refuse a row that this array cannot hold exactly.

        Raises
        ------
        OverflowError
            A count of 2**32 - 1 or more in a run of 32-bit counts.
        ValueError
            Another shape than the array's, or a step, epoch or size below 0.
        """
        shape = np.shape(value)
        if shape != self.layout.fixed:
            raise ValueError(
                f"{self.path}: got a row of shape {shape}, expected {self.layout.fixed}"
            )
        if self.layout.dtype == np.uint32 and np.max(value) >= 0xFFFFFFFF:
            raise OverflowError(
                f"{self.path}: a count reached 2**32, got {int(np.max(value))}, and this run's "
                "counts have 32 bits; record fewer samples a batch"
            )
        if self.layout.dtype.kind == "i" and np.min(value) < 0:
            raise ValueError(f"{self.path}: got {int(np.min(value))}, expected 0 or more")

    def make_room(self, files: RunFiles) -> None:
        """Start the next chunk if this one is full, writing it first.

        Raises
        ------
        StoreWriteError
            The full chunk cannot be written; it stays in memory.
        """
        if self.full:
            self.write(files)
            self._start += self._filled
            self._filled = 0

    def append(self, value: Any) -> None:
        """Add a row that was checked, after `make_room`."""
        self._buffer[self._filled] = value
        self._filled += 1
        self._dirty = True

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
