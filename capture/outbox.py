"""Where recorded batches leave the training's thread: the ring, and word to the writer.

Whatever waits for the writer's thread waits here. What that thread does with the
batches is `digest`. May import the store's worker.
"""

from __future__ import annotations

import weakref
from functools import partial

from actrace.capture.batch import Batch
from actrace.capture.digest import Digest
from actrace.capture.labels.joining import BatchLabels
from actrace.capture.layer_table import LayerTable
from actrace.capture.open_windows import OpenWindows
from actrace.capture.ring import KEPT_BYTES
from actrace.store.worker import WriterThread

__all__ = ["Outbox"]

#: The writer's thread is told when so many parts of the ring wait for it: long before
#: it is full, and seldom.
_PARTS = 4


class Outbox:
    """The way from the open batch to the writer's thread.

    Parameters
    ----------
    table : LayerTable
    worker : WriterThread
    labels : BatchLabels
    n_bins : int
    sampled : bool
        Not everything is read, so how much was is kept too.
    """

    def __init__(
        self,
        table: LayerTable,
        worker: WriterThread,
        labels: BatchLabels,
        n_bins: int,
        *,
        sampled: bool,
    ) -> None:
        self._table = table
        self._worker = worker
        self._windows = OpenWindows(worker, labels, n_bins)
        self._digest = Digest(table, worker, self._windows, sampled=sampled)
        #: Batches that the writer's thread was told of.
        self._told = 0
        #: The row that the next batch adds up is empty.
        self._clean = True
        # Weak: each would keep the other alive.
        worker.idle = partial(_take, weakref.proxy(self._digest))
        labels.alone = partial(_alone_with, weakref.proxy(self))

    def open_row(self, phase: str) -> int | None:
        """Return an empty row of the ring for a batch, waiting for one if need be.

        None, and the batch counted as lost, where the writer's thread gives none
        back any more.
        """
        ring = self._table.ring
        if ring is not None and ring.full:
            self.tell()
            self._worker.wait_until(lambda: not ring.full)
            if ring.full:
                self._worker.lose(phase)
                return None
        if self._clean:
            self._table.begin()
        else:
            self.empty_row()
        self._clean = False
        return 0 if ring is None else ring.at

    def empty_row(self) -> None:
        """Make the row empty again: its batch was half."""
        self._table.clear()
        self._clean = True

    @property
    def given(self) -> int:
        """Batches handed over so far."""
        ring = self._table.ring
        return 0 if ring is None else ring.given

    @property
    def waited_seconds(self) -> float:
        """What the training waited for anything but the writer's thread."""
        return 0.0

    def give(self, batch: Batch) -> None:
        """Hand the row over as this batch."""
        ring = self._table.ring
        if ring is None:
            return
        if batch.torn:
            self._worker.call(self._windows.drop)
        ring.give(batch)
        # Not before: a signal may come between the two, and the row be another's then.
        self._clean = True
        many = ring.given - self._told >= ring.n_rows // _PARTS
        if many or ring.waiting_bytes > KEPT_BYTES // _PARTS:
            self.tell()

    def tell(self) -> None:
        """Let the writer's thread take what lies in the ring."""
        ring = self._table.ring
        given = 0 if ring is None else ring.given
        if given != self._told:
            self._worker.call(self._digest.take)
            self._told = given

    def rest(self) -> None:
        """The open batch's forward is over: nothing to do, for layers are called by then."""

    def drain(self) -> None:
        """Hand over what waits for anything but the writer's thread: here, nothing."""

    def close_windows(self) -> None:
        """Let the open windows be written."""
        self.tell()
        self._worker.call(self._windows.close)

    def settle(self, timeout: float | None = None) -> None:
        """Wait until the writer's thread has seen every batch handed over."""
        self.tell()
        self._worker.wait(timeout)

    def alone_with(self, batch: Batch) -> None:
        """Let the windows be those of an open batch, and the writer's thread leave them alone."""
        self.tell()
        self._worker.call(self._windows.turn_to, batch.phase, batch.epoch)
        self._worker.wait()


def _take(digest: Digest) -> None:
    digest.take()


def _alone_with(outbox: Outbox, batch: Batch) -> None:
    outbox.alone_with(batch)
