"""What large and tiled colorful-dimension charts share: axes, words and the key.

Imports HoloViews; computes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.colorful.data import colour_name
from actrace.analysis.charts.colorful.marks import MOST_NAMES, epoch_step, epoch_words, outside
from actrace.analysis.charts.findings.marked import marked_entries
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.blank import words
from actrace.analysis.charts.grammar.caption import Entry, Paint
from actrace.analysis.charts.grammar.style import LINES, NIGHT, STRIP, Line, plain
from actrace.analysis.charts.grammar.ticks import asinh_ticks

__all__ = [
    "BATCH",
    "NOTE_HIGH",
    "PAINT",
    "axes_of",
    "batch_label",
    "batches_in_words",
    "entries_of",
    "epoch_names",
    "kind_of",
    "name_of",
    "note",
    "shown_batches",
    "titled",
    "value_dimension",
]

BATCH: Final = "batch"
#: How high the words stand where there is nothing to see, as a share of the frame.
NOTE_HIGH: Final = 0.72
#: Of the key.
PAINT: Final = Paint(NIGHT, "#f2f4f8")


def value_dimension(data: xr.Dataset) -> hv.Dimension:
    """Return the drawn value axis."""
    # Named after the layer, or HoloViews would give all tiles one axis; it cannot take
    # a control character.
    return hv.Dimension(f"value of {name_of(data)}", label=f"{data.attrs['quantity']} value")


def axes_of(
    data: xr.Dataset, across: tuple[float, float], limits: tuple[float, float], most: int
) -> dict[str, Any]:
    """Return the options of a picture's axes, with at most so many value ticks."""
    axes: dict[str, Any] = {
        "xlim": across,
        "ylim": limits,
        "bgcolor": NIGHT,
        "xlabel": batch_label(data),
        "ylabel": f"{data.attrs['quantity']} value",
    }
    if data.attrs["scale"] == "asinh":
        edge = data["position_edge"].values
        axes["yticks"] = asinh_ticks(
            float(edge[0]), float(edge[-1]), data.attrs["linear_width"], most=most
        )
        axes["ylabel"] += " (asinh axis)"
    return axes


def shown_batches(data: xr.Dataset) -> tuple[float, float]:
    """Return the ends of the batch axis."""
    first, last = data["first_batch"].values, data["batches"].values
    if not len(first):
        return 0.0, 1.0
    return float(first[0]), float(first[-1] + last[-1])


def batch_label(data: xr.Dataset) -> str:
    """Return what the batch axis counts, in words."""
    schedule, phase = data.attrs["schedule"], data.attrs["phase"]
    return f"recorded batch of {phase}: {schedule}" if schedule else f"batch of {phase}"


def batches_in_words(data: xr.Dataset, n_batches: int) -> str:
    """Return how many batches are shown, in words."""
    shown = int(data["batches"].sum())
    text = f"{shown:,} batches" if shown != 1 else "1 batch"
    if shown < n_batches:
        text += f" of {n_batches:,}"
    k = data.attrs["batches_per_column"]
    return text if k == 1 else f"{text}, {k} a column"


def titled(
    run: str, data: xr.Dataset, n_batches: int, across: tuple[float, float] | None = None
) -> str:
    """Return the two lines over a large picture.

    Parameters
    ----------
    run : str
        What the run is called.
    data : Dataset
    n_batches : int
        Of the whole phase.
    across : (first, stop), optional
        Batches in view, if not all that `data` has.
    """
    what = " · ".join(part for part in (name_of(data), kind_of(data)) if part)
    said = batches_in_words(data, n_batches)
    if across is not None:
        first, stop = max(0, math.floor(across[0])), min(n_batches, math.ceil(across[1]))
        said = f"batches {first:,} to {stop - 1:,} of {n_batches:,}"
        k = data.attrs["batches_per_column"]
        said += ", each a column" if k == 1 else f", {k} a column"
    return "\n".join([what, " · ".join(part for part in (run, data.attrs["phase"], said) if part)])


def epoch_names(
    data: xr.Dataset, across: tuple[float, float], up: tuple[float, float]
) -> list[tuple[float, float, str]]:
    """Return (batch, place along the value axis, text) of the epochs in view, if several.

    At the top of the view, and no more than fit; an epoch that began before the view has
    its name at its edge.
    """
    starts, epochs = data["epoch_start"].values, data["epoch"].values
    ends = np.append(starts[1:], np.inf)
    seen = np.flatnonzero((ends > across[0]) & (starts < across[1]))
    if len(seen) < 2 and len(starts) == len(seen):
        return []
    wide = across[1] - across[0]
    gap = 0.004 * wide
    numbers = epochs[seen].astype(np.int64)
    named = seen[numbers % epoch_step(numbers, MOST_NAMES) == 0]
    # The one at the view's edge has its name too, where it does not run into the next.
    if not len(named) or (named[0] > seen[0] and starts[named[0]] - across[0] > 0.1 * wide):
        named = np.append(seen[0], named)
    height = up[1] - 0.035 * (up[1] - up[0])
    return [
        (
            max(float(starts[at]), across[0]) + gap,
            height,
            ("epoch " if i == 0 else "") + str(int(epochs[at])),
        )
        for i, at in enumerate(named)
    ]


def name_of(data: xr.Dataset) -> str:
    """Return the layer's name."""
    return plain(data.attrs["layer"])


def kind_of(data: xr.Dataset) -> str:
    """Return the layer's type and shape."""
    kind, shape = plain(data.attrs["layer_type"]), plain(data.attrs["layer_shape"])
    return " · ".join(part for part in (kind, shape.replace("x", "\u00d7")) if part)


def note(
    data: xr.Dataset,
    y: hv.Dimension,
    limits: tuple[float, float],
    across: tuple[float, float],
    points: float,
) -> list[Any]:
    """Return the words that say why there is nothing to see, if so."""
    text = str(data.attrs["note"])
    x = hv.Dimension(BATCH)
    return [words(text, across, limits, x, y, points, high=NOTE_HIGH)] if text else []


def entries_of(
    data: xr.Dataset,
    *,
    tile: bool,
    outside_names: tuple[str, ...] | None = None,
    marks: Sequence[Mark] = (),
) -> list[Entry]:
    """Return the entries of the key.

    `outside_names` are the strips drawn, those of `data` if left out.
    """
    names = tuple(outside(data)) if outside_names is None else outside_names
    where = {"above": "above", "below": "below", "nan": "NaN"}
    quantity = data.attrs["quantity"]
    entries = [
        *([] if quantity == "gradient" else [Entry("mean", LINES["mean"])]),
        Entry("mean ± std", LINES["spread"]),
        Entry("min and max", LINES["extreme"]),
        Entry("zero", LINES["zero"]),
        Entry(epoch_words(data), LINES["epoch"]),
        *(Entry(f"share {where[name]}", Line(STRIP[name], 3.0)) for name in names),
        *marked_entries(marks),
    ]
    # How many batches share a column stands in the title, which a zoom changes.
    label = colour_name(dict(data.attrs) | {"batches_per_column": 1})
    if data.attrs["batches_per_column"] > 1:
        label += ", mean of a column's batches"
    edge = data["value_edge"].values
    cell = f", {edge[1] - edge[0]:.2g} high" if data.attrs["scale"] == "linear" else ""
    if tile:
        text = f"Across: batch. Up: {quantity} value. Colour: {label}, log scale; black: none."
        if names:
            text += " Strips: share of elements outside the picture."
    else:
        text = f"Colour: {label}{cell}, log scale; black: none."
        if names:
            text += " Below: share of elements outside the picture."
    return [*entries, Entry(text)]
