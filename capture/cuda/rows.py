"""From a row that came from a device to the row of the ring that the writer takes.

A layer may be called with tensors of the device and with tensors of the CPU in one
batch; what the CPU counted lies in the ring's row already, and the two are added.
Imports NumPy and the slots alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actrace.capture.cuda.layout import RowLayout
from actrace.capture.kernels.slots import (
    ELEMENTS,
    MAXIMUM,
    N_FINITE,
    NORM,
    SAMPLED,
    SAMPLES,
    merge_moments,
)
from actrace.capture.slot_table import SlotTable

__all__ = ["HostRow", "Rates", "fill_row"]

#: Place of a layer -> its activation and death rate.
Rates = dict[int, tuple[float, float]]
_NO_RATES = (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class HostRow:
    """What the CPU counted in one batch: copies of a row of a `SlotTable`."""

    count: NDArray[np.int64]
    tally: NDArray[np.int64]
    sums: NDArray[np.float64]
    active: NDArray[np.int64]

    @classmethod
    def of(cls, table: SlotTable, at: int) -> HostRow | None:
        """Return a copy of a row, None if there is nothing in it."""
        if not table.tally[at].any():
            return None
        arrays = (table.count, table.tally, table.sums, table.active)
        return cls(*(array[at].copy() for array in arrays))


def fill_row(
    layout: RowLayout,
    words: NDArray[np.int64],
    table: SlotTable,
    at: int,
    host: HostRow | None,
    *,
    void: Iterable[int] = (),
    apart: Collection[int] = (),
    others: Mapping[int, Mapping[int, int]] | None = None,
) -> Rates:
    """Put a device's row into the ring's; done twice it is the same.

    Parameters
    ----------
    layout : RowLayout
        Of `words`.
    words : ndarray, shape (n_words,), int64
    table : SlotTable
    at : int
        Its row.
    host : HostRow or None
        What the CPU counted in this batch.
    void : iterable of int
        Layers whose part of `words` was taken back.
    apart : collection of int
        Layers outside of the unit group.
    others : mapping of int to mapping of int to int, optional
        Of these, layers with calls of other numbers of units: those, and the elements
        that each unit had.

    Returns
    -------
    dict of int to (float, float)
        Activation and death rate of the layers in `apart` that the device counted;
        NaN where it did not count all of their units.
    """
    count, tally, sums = layout.statistics(words)
    table.count[at], table.tally[at], table.sums[at] = count, tally, sums
    first, width = len(layout.units) * layout.stride, table.active.shape[1]
    if layout.units == tuple(table.units.tolist()):
        table.active[at] = words[first : first + width]
    else:
        for layer, (start, stop) in enumerate(table.spans):
            if stop > start and stop - start == layout.units[layer]:
                begin = layout.starts[layer]
                table.active[at, start:stop] = words[begin : begin + stop - start]
    for layer in (*apart, *void):
        start, stop = table.spans[layer]
        table.active[at, start:stop] = 0
    taken_back = frozenset(void)
    for layer in taken_back:
        table.slots(at)[layer].clear()
    rates: Rates = {}
    for layer in apart:
        if tally[layer, ELEMENTS] and layer not in taken_back:
            mixed = host is not None and host.tally[layer, ELEMENTS] > 0
            rates[layer] = (
                _NO_RATES
                if mixed
                else _rates(layout, words, layer, tally[layer], (others or {}).get(layer, {}))
            )
    if host is not None:
        _add(table, at, host)
    return rates


def _rates(
    layout: RowLayout,
    words: NDArray[np.int64],
    layer: int,
    tally: NDArray[np.int64],
    others: Mapping[int, int],
) -> tuple[float, float]:
    """Return the rates of one layer, as `LayerRow.rates`; NaN where units were not counted."""
    own, elements = layout.units[layer], int(tally[ELEMENTS])
    # Where a part was read, each unit's share of it is taken to be that of its elements.
    read = int(tally[SAMPLED]) / elements if layout.partial else 1.0
    left = elements - sum(n * total for n, total in others.items())
    totals = {own: left // own if own else 0, **others}
    if left and not own:
        return _NO_RATES
    units, share, dead = 0, 0.0, 0
    for n, total in totals.items():
        start = layout.place(layer, n)
        if not total:
            continue
        if start < 0:
            return _NO_RATES
        active = words[start : start + n]
        units += n
        share += float(active.sum()) / (total * read) if read else 0.0
        dead += n - int(np.count_nonzero(active))
    return share / units, dead / units


def _add(table: SlotTable, at: int, host: HostRow) -> None:
    table.count[at] += host.count
    table.tally[at] += host.tally
    table.active[at] += host.active
    sums, moments = table.sums[at], slice(N_FINITE, MAXIMUM + 1)
    sums[:, NORM] += host.sums[:, NORM]
    sums[:, SAMPLES] += host.sums[:, SAMPLES]
    for layer in np.flatnonzero(host.sums[:, N_FINITE]).tolist():
        if sums[layer, N_FINITE]:
            n, mean, m2, low, high = host.sums[layer, moments].tolist()
            merge_moments(sums[layer], n, mean, m2, low, high)
        else:
            sums[layer, moments] = host.sums[layer, moments]
