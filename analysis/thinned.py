"""Histograms summed by epoch, of batches and of columns where the batches were thinned.

An epoch of a thinned run is batches that were kept and whole columns of its finest
level, and the sum of both is that of all its batches, exactly. May import xarray.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.through_levels import sum_of_counts, sum_of_some
from actrace.errors import ThinnedError
from actrace.store.checking.lost import lost_cells
from actrace.store.levels.ladder import level_path
from actrace.store.rewriting.marks import Stretches, thinned_of
from actrace.store.run import Run

__all__ = ["count_over"]

Indexer = slice | NDArray[np.int64]


def count_over(
    run: xr.DataTree,
    phase: str,
    layers: int | NDArray[np.int64],
    parts: Mapping[int, Indexer],
) -> xr.DataArray:
    """Return the histograms of layers summed over the batches of each epoch.

    Parameters
    ----------
    run : DataTree
    phase : str
    layers : int or ndarray of int64
        Indices along ``layer``; the dimension is left out for a single one.
    parts : dict of epoch to indices along ``batch``, increasing
        As `sum_over` takes them.

    Returns
    -------
    DataArray, dims (layer, bin, epoch), uint64, lazy

    Raises
    ------
    ThinnedError
        Batches of a part were thinned, and the part ends within their column, or a
        repair has lost that.
    """
    count = run.children[phase].to_dataset()["count"]
    marks = thinned_of(run.attrs, f"{phase}/count")
    if marks is None or not isinstance(run, Run) or not run.levels(phase):
        return sum_of_counts(run, phase, layers, parts)
    places = np.atleast_1d(layers)
    alike: dict[int, list[int]] = {}
    stretches = [marks.of_layer(int(place)) for place in places]
    for at, part in enumerate(stretches):
        alike.setdefault(id(part), []).append(at)
    sums, order = [], []
    for group in alike.values():
        thinned = stretches[group[0]]
        sums.append(_sum(run, phase, count, places[group], thinned, parts))
        order += group
    found = xr.concat(sums, "layer", coords="minimal", compat="override", join="override")
    found = found.isel(layer=np.argsort(order))
    return found if np.ndim(layers) else found.isel(layer=0)


def _sum(
    run: Run,
    phase: str,
    count: xr.DataArray,
    layers: NDArray[np.int64],
    thinned: Stretches | None,
    parts: Mapping[int, Indexer],
) -> xr.DataArray:
    """Return the sums of layers in which the same batches were thinned."""
    if thinned is None:
        return sum_of_counts(run, phase, layers, parts)
    count = count.isel(layer=layers)
    gone = np.zeros(count.sizes["batch"], bool)
    for start, stop in thinned.batches:
        gone[start:stop] = True
    factor = min(run.levels(phase))
    kept: dict[int, NDArray[np.int64]] = {}
    columns: dict[int, NDArray[np.int64]] = {}
    for epoch, part in parts.items():
        batches = np.arange(len(gone))[part]
        kept[epoch] = batches[~gone[batches]]
        merged = batches[gone[batches]]
        columns[epoch], many = np.unique(merged // factor, return_counts=True)
        if (many != factor).any():
            raise ThinnedError(
                f"an answer from batches {int(batches[0]):,} to {int(batches[-1]):,} of phase "
                f"{phase!r} needs some batches of a column of {factor} whose histograms were "
                f"thinned; ask for whole epochs, or for windows that begin and end at a multiple "
                f"of {factor}"
            )
    _refuse_lost(run, phase, factor, columns)
    level = run.at_level(phase, factor)["count"].isel(layer=layers)
    merged_sum = sum_of_some(level, columns)
    found: xr.DataArray = sum_of_some(count, kept) + merged_sum.drop_vars("layer", errors="ignore")
    return found


def _refuse_lost(
    run: Run, phase: str, factor: int, columns: Mapping[int, NDArray[np.int64]]
) -> None:
    """Refuse columns that a repair has marked as lost: nothing else has what they held."""
    for one in lost_cells(run.attrs).get(f"{level_path(phase, factor)}/count", ()):
        for used in columns.values():
            if ((used >= one.start) & (used < one.stop)).any():
                raise ThinnedError(
                    f"histograms of batches {one.start * factor:,} to {one.stop * factor - 1:,} of "
                    f"phase {phase!r} were thinned, and what had them merged was lost since (see "
                    "run.attrs['damaged']); ask for other epochs or windows"
                )
