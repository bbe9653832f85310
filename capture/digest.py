"""What the writer's thread does with recorded batches: rows and windows for the store.

Takes batches from the ring, several at once, so that NumPy's fixed cost and the
interpreter's lock are shared by many of them and the training is held up
little. May import NumPy.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from actrace.capture.batch import Batch
from actrace.capture.layer_table import LayerTable
from actrace.capture.open_windows import OpenWindows
from actrace.capture.slot_table import MOMENT
from actrace.store.rows import BatchRows
from actrace.store.worker import WriterThread

__all__ = ["Digest"]


class Digest:
    """Turns the ring's rows into what the store takes; runs on the writer's thread.

    Parameters
    ----------
    table : LayerTable
    worker : WriterThread
    windows : OpenWindows
    sampled : bool
        Not everything is read, so how much was is kept too.
    """

    def __init__(
        self, table: LayerTable, worker: WriterThread, windows: OpenWindows, *, sampled: bool
    ) -> None:
        self._sampled = sampled
        self._table = table
        self._worker = worker
        self._windows = windows

    def take(self) -> None:
        """Hand every batch that the training has given to the store's writer."""
        ring = self._table.ring
        while ring is not None and ring.given > ring.taken:
            start, batches = ring.ready()
            for (phase, epoch, lost), some in groupby(batches, key=_alike):
                together = list(some)
                try:
                    if lost is not None:
                        raise lost
                    self._take(start, together, phase, epoch)
                except Exception as error:
                    # A fault of ours: windows may lack what the store has.
                    self._windows.drop()
                    self._worker.lose_batches(phase, len(together), error)
                start += len(together)
            ring.take(len(batches))

    def _take(self, start: int, batches: list[Batch], phase: str, epoch: int) -> None:
        ring = self._table.ring
        if ring is None:
            return
        table, stop = ring.table, start + len(batches)
        total, moments = table.total(start, stop), table.moments(start, stop)
        for at, batch in enumerate(batches):
            for layer, (activation, death) in batch.apart.items():
                total[at, layer] = 0
                moments[MOMENT["activation_rate"], at, layer] = activation
                moments[MOMENT["death_rate"], at, layer] = death
        self._worker.write_batches(
            BatchRows(
                phase,
                table.count[start:stop],
                table.counters(start, stop),
                moments,
                step=[batch.step for batch in batches],
                epoch=[epoch] * len(batches),
                samples=[batch.samples for batch in batches],
                time=[batch.time for batch in batches],
                loss=[batch.loss for batch in batches],
                logged=[batch.logged for batch in batches],
                gradient=[batch.gradient for batch in batches],
                output_gradient=[batch.output_gradient for batch in batches],
                sampled=table.sampled(start, stop) if self._sampled else None,
            )
        )
        active: NDArray[np.int64] = table.active[start:stop]
        self._windows.join(phase, epoch, batches, active, total, table.units)


def _alike(batch: Batch) -> tuple[str, int, Exception | None]:
    return batch.phase, batch.epoch, batch.error
