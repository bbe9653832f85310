"""The difference chart: one layer of two runs beside each other, and what differs.

Both on one value axis and one scale of colours. Assembles `difference_data`.
"""

from __future__ import annotations

from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.colorful.marks import colour_limits, lines, picture
from actrace.analysis.charts.colorful.parts import (
    PAINT,
    axes_of,
    entries_of,
    shown_batches,
    value_dimension,
)
from actrace.analysis.charts.differing.difference_data import difference_data
from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.heat import heat
from actrace.analysis.charts.grammar.style import mixed, plain

__all__ = ["difference_chart"]

_FRAME: Final = Frame(3.35, 2.9, left=0.55, right=0.62, top=0.32, bottom=0.5)
#: Fewer, even, more; blue and orange are told apart by every kind of colour sight.
_LESS, _EVEN, _MORE = "#56b4e9", "#000004", "#e69f00"
_DIFFERENCE: Final = [
    *(mixed(_EVEN, _LESS, float(share)) for share in np.linspace(1.0, 0.0, 64)),
    *(mixed(_EVEN, _MORE, float(share)) for share in np.linspace(0.0, 1.0, 64)),
]
#: Of the cells that differ, so many are within the ends of the colours.
_WITHIN: Final = 0.9


def difference_chart(
    first: xr.DataTree,
    second: xr.DataTree,
    *,
    layer: str,
    phase: str = "train",
    scale: str = "linear",
) -> Any:
    """Return one layer of two runs on a shared scale, and their difference.

    Parameters
    ----------
    first, second : DataTree
        As `actrace.open` returns them; with the same bins.
    layer : str
        Name of a layer that both have.
    phase : str, default "train"
    scale : {"linear", "asinh"}, default "linear"
        The value axis, as of `colorful_chart`.

    Returns
    -------
    holoviews.Layout
        The first run, the second, and by how much the share of elements in a cell is
        larger (orange) or smaller (blue) in the second, batch beside batch by their number;
        its last element is the key.

    Raises
    ------
    ChartError
        Runs of different bins or of lengths too different.
    LayerNotFoundError, PhaseNotFoundError

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(difference_chart(run, run, layer="conv0"), "apart.png").name
    'apart.png'
    """
    before, after, apart = difference_data(first, second, layer=layer, phase=phase, scale=scale)
    names = [run_name(run) or word for run, word in ((first, "first"), (second, "second"))]
    y = value_dimension(before)
    ends = [shown_batches(data) for data in (before, after)]
    across = (ends[0][0], max(end for _, end in ends))
    edge = before["position_edge"].values
    axes = axes_of(before, across, (float(edge[0]), float(edge[-1])), 7) | {"ylabel": ""}
    axes |= {"xticks": 4}
    limits = [colour_limits(data) for data in (before, after)]
    clim = (min(low for low, _ in limits), max(high for _, high in limits))
    cells = []
    for data, name in zip((before, after), names, strict=True):
        shown = picture(data, y, _FRAME, bar=0.03, label="", points=6, clim=clim)
        drawn = hv.Overlay([shown, *lines(data, y, weight=0.75)])
        cells.append(dressed(drawn, _FRAME, title=name, points=9, axes=axes))
    share = apart["share"].values
    apart_from = np.abs(share[np.isfinite(share) & (share != 0)])
    top = float(np.quantile(apart_from, _WITHIN)) if apart_from.size else 1.0
    start = float(apart["first_batch"].values[0])
    end = start + apart.attrs["batches_per_column"] * apart.sizes["column"]
    heights = (float(edge[0]), float(edge[-1]))
    drawn = hv.Overlay(
        [
            heat(
                share[::-1], (start, end), heights, hv.Dimension("batch"), y, _FRAME,
                cmap=_DIFFERENCE, clim=(-top, top), label="", name="difference",
                bar=0.03, points=6,
            )
        ]
    )  # fmt: skip
    cells.append(dressed(drawn, _FRAME, title=f"{names[1]} less {names[0]}", points=9, axes=axes))
    text = (
        "Right: share of elements in a cell, the second run's less the first's; the colours' ends "
        f"hold {_WITHIN:.0%} of the cells that differ."
    )
    marks = [
        Entry("more in the second", fill=_MORE),
        Entry("fewer in the second", fill=_LESS),
    ]
    entries = [*entries_of(before, tile=True, outside_names=()), *marks, Entry(text)]
    rows, frames = with_key(cells, entries, _FRAME, 3, paint=PAINT)
    return arrange(rows, frames, title=f"{plain(before.attrs['layer'])} · {phase}")
