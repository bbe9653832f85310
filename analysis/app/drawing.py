"""Charts -> what a page shows of them; to be called on the thread that draws alone."""

from __future__ import annotations

import io
from typing import Any, Final

import holoviews as hv
import matplotlib.pyplot as plt
from bokeh.models import Toolbar

# Imported for the backends that it registers.
import actrace.analysis.charts.style  # noqa: F401

__all__ = ["bokeh", "png", "zoomable"]

_DPI: Final = 130


def png(chart: Any) -> bytes:
    """Return a chart as a PNG."""
    figure = hv.Store.renderers["matplotlib"].get_plot(chart).state
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, facecolor="white")
    plt.close(figure)
    return file.getvalue()


def bokeh(chart: Any) -> Any:
    """Return a chart as a bokeh model, to pan, zoom and read values in."""
    model = hv.Store.renderers["bokeh"].get_plot(chart).state
    for toolbar in model.select({"type": Toolbar}):
        toolbar.logo = None  # a link to the net
    return model


def zoomable(chart: Any) -> tuple[Any, Any]:
    """Return a chart as a bokeh model, and what follows the view of it, None for nothing."""
    return bokeh(chart), getattr(chart, "zoom", None)
