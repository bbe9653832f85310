"""Batches that wait for what a device counted of them, before the writer may have them.

A batch keeps its row of the ring, with what the CPU counted, from its end on; when
its row has come from the device the two are put together, and it is handed over, in
order. No step waits for the device but where its own ring is full. Whatever fails
here gives the device up: batches that had not come are counted as lost, and the
recording of the CPU goes on. May import the store's worker.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actrace.capture.batch import Batch
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.rows import HostRow, fill_row
from actrace.capture.labels.joining import BatchLabels
from actrace.capture.layer_table import LayerTable
from actrace.capture.outbox import Outbox
from actrace.capture.ring import KEPT_BYTES, Ring
from actrace.errors import RecorderError
from actrace.store.worker import WriterThread

__all__ = ["DeviceOutbox"]

#: Something is done when this part of what may wait does: long before it is all, and seldom.
_PARTS: Final = 4


@dataclass(slots=True)
class _Waiting:
    """A batch that ended.

    Attributes
    ----------
    batch : Batch
    number : int
        How many rows the ring had handed over before this one.
    void : frozenset of int
    others : dict of int to dict of int to int
        See `fill_row`.
    host : HostRow or None
        What the CPU counted, once it was looked for.
    looked : bool
    """

    batch: Batch
    number: int
    void: frozenset[int]
    others: dict[int, dict[int, int]]
    host: HostRow | None = None
    looked: bool = False


class DeviceOutbox(Outbox):
    """An `Outbox` where a batch is handed over once its row has come from the device.

    Parameters
    ----------
    table : LayerTable
    worker : WriterThread
    labels : BatchLabels
    n_bins : int
    device : DeviceCapture
    fault : callable
        Says that something of ours failed.
    sampled : bool
        As in `Outbox`.
    """

    def __init__(
        self,
        table: LayerTable,
        worker: WriterThread,
        labels: BatchLabels,
        n_bins: int,
        *,
        device: DeviceCapture[Batch],
        fault: Callable[[str, BaseException], None],
        sampled: bool = False,
    ) -> None:
        super().__init__(table, worker, labels, n_bins, sampled=sampled)
        self._device = device
        self._labels = labels
        self._fault = fault
        self._waiting: deque[_Waiting] = deque()
        #: What too many copies on the host made the training wait.
        self._waited_seconds = 0.0

    @property
    def given(self) -> int:
        """Batches that ended so far, handed over or waiting."""
        ring = self._table.ring
        return 0 if ring is None else ring.opened

    @property
    def waited_seconds(self) -> float:
        """What steps waited for the device; what was asked for is not counted."""
        return self._waited_seconds + self._device.waited_seconds

    def open_row(self, phase: str) -> int | None:
        """Return an empty row of the ring; the device has one too, from now on."""
        ring, kept = self._table.ring, sum(waiting.batch.kept_bytes for waiting in self._waiting)
        if kept > KEPT_BYTES // _PARTS:
            self._try(self._device.fetch)
        if kept > KEPT_BYTES or (ring is not None and ring.full):
            self._take()
        if kept > KEPT_BYTES or (
            # Rows come long before: a device that brings none is not to stop a training.
            ring is not None and ring.full and 2 * len(self._waiting) > ring.n_rows
        ):
            began = perf_counter()
            self.drain()
            self._waited_seconds += perf_counter() - began
        row = super().open_row(phase)
        if row is not None:
            self._try(self._device.begin)
        return row

    def empty_row(self) -> None:
        """Make the row empty again: its batch was half."""
        self._try(self._device.end, None)
        self._try(self._device.rest)
        super().empty_row()

    def rest(self) -> None:
        """The open batch's forward is over, on the device too."""
        self._try(self._device.rest)

    def give(self, batch: Batch) -> None:
        """Let the batch wait for its row, and hand over those whose row has come."""
        ring = self._table.ring
        if ring is None or not self._worker.usable:
            return  # a forked child has no writer, and must not ask for the device
        if self._device.off is not None:
            self._settle_labels(batch)
            super().give(batch)
            return
        void, others = self._device.void, self._table.others()
        try:
            self._device.end(batch)
        except Exception as error:
            batch.error = error
        if not self._waiting or self._waiting[-1].batch is not batch:
            self._waiting.append(_Waiting(batch, ring.opened, void, others))
        # From here on the batch has its row, and the next one another.
        ring.ended = ring.opened + 1
        self._clean = True
        if batch.error is None:
            self._take()
        else:
            self._give_up(batch.error)

    def drain(self) -> None:
        """Wait until every batch that ended has come, and hand them over."""
        if not self._worker.usable or self._device.capturing():
            return
        if self._waiting:
            self._try(self._device.flush)
            self._take()
        if self._waiting and self._device.off is None:
            self._give_up(RecorderError(f"{len(self._waiting)} batches never came"))

    def settle(self, timeout: float | None = None) -> None:
        """Wait until the writer's thread has seen every batch that ended."""
        self.drain()
        super().settle(timeout)

    def alone_with(self, batch: Batch) -> None:
        """Let the windows be those of an open batch, all others having come."""
        self.drain()
        super().alone_with(batch)

    def _take(self) -> None:
        """Hand over the batches whose rows have come; never waits."""
        if self._device.off is not None or not self._worker.usable:
            return
        try:
            while (first := self._device.first()) is not None:
                self._bring(*first)
                self._device.pop()
        except Exception as error:
            self._give_up(error)

    def _bring(self, batch: Batch, words: NDArray[np.int64]) -> None:
        """Put a row that came where it belongs; what a signal cut off is done again."""
        ring, device_ring, waiting = self._table.ring, self._device.ring, self._waiting
        if ring is None or device_ring is None:
            return
        while waiting and waiting[0].number < ring.given:
            waiting.popleft()
        if not any(one.batch is batch for one in waiting):
            return  # handed over before
        one = waiting[0]
        if one.batch is not batch:
            raise RecorderError(f"batch {batch.step} came before batch {one.batch.step}")
        at = ring.given % ring.n_rows
        if not one.looked:
            one.host = HostRow.of(ring.table, at)
            one.looked = True
        layout = device_ring.layout
        rates = fill_row(
            layout, words, ring.table, at, one.host,
            void=one.void, apart=batch.apart, others=one.others,
        )  # fmt: skip
        batch.apart.update(rates)
        if batch.loss_on_device or (self._device.loss_captured and math.isnan(batch.loss)):
            batch.loss = layout.loss_of(words)
        if batch.replayed and batch.replayed != layout.mark_of(words):
            batch.output = batch.target = None  # there was no replay, or another graph's
        self._settle_labels(batch)
        self._hand(ring, batch)
        waiting.popleft()

    def _hand(self, ring: Ring, batch: Batch) -> None:
        """Let the writer's thread have the oldest row that waits, as this batch."""
        if batch.torn:
            self._worker.call(self._windows.drop)
        ring.give(batch)
        many = _PARTS * (ring.given - self._told) >= ring.n_rows
        if many or _PARTS * ring.waiting_bytes > KEPT_BYTES:
            self.tell()

    def _settle_labels(self, batch: Batch) -> None:
        try:
            self._labels.settle(batch)
        except Exception as error:
            self._fault("reading the labels of a batch", error)
            self._labels.leave_out(batch, f"{type(error).__name__}: {error}")

    def _give_up(self, error: Exception) -> None:
        """Go on without the device: what had not come is lost, and counted as lost."""
        self._device.give_up(error)
        ring, waiting = self._table.ring, self._waiting
        while ring is not None and waiting:
            if waiting[0].number == ring.given:
                waiting[0].batch.error = error
                self._hand(ring, waiting[0].batch)
            waiting.popleft()

    def _try(self, what: Callable[..., None], *arguments: Batch | None) -> None:
        if self._device.off is not None or not self._worker.usable:
            return
        try:
            what(*arguments)
        except Exception as error:
            self._give_up(error)
