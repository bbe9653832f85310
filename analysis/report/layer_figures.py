"""Figures of a report about layers: their values, their rates, their dead units.

Imports xarray; a chart library only once a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from actrace.analysis import select
from actrace.analysis.rates import rates as rates_by_epoch
from actrace.analysis.report.figure import Rows, main_phase
from actrace.analysis.report.words import joined, many, number, percent
from actrace.errors import NotRecordedError
from actrace.store.describe import clean

__all__ = ["every_layer", "output_layer", "rates", "units", "warning"]

#: Layers with dead units whose maps are shown.
_MOST_MAPS: Final = 9


def output_layer(run: xr.DataTree, _rows: Rows) -> tuple[Any, str]:
    """Return the output layer, large."""
    from actrace.analysis.charts.colorful.colorful import colorful_chart

    name, phase = select.output_layer(run), main_phase(run)
    chart = colorful_chart(run, layer=name, phase=phase)
    at = select.layer_names(run).index(name)
    first, last = (data.isel(layer=0) for data in _first_and_last(run, [at]))

    def move(what: str) -> str:
        return f"from {number(float(first[what]))} to {number(float(last[what]))}"

    batches = many(run.children[phase].sizes["batch"], "batch")
    alt = (
        f"Values of layer {clean(name, 80)} over {batches} of {clean(phase, 40)}. From the first "
        f"batch to the last the mean goes {move('mean')} and the standard deviation {move('std')}; "
        f"in the last, values reach from {number(float(last['min']))} to "
        f"{number(float(last['max']))}."
    )
    return chart, alt


def every_layer(run: xr.DataTree, _rows: Rows) -> tuple[Any, str]:
    """Return every layer as a tile."""
    from actrace.analysis.charts.colorful.colorful import colorful_chart

    names, phase = select.layer_names(run), main_phase(run)
    chart = colorful_chart(run, phase=phase, progress=False)
    first, last = _first_and_last(run, range(len(names)))
    said = [
        f"{many(len(names), 'layer')} as tiles, over "
        f"{many(run.children[phase].sizes['batch'], 'batch')} of {clean(phase, 40)}."
    ]
    for when, data in (("first", first), ("last", last)):
        std = data["std"].to_numpy().astype(np.float64)
        if np.isnan(std).all():
            continue
        low, high = int(np.nanargmin(std)), int(np.nanargmax(std))
        said.append(
            f"In the {when} batch the standard deviation is from {number(float(std[low]))} in "
            f"{clean(names[low], 80)} to {number(float(std[high]))} in {clean(names[high], 80)}, "
            f"and values reach from {number(float(data['min'].min()))} to "
            f"{number(float(data['max'].max()))}."
        )
    return chart, " ".join(said)


def rates(run: xr.DataTree, rows: Rows) -> tuple[Any, str]:
    """Return the activation and death rate of each layer."""
    from actrace.analysis.charts.activity.rates import rates_chart

    return rates_chart(run, phase=main_phase(run)), f"Rates of each layer.{_extremes(rows)}"


def warning(run: xr.DataTree, rows: Rows) -> tuple[Any, str]:
    """Return the least active and the most dead layer."""
    from actrace.analysis.charts.activity.warning import warning_chart

    chart = warning_chart(run, phase=main_phase(run))
    return chart, f"The least active and the most dead layer, batch by batch.{_extremes(rows)}"


def units(run: xr.DataTree, _rows: Rows) -> tuple[Any, str]:
    """Return the maps of units of the layers in which most are dead at the end."""
    from actrace.analysis.charts.activity.units import units_chart

    phase = main_phase(run)
    found = rates_by_epoch(run, phases=phase, by="epoch").sel(phase=phase)
    last = found[["death_rate", "by_design"]].isel(epoch=-1).compute()
    # Of a layer that is silent by design it says nothing.
    dead = np.where(last["by_design"].values, 0.0, np.nan_to_num(last["death_rate"].values))
    order = [int(at) for at in np.argsort(-dead, kind="stable") if dead[at] > 0]
    if not order:
        raise NotRecordedError("in the last epoch no unit is dead in any layer")
    names = select.layer_names(run)
    shown = [names[at] for at in sorted(order[:_MOST_MAPS])]
    chart = units_chart(run, layers=shown, phase=phase, progress=False)
    told = joined(f"{clean(names[at], 80)} {percent(float(dead[at]))}" for at in order[:_MOST_MAPS])
    more = f" and in {many(len(order) - _MOST_MAPS, 'layer')} more" if order[_MOST_MAPS:] else ""
    return chart, f"Units dead all through epoch {int(last['epoch'])}: {told}{more}."


def _first_and_last(run: xr.DataTree, layers: Sequence[int]) -> tuple[xr.Dataset, xr.Dataset]:
    node = run.children[main_phase(run)].to_dataset()
    some = node[["mean", "std", "min", "max"]].isel(layer=list(layers))
    return some.isel(batch=0).load(), some.isel(batch=-1).load()


def _extremes(rows: Rows) -> str:
    known = [row for row in rows if not np.isnan(row.highest_death_rate)]
    if not known:
        return ""
    last = known[-1]
    dead = "no unit is dead in any"
    if last.highest_death_rate > 0:
        dead = (
            f"the highest death rate {percent(last.highest_death_rate)}, of "
            f"{clean(last.highest_death_layer, 80)}"
        )
    return (
        f" In epoch {last.epoch} the lowest activation rate of a layer is "
        f"{percent(last.lowest_activation_rate)}, of {clean(last.lowest_activation_layer, 80)}, "
        f"and {dead}."
    )
