"""The ring of device rows: a batch takes one, and rows are fetched many at a time.

Which row is written is told by a number on the device, read there when something is
written: so a CUDA graph, captured once, writes to another row each time it is replayed.
A batch's beginning sets the number, so host and device can never come to differ; while
no forward is recorded it is that of a spare row, which holds what nobody asked for.
A signal may raise anywhere in here: rows are put where they go before they are taken
from where they were, so one may come twice and none is lost. When half of the rows hold batches
that were not fetched, or the oldest waits for too long, one copy to the host
begins, and is looked at later, without waiting. Only where the ring is full does
a batch wait for a copy, which is clocked. May import torch and NumPy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.cuda.device import Device, Event
from actrace.capture.cuda.layout import RowLayout
from actrace.errors import RecorderError

__all__ = ["DeviceRing", "rows_that_fit"]

T = TypeVar("T")
_MOST, _LEAST, _BYTES = 64, 4, 64 * 2**20


def rows_that_fit(n_words: int) -> int:
    """Return how many rows a ring has: from 4 to 64, within 64 MiB if that is enough for 4.

    Examples
    --------
    >>> rows_that_fit(10_000), rows_that_fit(400_000), rows_that_fit(10**8)
    (64, 20, 4)
    """
    return max(_LEAST, min(_MOST, _BYTES // (8 * n_words)))


@dataclass(slots=True)
class _Taken(Generic[T]):
    """A row that a batch has.

    Attributes
    ----------
    row : int
    batch : T or None
        None if it is not wanted any more.
    since : float
        When it began.
    kept : ndarray or None
        The row, where its place on the host was wanted before it was taken.
    """

    row: int
    batch: T | None
    since: float
    kept: NDArray[np.int64] | None = None


@dataclass(slots=True)
class _Copy(Generic[T]):
    event: Event
    rows: list[_Taken[T]]


class DeviceRing(Generic[T]):
    """Rows of one device, for batches of any type `T`.

    Parameters
    ----------
    layout : RowLayout
    device : Device
    n_rows : int, optional
        Default: `rows_that_fit`.
    max_seconds : float
        A batch is fetched at the latest when it is this old and the next one ends.
    clock : callable

    Attributes
    ----------
    words : Tensor, shape (n_rows + 1, n_words), int64
        On the device. The last row is the spare one.
    slot : Tensor, shape (1,), int64
        On the device: the row of the batch whose forward runs, or else the spare one.
    waited_seconds : float
        Spent waiting for the device, flushes left out.
    """

    def __init__(
        self,
        layout: RowLayout,
        device: Device,
        n_rows: int | None = None,
        *,
        max_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        n_rows = rows_that_fit(layout.n_words) if n_rows is None else n_rows
        if n_rows < 2:
            raise RecorderError(f"a ring needs at least 2 rows, got {n_rows}")
        self.layout = layout
        self.n_rows = n_rows
        self._device = device
        with torch.inference_mode(False):
            blank = torch.from_numpy(layout.blank()).to(device.device)
            self._blank = blank.view(1, -1)
            self.words = self._blank.repeat(n_rows + 1, 1)
            self.slot = torch.full((1,), n_rows, dtype=torch.int64, device=device.device)
        self._host = device.host((n_rows, layout.n_words))
        self._rows: NDArray[np.int64] = self._host.numpy()
        self._at = n_rows - 1
        self._open: _Taken[T] | None = None
        self._ended: list[_Taken[T]] = []  # not fetched
        self._copies: deque[_Copy[T]] = deque()
        self._ready: deque[_Taken[T]] = deque()
        self._max_seconds = max_seconds
        self._clock = clock
        self._one = device.host((1, layout.n_words))
        self.waited_seconds = 0.0

    def begin(self) -> None:
        """Give the batch that begins a row of its own."""
        if self._open is not None:
            self.end(None)
        following = (self._at + 1) % self.n_rows
        if any(taken.row == following for taken in self._ended):
            self._fetch()
        began = self._clock()
        while any(taken.row == following for copy in self._copies for taken in copy.rows):
            self._copies[0].event.synchronize()
            self._collect()
            self.waited_seconds += self._clock() - began
            began = self._clock()
        self._at = following
        self.slot.fill_(following)
        self.words.index_copy_(0, self.slot, self._blank)
        self._open = _Taken(following, None, began)

    def rest(self) -> None:
        """Let the device write to the spare row until the next batch begins."""
        self.slot.fill_(self.n_rows)

    def end(self, batch: T | None) -> None:
        """Note whose row the open one is; None if nobody will ask for it."""
        taken = self._open
        if taken is None:
            return
        taken.batch = batch
        if not self._ended or self._ended[-1] is not taken:
            self._ended.append(taken)
        self._open = None
        late = self._clock() - self._ended[0].since > self._max_seconds
        if (late or 2 * len(self._ended) >= self.n_rows) and not self._device.capturing():
            self._fetch()

    def fetch(self) -> None:
        """Begin to fetch every batch that has ended."""
        if not self._device.capturing():
            self._fetch()

    @property
    def row(self) -> int:
        """The row of the open batch, or the spare one."""
        return self.n_rows if self._open is None else self._open.row

    def peek(self) -> NDArray[np.int64] | None:
        """Return the row of the open batch as it is by now, None without one; waits for it."""
        if self._open is None or self._device.capturing():
            return None
        return self._look(self._open.row)

    def strays(self) -> NDArray[np.int64]:
        """Return the spare row; waits for it."""
        return self._look(self.n_rows)

    def _look(self, row: int) -> NDArray[np.int64]:
        self._device.fetch(self._one, self.words[row : row + 1]).synchronize()
        found: NDArray[np.int64] = self._one.numpy()[0]
        return found

    def first(self) -> tuple[T, NDArray[np.int64]] | None:
        """Return the oldest batch that has come, with its row; None if none has.

        It stays the first until `pop`, so that whoever is interrupted finds it again.
        The row is overwritten once a later batch has it.
        """
        if not self._device.capturing():
            self._collect()
        while self._ready and self._ready[0].batch is None:
            self._ready.popleft()
        if not self._ready:
            return None
        taken = self._ready[0]
        if taken.batch is None:
            return None
        return taken.batch, self._rows[taken.row] if taken.kept is None else taken.kept

    def pop(self) -> None:
        """Take the batch that `first` returned off the ring."""
        if self._ready:
            self._ready.popleft()

    def fetch_all(self) -> None:
        """Fetch every batch that has ended, and wait for all of them."""
        self._fetch()
        while self._copies:
            self._copies[0].event.synchronize()
            self._collect()

    @property
    def held(self) -> int:
        """Batches that have ended and were not popped."""
        lists = [self._ended, self._ready, *(copy.rows for copy in self._copies)]
        return sum(taken.batch is not None for rows in lists for taken in rows)

    def _fetch(self) -> None:
        """Begin to copy what has ended, in one piece, or in two where it goes round."""
        while self._ended:
            first = self._ended[0].row
            n = 1
            while n < len(self._ended) and self._ended[n].row == first + n:
                n += 1
            some = self._ended[:n]
            if len(self._ready) > self.n_rows:
                raise RecorderError(
                    f"{len(self._ready)} batches have come and were not taken, in a ring of "
                    f"{self.n_rows}; take them by first() and pop() between two batches"
                )
            fresh = {taken.row for taken in some}
            for taken in self._ready:
                if taken.row in fresh and taken.kept is None:
                    taken.kept = self._rows[taken.row].copy()
            event = self._device.fetch(self._host[first : first + n], self.words[first : first + n])
            self._copies.append(_Copy(event, some))
            del self._ended[:n]

    def _collect(self) -> None:
        while self._copies and self._copies[0].event.query():
            self._ready.extend(self._copies[0].rows)
            self._copies.popleft()
