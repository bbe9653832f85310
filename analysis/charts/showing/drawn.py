"""A chart -> a matplotlib figure of it: at once where the chart knows how, else by HoloViews.

Imports HoloViews.
"""

from __future__ import annotations

from typing import Any

import holoviews as hv

from actrace.analysis.charts.grammar.late import Late

__all__ = ["figure_of"]


def figure_of(chart: Any) -> Any:
    """Return the figure of a chart.

    Parameters
    ----------
    chart : HoloViews object
    """
    figure = chart.figure() if isinstance(chart, Late) else None
    # As hv.render does, which draws for matplotlib twice.
    return hv.Store.renderers["matplotlib"].get_plot(chart).state if figure is None else figure
