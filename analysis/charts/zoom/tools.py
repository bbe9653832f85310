"""How the frames of a large chart are panned and zoomed, as hooks for bokeh figures."""

from __future__ import annotations

from typing import Any, Final

from bokeh.models import (
    BoxZoomTool,
    HoverTool,
    NumeralTickFormatter,
    PanTool,
    ResetTool,
    SaveTool,
    WheelZoomTool,
)

__all__ = ["no_tools", "view_bounds", "zooming_tools"]

#: Batches, and share of the value axis, that a view holds at least.
_FEWEST: Final = 4.0
_FLATTEST: Final = 1 / 500


def zooming_tools(plot: Any, _element: Any) -> None:
    """Let a drag pan and the wheel zoom along the batches; the rest is in the toolbar."""
    bar = plot.state.toolbar
    # Both axes at once, a few turns of the wheel would leave nothing of the values. The
    # descriptions keep HoloViews from taking the two for one tool.
    wheel = WheelZoomTool(dimensions="width", description="Zoom batches by the wheel")
    values = WheelZoomTool(dimensions="height", description="Zoom values by the wheel")
    pan = PanTool()
    bar.tools = [pan, BoxZoomTool(), wheel, values, ResetTool(), SaveTool(), *_hovers(bar)]
    bar.active_drag, bar.active_scroll = pan, wheel
    _whole_batches(plot)
    _plain_canvas(plot)


def no_tools(plot: Any, _element: Any) -> None:
    """Leave a frame nothing but what hovering says; it follows the one above."""
    bar = plot.state.toolbar
    bar.active_drag = bar.active_scroll = None
    bar.tools = _hovers(bar)
    _whole_batches(plot)
    _plain_canvas(plot)


def view_bounds(across: tuple[float, float], up: tuple[float, float]) -> Any:
    """Return a hook that keeps the view within the run, and not too narrow.

    Parameters
    ----------
    across : (first, stop)
        Batches.
    up : (low, high)
        Along the drawn value axis.
    """

    def hook(plot: Any, _element: Any) -> None:
        x, y = plot.state.x_range, plot.state.y_range
        x.bounds, x.min_interval = across, min(_FEWEST, across[1] - across[0])
        y.bounds, y.min_interval = up, (up[1] - up[0]) * _FLATTEST

    return hook


def _whole_batches(plot: Any) -> None:
    # Of a million batches, bokeh's own would say 5.0002e+5.
    for axis in plot.state.xaxis:
        axis.formatter = NumeralTickFormatter(format="0,0[.]00")


def _plain_canvas(plot: Any) -> None:
    # HoloViews asks for WebGL, which draws lines and no images or text, so every frame is
    # copied between the two several times.
    plot.state.output_backend = "canvas"


def _hovers(bar: Any) -> list[HoverTool]:
    return [tool for tool in bar.tools if isinstance(tool, HoverTool)]
