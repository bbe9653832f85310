"""Histograms summed over stretches of batches, from columns of a level where that reads less.

A column is the sum of its batches, exactly. So a stretch is the columns that lie whole
within it and the batches before and after them, and of a long run little is read: the
level, and the chunks in which a stretch begins or ends. May import xarray.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import dask.base
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.reduce import Indexer, sum_over
from actrace.store.checking.lost import lost_cells
from actrace.store.levels.ladder import level_path
from actrace.store.run import Run

__all__ = ["sum_of_counts", "sum_of_some"]

#: Raw size of a block: several layers of a stretch, so that a file is opened for all of them.
_BLOCK_BYTES: Final = 2**24
#: Layers of a block, whose sums are all held until each is whole.
_LAYERS: Final = 8

Parts = dict[int, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which columns of a level, if any, and which batches the parts are made of."""

    factor: int
    columns: Parts
    batches: Parts


def sum_of_counts(
    run: xr.DataTree, phase: str, layers: int | NDArray[np.int64], parts: Mapping[int, Indexer]
) -> xr.DataArray:
    """Return the histograms of layers summed over the batches of each part.

    Parameters
    ----------
    run : DataTree
    phase : str
        None of its histograms in these layers were thinned.
    layers : int or ndarray of int64
        Indices along ``layer``; the dimension is left out for a single one.
    parts : dict of epoch to slice with both ends, or to increasing indices, along ``batch``

    Returns
    -------
    DataArray, dims (layer, bin, epoch), uint64, lazy
    """
    count = run.children[phase].to_dataset()["count"]
    if not isinstance(run, Run) or not run.levels(phase):
        return sum_over(count.isel(layer=layers), "batch", parts)
    plan = _plan(run, phase, count, parts)
    found = _sum(run, phase, 1, layers, plan.batches)
    if not plan.columns:
        return found
    level = _sum(run, phase, plan.factor, layers, plan.columns)
    return found + level.drop_vars("layer", errors="ignore")


def sum_of_some(array: xr.DataArray, parts: Mapping[int, NDArray[np.int64]]) -> xr.DataArray:
    """Return sums for which nothing but the entries of the parts is read."""
    used = _used(parts)
    return sum_over(array.isel(batch=used), "batch", _places(used, parts))


def _plan(run: Run, phase: str, count: xr.DataArray, parts: Mapping[int, Indexer]) -> _Plan:
    """Return how to make the parts of columns and batches, of batches alone if that reads less."""
    known = run.levels(phase)
    factor = min(known)
    lost = lost_cells(run.attrs)
    whole: Parts = {}
    columns: Parts = {}
    batches: Parts = {}
    for epoch, part in parts.items():
        at = np.arange(part.start, part.stop) if isinstance(part, slice) else part
        whole[epoch], batches[epoch], columns[epoch] = at, at, at[:0]
        if not len(at) or at[-1] - at[0] + 1 != len(at):
            continue
        first, last = -(-int(at[0]) // factor), min((int(at[-1]) + 1) // factor, known[factor])
        if first < last:
            columns[epoch] = np.arange(first, last)
            batches[epoch] = np.concatenate(
                [np.arange(at[0], first * factor), np.arange(last * factor, at[-1] + 1)]
            )
    level = run.stored(phase, factor)["count"]
    damaged = not lost.keys().isdisjoint((f"{phase}/count", f"{level_path(phase, factor)}/count"))
    if damaged or _rows(count, batches) + _rows(level, columns) >= _rows(count, whole):
        return _Plan(factor, {}, whole)
    return _Plan(factor, columns, batches)


def _rows(array: xr.DataArray, parts: Parts) -> int:
    """Return how many rows are unpacked for the parts: chunks are read whole."""
    length = _chunk(array)
    return length * int(np.count_nonzero(np.diff(_used(parts) // length, prepend=-1)))


def _chunk(array: xr.DataArray) -> int:
    return int(array.encoding.get("preferred_chunks", {}).get("batch", 1))


def _sum(
    run: Run, phase: str, factor: int, layers: int | NDArray[np.int64], parts: Parts
) -> xr.DataArray:
    """Return sums of batches or columns, read without what lies between them."""
    array = run.stored(phase, factor)["count"]
    used = _used(parts)
    some = array.isel(layer=layers, batch=used)
    row = some.sizes["bin"] * some.dtype.itemsize
    rows = max(1, _BLOCK_BYTES // row // min(_LAYERS, some.sizes.get("layer", 1)))
    blocks: dict[Any, Any] = {"bin": -1, "batch": _ends(used, _chunk(array), rows)}
    if "layer" in some.dims:
        blocks["layer"] = _LAYERS
    name = run.children[phase]["count"].data.name
    token = dask.base.tokenize(name, factor, layers, used)
    found = sum_over(
        some.chunk(blocks, token=token, inline_array=True), "batch", _places(used, parts)
    )
    return found.chunk({"layer": 1}) if "layer" in found.dims else found


def _ends(used: NDArray[np.int64], chunk: int, rows: int) -> tuple[int, ...]:
    """Return blocks of at most about so many rows, none of which cuts a chunk."""
    starts = np.flatnonzero(np.diff(used // chunk, prepend=-1))
    ends = np.append(starts, len(used))
    lengths: list[int] = []
    begin = 0
    for before, end in itertools.pairwise(ends):
        if end - begin > rows and before > begin:
            lengths.append(int(before - begin))
            begin = before
    return (*lengths, int(len(used) - begin))


def _used(parts: Mapping[int, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return all entries of the parts, increasing, each once."""
    every = np.concatenate([np.zeros(0, np.int64), *parts.values()])
    # Entries are many and lie close: a mark for each sorts them sooner than a sort.
    marks = np.zeros(int(every.max(initial=-1)) + 1, bool)
    marks[every] = True
    return np.flatnonzero(marks)


def _places(used: NDArray[np.int64], parts: Mapping[int, NDArray[np.int64]]) -> Parts:
    return {epoch: np.searchsorted(used, at) for epoch, at in parts.items()}
