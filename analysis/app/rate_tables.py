"""The rates of a run in numbers: all layers in one epoch, and the worst of every epoch."""

from __future__ import annotations

import math

from actrace.analysis.app.markup import table
from actrace.analysis.rates import rates
from actrace.errors import NotRecordedError
from actrace.store.run import Run

__all__ = ["rates_markup"]


def rates_markup(run: Run, epoch: int | None) -> str:
    """Return the rates of all layers in one epoch, and the extremes of every epoch."""
    found = rates(run, by="epoch").load()
    epochs = [int(one) for one in found["epoch"].to_numpy()]
    if not epochs:
        raise NotRecordedError("no epoch has been recorded yet")
    phases = [str(phase) for phase in found["phase"].to_numpy()]
    at = epoch if epoch in epochs else epochs[-1]
    one = found.sel(epoch=at)
    columns = [("layer", "left")]
    columns += [(f"{what}, {phase}", "right") for phase in phases for what in ("active", "dead")]
    rows = [
        [
            layer,
            *(
                percent(float(one[name].sel(phase=phase)[i]))
                for phase in phases
                for name in ("activation_rate", "death_rate")
            ),
        ]
        for i, layer in enumerate(str(name) for name in found["layer"].to_numpy())
    ]
    extremes = [
        [
            number,
            phase,
            percent(float(cell["lowest_activation_rate"])),
            str(cell["lowest_activation_layer"].item()),
            percent(float(cell["highest_death_rate"])),
            str(cell["highest_death_layer"].item()),
        ]
        for number in epochs
        for phase in phases
        for cell in (found.sel(phase=phase, epoch=number),)
    ]
    heads = [
        ("epoch", "right"),
        ("phase", "left"),
        ("lowest activation", "right"),
        ("layer", "left"),
        ("highest death", "right"),
        ("layer", "left"),
    ]
    return (
        f"<h3>Epoch {at}, every layer</h3>"
        "<p>Active: mean over units of the share of active elements. "
        "Dead: share of units with no active element in the epoch.</p>"
        f"{table(columns, rows)}"
        "<h3>Every epoch, the worst layer (those silent by design left out)</h3>"
        f"{table(heads, extremes)}"
    )


def percent(value: float) -> str:
    """Return a share as a percentage, ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
