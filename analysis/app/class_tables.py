"""How the classes of a run fare, in numbers: one phase and epoch of ``class_report``."""

from __future__ import annotations

import math
from typing import Final

import xarray as xr

from actrace.analysis.app.markup import escaped, table
from actrace.analysis.app.rate_tables import percent
from actrace.analysis.classes import class_report, confused_pairs
from actrace.errors import NotRecordedError
from actrace.store.run import Run

__all__ = ["class_markup"]

#: Classes that are written out; of more, the least accurate.
_MOST: Final = 100
_PAIRS: Final = 10


def class_markup(run: Run, phase: str, epoch: int | None) -> str:
    """Return the table of classes, the least accurate first, and of the pairs confused most.

    Parameters
    ----------
    run : Run
    phase : str
    epoch : int or None
        The last one that the phase has if there is no such epoch in it.

    Raises
    ------
    NotRecordedError
        The phase has no targets, or no batch.
    """
    found = class_report(run, phases=phase).sel(phase=phase)
    epochs = [int(one) for one in found["epoch"].to_numpy()]
    if not epochs:
        raise NotRecordedError(f"no epoch of phase {phase!r} has been recorded yet")
    at = epoch if epoch in epochs else epochs[-1]
    one = found.sel(epoch=at).load()
    order = one["accuracy"].fillna(2.0).argsort(kind="stable").to_numpy()
    rows = [_row(one.isel(target_class=int(i))) for i in order[:_MOST]]
    heads = [("class", "left"), ("samples", "right"), ("told right", "right"),
             ("95 % interval", "left"), ("behind the others", "left"), ("understanding", "right"),
             ("d'", "right"), ("overlap", "right"), ("AUC", "right")]  # fmt: skip
    if "confused_with" in one:
        heads.append(("taken most for", "left"))
    more = len(order) - _MOST
    left_out = f" The {_MOST} least accurate of {len(order):,}." if more > 0 else ""
    said = (
        f"<p class='note'>{escaped(phase)}, epoch {at}, the least accurate first.{left_out} "
        "Behind: the class is told right less often than the others by at least so much, beyond "
        "chance. Understanding: distance of the YES and NO peaks' means; d': the same in common "
        "spreads.</p>"
    )
    return said + table(heads, rows) + _pairs(one)


def _row(one: xr.Dataset) -> list[str]:
    lags = bool(one["lagging"])
    low, high = (float(one[f"accuracy_{end}"]) for end in ("low", "high"))
    cells = [
        str(one["target_class"].item()),
        f"{int(one['samples']):,}",
        percent(float(one["accuracy"])),
        "" if math.isnan(low) else f"{percent(low)} to {percent(high)}",
        f"lags, by {percent(float(one['behind_at_least']))}" if lags else "",
        *(_number(float(one[name])) for name in ("understanding", "d_prime", "overlap", "auc")),
    ]
    if "confused_with" in one:
        other = str(one["confused_with"].item())
        seen = float(one["confusion_seen"].sel(output_unit=other)) if other else math.nan
        cells.append(f"{other}, {percent(seen)}" if other else "")
    return cells


def _pairs(one: xr.Dataset) -> str:
    pairs = confused_pairs(one, most=_PAIRS)
    if not pairs:
        return ""
    heads = [("class", "left"), ("taken for", "left"), ("outputs say", "right"),
             ("counted", "right")]  # fmt: skip
    rows = [[name, other, percent(seen), percent(counted)] for name, other, seen, counted in pairs]
    said = (
        "<h3>The pairs confused most</h3><p class='note'>Outputs say: how often the other unit's "
        "NO lies above the class's YES. Counted: share of the class that was told as the other."
        "</p>"
    )
    return said + table(heads, rows)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
