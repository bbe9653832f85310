"""The open windows of a phase: unit activity and labels on their way to the store.

One window of each group is open at a time. It is handed over when it is long
enough, and before anything that it may not span: another epoch, another phase,
a commit. Runs on the writer's thread. May import NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from actrace.store.rows import WindowRows
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
            self._join_units(epoch, limits, active, total)
        self._join_labels(epoch, batches, limits, n_layers)

    def close(self) -> None:
        """Hand over what is open."""
        if self._unit_span.batches:
            self._put_units([self._unit_span.close()], [0], self._active[None], self._total[None])
            self._active.fill(0)
            self._total.fill(0)
        if self._output_span.batches:
            self._put_outputs([self._output_span.close()], [0])

    def drop(self) -> None:
        """Forget what is open: it may not be the sums of its batches."""
        self._active.fill(0)
        self._total.fill(0)
        self._unit_span, self._output_span = WindowSpan(), WindowSpan()
        self._labels.drop_sums()

    def _join_units(
        self,
        epoch: int,
        limits: Sequence[tuple[int, int]],
        active: NDArray[np.int64],
        total: NDArray[np.int64],
    ) -> None:
        parts = window_parts(limits, unit_length(active.shape[1], len(self._units), self._n_bins))
        starts = [start for start, _, _ in parts]
        active = np.add.reduceat(active, starts, axis=0)
        total = np.add.reduceat(total, starts, axis=0)
        active[0] += self._active
        total[0] += self._total
        spans: list[tuple[int, int]] = []
        for start, stop, ends in parts:
            self._unit_span.add(epoch, stop - start)
            if ends:
                spans.append(self._unit_span.close())
        n = len(spans)
        self._active, self._total = np.zeros_like(self._active), np.zeros_like(self._total)
        if n < len(parts):
            self._active, self._total = active[n], total[n]
        if n:
            later = [len(limits) - stop for _, stop, _ in parts[:n]]
            self._put_units(spans, later, active[:n], total[:n])

    def _join_labels(
        self,
        epoch: int,
        batches: Sequence[Batch],
        limits: Sequence[tuple[int, int]],
        n_layers: int,
    ) -> None:
        labels = self._labels
        labelled, found = labels.read(batches)
        if not labels.known:
            return
        spans: list[tuple[int, int]] = []
        later: list[int] = []
        for start, stop, ends in window_parts(limits, output_length(labels.n_classes, n_layers)):
            labels.add(found[start:stop], len(spans))
            # A window begins with the first batch that has labels.
            some = labelled[start:stop]
            first = 0 if self._output_span.batches else _first(some)
            if first < len(some):
                self._output_span.add(epoch, len(some) - first)
                if ends:
                    spans.append(self._output_span.close())
                    later.append(len(batches) - stop)
            if len(spans) + 1 == labels.most_windows:
                self._put_outputs(spans, later)
                spans, later = [], []
        self._put_outputs(spans, later)

    def _put_units(
        self,
        spans: Sequence[tuple[int, int]],
        later: Sequence[int],
        active: NDArray[np.int64],
        total: NDArray[np.int64],
    ) -> None:
        values = {"active": active, "total": np.repeat(total, self._units, axis=1)}
        epochs, batches = zip(*spans, strict=True)
        self._worker.write_windows(
            WindowRows(self._phase or "", UNIT_GROUP, batches, epochs, values, later)
        )

    def _put_outputs(self, spans: Sequence[tuple[int, int]], later: Sequence[int]) -> None:
        if not spans:
            return
        phase = self._phase or ""
        if phase not in self._declared:
            self._worker.declare_output(phase, self._labels.info())
            self._declared.add(phase)
        epochs, batches = zip(*spans, strict=True)
        values = self._labels.sums(len(spans))
        self._worker.write_windows(WindowRows(phase, OUTPUT_GROUP, batches, epochs, values, later))
        self._labels.forget_sums(len(spans))


def _first(counted: Sequence[bool]) -> int:
    """Return where the first true value stands, the length where there is none."""
    return next((at for at, labelled in enumerate(counted) if labelled), len(counted))
