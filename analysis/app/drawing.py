"""Charts -> what a page shows of them; to be called on the thread that draws alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv
import matplotlib.pyplot as plt
from bokeh.models import Toolbar

# Imported for the backends that it registers.
import actrace.analysis.charts.grammar.style  # noqa: F401
from actrace.analysis.app.view import Ends
from actrace.analysis.charts.grammar.theme import dark_changes, turn_dark
from actrace.analysis.charts.showing.drawn import figure_of
from actrace.analysis.charts.zoom.zoom import Zoom

__all__ = ["bokeh", "png", "zoomable"]

_DPI: Final = 130


def png(chart: Any, *, dark: bool = False) -> bytes:
    """Return a chart as a PNG.

    Parameters
    ----------
    chart : HoloViews object
    dark : bool, default False
        For a dark page.
    """
    figure = figure_of(chart)
    if dark:
        turn_dark(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, facecolor=figure.get_facecolor())
    plt.close(figure)
    return file.getvalue()


def bokeh(chart: Any, *, dark: bool = False) -> Any:
    """Return a chart as a bokeh model, to pan, zoom and read values in.

    Parameters
    ----------
    chart, dark
        As for `png`.
    """
    model = hv.Store.renderers["bokeh"].get_plot(chart).state
    for toolbar in model.select({"type": Toolbar}):
        toolbar.logo = None  # a link to the net
    if dark:
        for turned, changes in dark_changes(model.references()):
            turned.update(**changes)
    return model


def zoomable(
    chart: Any, *, dark: bool = False, ends: Sequence[Ends | None] = (None, None)
) -> tuple[Any, Zoom | None]:
    """Return a chart as a bokeh model, and what follows the view of it, None for nothing.

    Parameters
    ----------
    chart, dark
        As for `png`.
    ends : (batches, values)
        What of it is in view, None for all; only of a chart whose view can be followed.
    """
    model = bokeh(chart, dark=dark)
    zoom: Zoom | None = getattr(chart, "zoom", None)
    layer = None if zoom is None else zoom.take()
    if zoom is not None and layer is not None and any(ends):
        view = [_within(some, whole) for some, whole in zip(ends, zoom.whole, strict=True)]
        layer.turn(view[0], view[1], zoom.whole)
        layer.show(zoom.look(view[0], view[1]))
    return model, zoom


def _within(ends: Ends | None, whole: Ends) -> Ends:
    """Return the part of an axis between two ends, all of it where that is nothing."""
    if ends is None:
        return whole
    first, last = max(ends[0], whole[0]), min(ends[1], whole[1])
    return (first, last) if first < last else whole
