"""What the rates and the warning chart draw: activity and death in columns of batches.

A column is a batch, several neighbours of a long run, or an epoch. Imports NumPy and
xarray; draws nothing, so the charts are tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.grammar.columns import Columns, at_level, choose_columns
from actrace.analysis.design import silent_by_design
from actrace.analysis.rates import rates
from actrace.analysis.sampled import as_read
from actrace.analysis.select import phase_names, select_layers, select_phases
from actrace.errors import ChartError
from actrace.store.merging.rules import pooled_mean

__all__ = ["rates_data", "warning_data"]

_RATES: Final = {
    "activation_rate": "share of active elements",
    "death_rate": "share of units with no active element",
}


def rates_data(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phase: str | None = None,
    by: str = "batch",
    max_columns: int = 600,
) -> xr.Dataset:
    """Return activation and death rates by layer and column, computed.

    Parameters
    ----------
    run : DataTree
    layers : str or iterable of str, optional
        Names or patterns; all if left out.
    phase : str, optional
        By default ``train`` (the first where there is none).
    by : {"batch", "epoch"}, default "batch"
        By epoch a unit is dead that had no active element in the whole epoch.
    max_columns : int, default 600
        By batch: more batches than this share columns, `batches` of them each.

    Returns
    -------
    Dataset, dims (layer, column)
        activation_rate: of several batches their mean, weighted with elements;
        death_rate: of several batches the lowest, for a unit that is dead in all of
        them is dead in each, so it is at least what is dead throughout. NaN where a
        layer was not called or has no units. ``left`` and ``right`` (column): ends along
        the axis, in batches, or the place of the epoch; ``epoch`` (column): that of
        its first batch; ``by_design`` (layer): silent by design. Attributes: phase, by and
        batches, those in a column.

    Raises
    ------
    ChartError
        Another `by`, or `max_columns` below 1.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        By epoch, and no units were recorded.
    """
    if by not in ("batch", "epoch"):
        raise ChartError(f"by must be 'batch' or 'epoch', got {by!r}")
    (name,) = select_phases(run, phase if phase is not None else phase_names(run)[:1])
    chosen = select_layers(run, layers)
    found = _by_epoch(run, name, chosen) if by == "epoch" else None
    if found is None:
        found = _by_batch(run, name, chosen, max_columns)
    for rate, long_name in _RATES.items():
        found[rate].attrs = {"long_name": long_name, "units": "1"}
    found = found.assign_coords(layer=run.dataset["layer"].values[chosen].astype(str))
    found["by_design"] = ("layer", silent_by_design(run)[chosen])
    return found.assign_attrs(phase=name, by=by)


def warning_data(data: xr.Dataset) -> xr.Dataset:
    """Return the lowest activation and the highest death rate over layers, by column.

    Parameters
    ----------
    data : Dataset
        From `rates_data`. Layers that are silent by design are left out.

    Returns
    -------
    Dataset, dims (column)
        lowest_activation_rate and highest_death_rate, NaN where no layer has one;
        lowest_activation_layer and highest_death_layer, the first that has it, "" where
        none has, or where no unit is dead in any; ``left``, ``right`` and ``epoch`` as they were.
    """
    counted = data.isel(layer=np.flatnonzero(~data["by_design"].values))
    found = data[["left", "right", "epoch"]]
    for rate, sign, value, layer in (
        ("activation_rate", 1.0, "lowest_activation_rate", "lowest_activation_layer"),
        ("death_rate", -1.0, "highest_death_rate", "highest_death_layer"),
    ):
        values = counted[rate].transpose("layer", "column").values
        names = counted["layer"].values.astype(str)
        # What no layer has keeps a row of its own, below all names.
        ranked = np.concatenate(
            [np.where(np.isnan(values), np.inf, sign * values), np.full((1, values.shape[1]), 9.0)]
        )
        at = ranked.argmin(axis=0)
        worst = np.take_along_axis(ranked, at[None], axis=0)[0] * sign
        found[value] = ("column", np.where(at < len(names), worst, np.nan), data[rate].attrs)
        # Where nothing is dead, the first of all layers is not what to look at.
        alive = worst == 0 if rate == "death_rate" else np.zeros_like(at, dtype=bool)
        found[layer] = ("column", np.where(alive, "", np.append(names, "")[at]))
    return found.assign_attrs(data.attrs)


def _by_epoch(run: xr.DataTree, phase: str, layers: NDArray[np.int64]) -> xr.Dataset:
    table = rates(run, phases=phase, by="epoch")[[*_RATES]].isel(phase=0, layer=layers)
    table = table.transpose("layer", "epoch").compute()
    place = np.arange(table.sizes["epoch"], dtype=np.float64)
    found = xr.Dataset({rate: (("layer", "column"), table[rate].values) for rate in _RATES})
    found["left"], found["right"] = ("column", place), ("column", place + 1)
    found["epoch"] = ("column", table["epoch"].values)
    return found.assign_attrs(batches=1)


def _by_batch(
    run: xr.DataTree, phase: str, layers: NDArray[np.int64], max_columns: int
) -> xr.Dataset:
    whole = run.children[phase].dataset
    columns = choose_columns(whole.sizes["batch"], max_columns)
    factor, columns = at_level(run, phase, columns, layers.tolist())
    part = as_read(run, phase, factor).isel(layer=layers)
    summed = _summed(part, columns.over(factor))
    found = xr.Dataset({rate: (("layer", "column"), summed[rate]) for rate in _RATES})
    found["left"] = ("column", columns.starts.astype(np.float64))
    found["right"] = ("column", (columns.starts + columns.batches).astype(np.float64))
    found["epoch"] = ("column", whole["epoch"].values[columns.starts].astype(np.int64))
    return found.assign_attrs(batches=columns.width)


def _summed(part: xr.Dataset, columns: Columns) -> dict[str, NDArray[np.float64]]:
    """Return both rates by layer and column, as a level merges them."""
    shape = (part.sizes["layer"], len(columns))
    out = {rate: np.full(shape, np.nan) for rate in _RATES}
    for batches, at, offsets in columns.slabs():
        slab = part[[*_RATES, "elements"]].isel(batch=batches).transpose("layer", "batch")
        lengths = np.diff(np.append(offsets, slab.sizes["batch"]))
        active = slab["activation_rate"].values
        out["activation_rate"][:, at] = pooled_mean(slab["elements"].values, active, lengths)
        dead = slab["death_rate"].values.astype(np.float64)
        out["death_rate"][:, at] = np.fmin.reduceat(dead, offsets, axis=1)
    return out
