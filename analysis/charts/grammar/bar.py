"""The colour bar of a picture, in both backends.

HoloViews' own bar would draw a whole matplotlib figure anew for each, minutes for
sixty of them, and bokeh would write its words over the frame.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from bokeh.models import Title
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from actrace.analysis.charts.grammar.frame import Frame
from actrace.analysis.charts.grammar.style import pixels

__all__ = ["BAR_TITLE", "bar_ticks", "colour_bar"]

#: Name of the bokeh title beside a bar.
BAR_TITLE: Final = "counts"


def colour_bar(
    frame: Frame, clim: tuple[float, float], *, bar: float, label: str, points: float, log: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (matplotlib, bokeh) plot options that give an image its colour bar.

    Parameters
    ----------
    frame : Frame
        What the image stands in.
    clim : (low, high)
        Values at the ends of the bar.
    bar : float
        Width of the bar as a share of the frame.
    label : str
        Words beside it, "" for none.
    points : float
        Size of its numbers.
    log : bool
        Whether colour is the log of the value.
    """
    low, high = clim

    def inset(plot: Any, _element: Any) -> None:
        # An inset follows its frame by itself.
        axis = plot.handles["axis"]
        place = axis.inset_axes((1 + bar * 0.7, 0.0, bar, 1.0))
        drawn = axis.figure.colorbar(plot.handles["artist"], cax=place)
        if log:
            place.yaxis.set_major_locator(_log_ticks(low, high))
            place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
        else:
            place.yaxis.set_major_locator(MaxNLocator(6))
        place.yaxis.set_minor_locator(NullLocator())
        drawn.outline.set_linewidth(0.4)
        place.tick_params(labelsize=points, width=0.5, length=2)
        if label:
            drawn.set_label(label, fontsize=points + 1)
        # Colours are enlarged in a quarter of the time that it takes for numbers.
        image = plot.handles["artist"]
        if isinstance(image, AxesImage) and image.get_interpolation() == "nearest":
            values: Any = image.get_array()
            image.set_data(image.to_rgba(values, bytes=True))

    def titled(plot: Any, _element: Any) -> None:
        # bokeh would write it over the frame, at the foot of the bar.
        if label and not plot.state.select({"type": Title, "name": BAR_TITLE}):
            title = Title(text=label, name=BAR_TITLE, align="center", text_font_style="normal")
            title.text_font_size = f"{points + 1}pt"
            plot.state.add_layout(title, "right")

    return (
        {"logz": log, "clim": clim, "colorbar": False, "hooks": [inset]},
        {
            "logz": log,
            "clim": clim,
            "colorbar": True,
            "clabel": "",
            "hooks": [titled],
            "colorbar_opts": {
                "width": pixels(bar * frame.width),
                "padding": 2,
                "major_label_text_font_size": f"{points}pt",
            },
        },
    )


def bar_ticks(clim: tuple[float, float]) -> list[tuple[float, str]]:
    """Return (value, label) of the ticks of a bar whose colour is the log of the value.

    Examples
    --------
    >>> [label for _, label in bar_ticks((1.0, 20.0))]
    ['1', '2', '5', '10', '20']
    """
    values = _log_ticks(*clim).tick_values(*clim)
    return [(float(at), _number(at)) for at in values if clim[0] <= at <= clim[1]]


def _log_ticks(low: float, high: float) -> LogLocator:
    return LogLocator(subs=(1.0,) if high >= 100 * low else (1.0, 2.0, 5.0), numticks=7)


def _number(value: float) -> str:
    """Return a count as one reads it: 0.01, 1, 1000, then a power of ten."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    power = round(np.log10(value))
    return f"$10^{{{power}}}$" if np.isclose(value, 10.0**power) else f"{value:.0e}"
