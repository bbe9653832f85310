"""The open windows of a phase: unit activity and labels on their way to the store.

One window of each group is open at a time. It is handed over when it is long
enough, and before anything that it may not span: another epoch, another phase,
a commit. Runs on the writer's thread. May import NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.capture.batch import Batch
from actrace.capture.labels.joining import BatchLabels
from actrace.capture.windows import (
    EpochLengths,
    WindowSpan,
    output_length,
    unit_length,
    window_parts,
)
from actrace.store.rows import WindowRow
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP
from actrace.store.worker import WriterThread

__all__ = ["OpenWindows"]


class OpenWindows:
    """The windows that are open now.

    Parameters
    ----------
    worker : WriterThread
    labels : BatchLabels
        What is counted in the windows of the output group.
    n_bins : int
    """

    def __init__(self, worker: WriterThread, labels: BatchLabels, n_bins: int) -> None:
        self._worker = worker
        self._labels = labels
        self._n_bins = n_bins
        self._phase: str | None = None
        self._lengths = EpochLengths()
        self._unit_span = WindowSpan()
        self._output_span = WindowSpan()
        self._active: NDArray[np.int64] = np.zeros(0, np.int64)
        self._total: NDArray[np.int64] = np.zeros(0, np.int64)
        self._units: NDArray[np.int64] = np.zeros(0, np.int64)
        self._declared: set[str] = set()

    def turn_to(self, phase: str, epoch: int) -> None:
        """End the windows that a batch of this phase and epoch may not join."""
        if (self._phase, self._lengths.epoch.get(phase)) != (phase, epoch):
            self.close()
        self._phase = phase

    def join(
        self,
        phase: str,
        epoch: int,
        batches: Sequence[Batch],
        active: NDArray[np.int64],
        total: NDArray[np.int64],
        units: NDArray[np.int64],
    ) -> None:
        """Let batches that were just handed over join the windows.

        Parameters
        ----------
        phase, epoch
            Of all of them.
        batches : sequence of Batch
        active : ndarray, shape (len(batches), n_units)
            Active elements of each unit.
        total : ndarray, shape (len(batches), n_layers)
            Elements that each unit of a layer had.
        units : ndarray, shape (n_layers,)
            Units of each layer.
        """
        self.turn_to(phase, epoch)
        n, n_layers = len(batches), len(units)
        if len(self._total) != n_layers:
            self._units = units
            self._total = np.zeros(n_layers, np.int64)
            self._active = np.zeros(active.shape[1], np.int64)
        limits = [self._lengths.add(phase, epoch) for _ in range(n)]
        if active.shape[1]:
            wanted = unit_length(active.shape[1], n_layers, self._n_bins)
            for start, stop, ends in window_parts(limits, wanted):
                self._active += active[start:stop].sum(axis=0)
                self._total += total[start:stop].sum(axis=0)
                self._unit_span.add(epoch, stop - start)
                if ends:
                    self._put_units(n - stop)
        self._join_labels(phase, epoch, batches, limits, n_layers)

    def close(self) -> None:
        """Hand over what is open."""
        if self._unit_span.batches:
            self._put_units(0)
        if self._output_span.batches:
            self._put_outputs(0)

    def drop(self) -> None:
        """Forget what is open: it may not be the sums of its batches."""
        self._active.fill(0)
        self._total.fill(0)
        self._unit_span, self._output_span = WindowSpan(), WindowSpan()
        self._labels.take_sums()

    def _join_labels(
        self,
        phase: str,
        epoch: int,
        batches: Sequence[Batch],
        limits: Sequence[tuple[int, int]],
        n_layers: int,
    ) -> None:
        labels = self._labels
        at = 0
        if not labels.known:
            # Nothing can be counted; what is missing is.
            labels.count(batches)
            return
        wanted = output_length(labels.n_classes, n_layers)
        for start, stop, ends in window_parts(limits, wanted):
            part = batches[start:stop]
            counted = labels.count(part)
            if self._output_span.batches or any(counted):
                if not self._output_span.batches:
                    # A window begins with the first batch that has labels.
                    part = part[counted.index(True) :]
                if phase not in self._declared:
                    self._worker.declare_output(phase, labels.info())
                    self._declared.add(phase)
                self._output_span.add(epoch, len(part))
                at = stop
            if ends and at == stop:
                self._put_outputs(len(batches) - stop)

    def _put_units(self, later: int) -> None:
        total = np.repeat(self._total, self._units)
        self._put(UNIT_GROUP, self._unit_span, {"active": self._active, "total": total}, later)
        self._active.fill(0)
        self._total.fill(0)
        self._unit_span = WindowSpan()

    def _put_outputs(self, later: int) -> None:
        sums = self._labels.take_sums()
        if sums is not None:
            self._put(OUTPUT_GROUP, self._output_span, sums, later)
        self._output_span = WindowSpan()

    def _put(
        self, group: str, span: WindowSpan, values: dict[str, NDArray[Any]], later: int
    ) -> None:
        self._worker.write_window(
            WindowRow(self._phase or "", group, span.batches, span.epoch, values, later)
        )
