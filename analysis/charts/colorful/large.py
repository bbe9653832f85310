"""One layer's colorful dimension, large: picture, findings, strip and key.

Imports HoloViews; what it draws comes from `colorful_data` and `marked_data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.colorful.marks import lines, outside, picture
from actrace.analysis.charts.colorful.parts import (
    BATCH,
    PAINT,
    axes_of,
    batch_label,
    entries_of,
    epoch_names,
    note,
    shown_batches,
    titled,
    value_dimension,
)
from actrace.analysis.charts.findings.marked import lanes, shown_lanes
from actrace.analysis.charts.findings.marked_data import Mark, in_view
from actrace.analysis.charts.grammar.blank import words
from actrace.analysis.charts.grammar.caption import key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.style import NIGHT, STRIP, Line, styled
from actrace.analysis.charts.zoom.data import Lens
from actrace.analysis.charts.zoom.tools import no_tools, view_bounds, zooming_tools
from actrace.analysis.charts.zoom.zoom import POINTS, Zoom
from actrace.store.run import Run

__all__ = ["large"]

_FRAME: Final = Frame(9.6, 4.4, left=0.85, right=1.15, top=0.42, bottom=0.24)
_BELOW: Final = Frame(9.6, 0.75, left=0.85, right=1.15, top=0.08, bottom=0.48)
#: Height of a finding's lane, inches, and how many there may be.
_LANE: Final = 0.19
_MOST_LANES: Final = 8


def large(run: xr.DataTree, data: xr.Dataset, n_batches: int, marks: Sequence[Mark] = ()) -> Any:
    """Return one layer drawn large.

    Parameters
    ----------
    run : DataTree
        Names the chart.
    data : Dataset
        From `colorful_layers`.
    n_batches : int
        Batches of the whole phase.
    marks : sequence of Mark
        What was found in the layer.

    Returns
    -------
    Frames
        Its ``zoom`` follows the view, None where there is nothing to follow.
    """
    y = value_dimension(data)
    edge = data["position_edge"].values
    limits = (float(edge[0]), float(edge[-1]))
    across = shown_batches(data)
    marks = in_view(marks, across)
    label = str(data["shown"].attrs["long_name"])
    image = picture(data, y, _FRAME, bar=0.018, label=label, points=8)
    zoom = None
    # Gradients have no levels, and where nothing was counted there is nothing to look at.
    looked_at = isinstance(image, hv.Image) and data.attrs["quantity"] != "gradient"
    if looked_at and isinstance(run, Run):
        lens = Lens(run, data)
        zoom = Zoom(lens, marks, name=run_name(run), frame=_FRAME, lanes=_MOST_LANES)
        zoom.follow(image)
    main = hv.Overlay(
        [
            image,
            *lines(data, y),
            *_epoch_labels(data, y, limits),
            *note(data, y, limits, across, 13),
        ]
    )
    axes = axes_of(data, across, limits, 9) | {"xlabel": ""}
    bokeh = {
        "hooks": [
            zooming_tools,
            view_bounds((0.0, float(n_batches)), limits),
            *_met(zoom, "picture"),
        ]
    }
    title = titled(run_name(run), data, n_batches)
    rows = [[dressed(main, _FRAME, title=title, points=POINTS, axes=axes, bokeh=bokeh)]]
    frames = [_FRAME]
    if marks:
        frames.append(_lane_frame(marks))
        rows.append([_found(marks, across, frames[-1], zoom)])
    under = replace(_FRAME, top=0.04, bottom=0.1)
    legend, height = key(entries_of(data, tile=False, marks=marks), under, columns=6, paint=PAINT)
    rows += [[_below(data, across, zoom)], [legend]]
    chart = arrange(rows, [*frames, _BELOW, replace(under, height=height)], linked=True)
    chart.zoom = zoom
    return chart


def _met(zoom: Zoom | None, what: str) -> list[Any]:
    """Return the bokeh hooks that tell who zooms of a frame."""
    return [] if zoom is None else [lambda plot, _element: zoom.meet(what, plot)]


def _lane_frame(marks: Sequence[Mark]) -> Frame:
    return replace(_FRAME, height=_LANE * shown_lanes(marks, _MOST_LANES), top=0.12, bottom=0.06)


def _found(
    marks: Sequence[Mark], across: tuple[float, float], frame: Frame, zoom: Zoom | None
) -> Any:
    """Return the lanes of what was found, under a large chart."""
    y = hv.Dimension("finding")
    n = shown_lanes(marks, _MOST_LANES)
    drawn = lanes(marks, y, across, 0.0, 1.0, frame.width, points=8, most=_MOST_LANES)
    axes = {
        "xlim": across,
        "ylim": (0.0, float(n)),
        "xaxis": None,
        "yaxis": None,
        "bgcolor": NIGHT,
    }
    bokeh = {"hooks": [no_tools, *_met(zoom, "findings")]}
    return dressed(hv.Overlay(drawn), frame, title="", points=10, axes=axes, bokeh=bokeh)


def _below(data: xr.Dataset, across: tuple[float, float], zoom: Zoom | None) -> Any:
    """Return the strip under a large chart: shares outside the picture in percent."""
    shares = outside(data)
    y = hv.Dimension("outside", label="outside (%)")
    x = data["first_batch"].values + data["batches"].values / 2
    if len(x) == 1:
        x = np.array(across)
    drawn = [
        _percent(x, np.broadcast_to(100 * share, x.shape), y, STRIP[name])
        for name, share in shares.items()
    ]
    top = max([float(np.nanmax(share)) for share in shares.values()], default=0.0) * 100
    if not shares:
        text = "no element lies outside the picture"
        # An axis needs something to stand for; a line at zero says it best.
        drawn.append(_percent(np.array(across), np.zeros(2), y, STRIP["above"]))
        drawn.append(words(text, across, (0.0, 1.0), hv.Dimension(BATCH), y, 8))
    top = 1.0 if top == 0 else top
    return dressed(
        hv.Overlay(drawn),
        _BELOW,
        title="",
        points=10,
        axes={
            "xlim": across,
            "ylim": (0.0, top * 1.12),
            "yticks": [(0.0, "0"), (top, f"{top:.2g}")] if shares else [(0.0, "0")],
            "xlabel": batch_label(data),
            "bgcolor": NIGHT,
        },
        bokeh={"hooks": [no_tools, *_met(zoom, "outside")]},
    )


def _percent(x: Any, share: Any, y: hv.Dimension, colour: str) -> Any:
    line = Line(colour, 1.2)
    return styled(hv.Curve((x, share), BATCH, y), *line.options())


def _epoch_labels(data: xr.Dataset, y: hv.Dimension, limits: tuple[float, float]) -> list[Any]:
    """Return the epochs' numbers at the top of the frame, as many as fit."""
    places = epoch_names(data, shown_batches(data), limits)
    if not places:
        return []
    return [
        styled(
            hv.Labels(places, kdims=[BATCH, y]),
            {"color": "#c9d1dc", "size": 7, "horizontalalignment": "left"},
            {"text_color": "#c9d1dc", "text_font_size": "7pt", "text_align": "left"},
        )
    ]
