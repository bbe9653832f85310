"""The open windows of a phase: unit activity and labels on their way to the store.

One window of each group is open at a time. It is handed over when it is long
enough, and before anything that it may not span: another epoch, another phase,
a commit. May import NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.capture.labels.group import LabelWork
from actrace.capture.layer_table import LayerTable
from actrace.capture.windows import EpochLengths, WindowSpan, output_length, unit_length
from actrace.store.rows import WindowRow
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP
from actrace.store.worker import WriterThread

__all__ = ["OpenWindows"]


class OpenWindows:
    """The windows that are open now.

    Parameters
    ----------
    worker : WriterThread
    table : LayerTable
    labels : LabelWork
    n_bins : int
    """

    def __init__(
        self, worker: WriterThread, table: LayerTable, labels: LabelWork, n_bins: int
    ) -> None:
        self._worker = worker
        self._table = table
        self._labels = labels
        self._n_bins = n_bins
        self._phase: str | None = None
        self._lengths = EpochLengths()
        self._units = WindowSpan()
        self._outputs = WindowSpan()
        self._active: NDArray[np.int64] = np.zeros(0, np.int64)
        self._total: NDArray[np.int64] = np.zeros(0, np.int64)
        self._declared: set[str] = set()

    def turn_to(self, phase: str, epoch: int) -> None:
        """End the windows that a batch of this phase and epoch may not join."""
        if (self._phase, self._lengths.epoch.get(phase)) != (phase, epoch):
            self.close()
        self._phase = phase

    def join(self, phase: str, epoch: int, layer: str, *, labelled: bool) -> None:
        """Let a batch that was just handed over join the windows.

        Parameters
        ----------
        phase, epoch
            Of the batch.
        layer : str
            Name of the output layer.
        labelled : bool
            Its labels were counted.
        """
        self._lengths.add(phase, epoch)
        n_layers = len(self._table.rows)
        n_units = self._table.n_units
        if n_units:
            if len(self._active) != n_units:
                self._total = np.zeros(n_units, np.int64)
                self._active = np.zeros(n_units, np.int64)
            self._table.add_units(self._active, self._total)
            self._units.add(epoch)
            if self._lengths.ends(phase, unit_length(n_units, n_layers, self._n_bins)):
                self._put_units()
        labels = self._labels.labels
        if labels is not None and (labelled or self._outputs.batches):
            if phase not in self._declared:
                self._worker.declare_output(phase, self._labels.info(layer))
                self._declared.add(phase)
            self._outputs.add(epoch)
            wanted = output_length(max(len(labels.classes), len(labels.units)), n_layers)
            if self._lengths.ends(phase, wanted):
                self._put_outputs()

    def close(self) -> None:
        """Hand over what is open."""
        if self._units.batches:
            self._put_units()
        if self._outputs.batches:
            self._put_outputs()

    def drop(self) -> None:
        """Forget what is open: it may not be the sums of its batches."""
        self._active.fill(0)
        self._total.fill(0)
        self._units, self._outputs = WindowSpan(), WindowSpan()
        if self._labels.sums is not None:
            self._labels.sums.take()

    def _put_units(self) -> None:
        self._put(UNIT_GROUP, self._units, {"active": self._active, "total": self._total})
        self._active.fill(0)
        self._total.fill(0)
        self._units = WindowSpan()

    def _put_outputs(self) -> None:
        if self._labels.sums is not None:
            self._put(OUTPUT_GROUP, self._outputs, self._labels.sums.take())
        self._outputs = WindowSpan()

    def _put(self, group: str, span: WindowSpan, values: dict[str, NDArray[Any]]) -> None:
        self._worker.put_window(
            WindowRow(self._phase or "", group, span.batches, span.epoch, values)
        )
