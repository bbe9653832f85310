"""The newest statistics of a layer, for a training loop that reacts to them.

Read from the recorder's own memory; neither the store nor the disk is touched.
Imports NumPy and the store's values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actrace.capture.layer_table import LayerTable
from actrace.capture.slot_table import MOMENT
from actrace.errors import LayerNotFoundError
from actrace.store.axis import Axis
from actrace.store.rows import BatchRow
from actrace.store.schema import COUNTERS, MOMENTS

__all__ = ["Latest", "LayerStatistics"]


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """What one layer did in one batch, as the store has it (`docs/schema-1.md`).

    Attributes
    ----------
    layer, phase : str
    epoch, step : int
        Of the batch.
    calls, elements, zero, nan, posinf, neginf, underflow, overflow : int
        0 elements where the layer was not called in the batch.
    mean, std, min, max, norm, activation_rate, death_rate : float
        NaN where there is no finite element, and for rates without units.
    count : ndarray, shape (n_bins,), uint64
        Elements per bin.
    edges : ndarray, shape (n_bins + 1,), float64
        Edges of the bins.
    """

    layer: str
    phase: str
    epoch: int
    step: int
    calls: int
    elements: int
    zero: int
    nan: int
    posinf: int
    neginf: int
    underflow: int
    overflow: int
    mean: float
    std: float
    min: float
    max: float
    norm: float
    activation_rate: float
    death_rate: float
    count: NDArray[np.uint64]
    edges: NDArray[np.float64]


class Latest:
    """The statistics of the batch that was counted last, once asked for."""

    def __init__(self) -> None:
        self._row: BatchRow | None = None
        self._names: list[str] = []

    def read(self, table: LayerTable, phase: str, epoch: int, step: int) -> None:
        """Take over the batch that is being recorded."""
        newest = table.newest()
        if newest is None:
            return
        sums, at, apart = newest
        row = self._row
        if row is None or len(row.count) != len(table.rows):
            row = self._row = BatchRow.empty(len(table.rows), table.n_bins)
            self._names = [layer.name for layer in table.rows]
        np.copyto(row.count, sums.count[at], casting="unsafe")
        np.copyto(row.counters, sums.counters(at, at + 1)[:, 0], casting="unsafe")
        np.copyto(row.moments, sums.moments(at, at + 1)[:, 0])
        for layer, rates in apart.items():
            row.moments[[MOMENT["activation_rate"], MOMENT["death_rate"]], layer] = rates
        row.phase, row.epoch, row.step = phase, epoch, step

    def of(self, layer: str, axis: Axis) -> LayerStatistics | None:
        """Return a layer's statistics, None before the first batch.

        Raises
        ------
        LayerNotFoundError
            No row has this name; the message lists those there are.
        """
        row = self._row
        if row is None:
            return None
        if layer not in self._names:
            has = ", ".join(map(repr, self._names[:8])) + (" ..." if len(self._names) > 8 else "")
            raise LayerNotFoundError(f"layer {layer!r} is not recorded; there are {has}")
        at = self._names.index(layer)
        counters = {v.name: int(n) for v, n in zip(COUNTERS, row.counters[:, at], strict=True)}
        moments = {v.name: float(x) for v, x in zip(MOMENTS, row.moments[:, at], strict=True)}
        return LayerStatistics(
            layer=layer,
            phase=row.phase,
            epoch=row.epoch,
            step=row.step,
            count=row.count[at].copy(),
            edges=axis.edges,
            **counters,
            **moments,  # type: ignore[arg-type]  # mypy takes them for the ints above
        )
