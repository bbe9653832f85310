"""A large chart that is zoomed: what is in view, and the drawing of it, put together.

In a notebook with a live kernel the chart follows by itself, through a stream of
HoloViews. Elsewhere whoever shows it asks `Zoom.look`, in any thread, and hands the
answer to what `Zoom.take` returned. A saved page stays a fixed picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from holoviews.streams import RangeXY

from actrace.analysis.charts.colorful.parts import epoch_names, titled
from actrace.analysis.charts.findings.marked import lane_places
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.frame import Frame, letters
from actrace.analysis.charts.grammar.style import bokeh_text, shorten
from actrace.analysis.charts.zoom.data import Lens
from actrace.analysis.charts.zoom.layer import SharpLayer, Sight

__all__ = ["POINTS", "Zoom"]

#: Size of the title over a large picture.
POINTS: Final = 10


class Zoom:
    """Follows the view of a large chart of one layer.

    Parameters
    ----------
    lens : Lens
    marks : sequence of Mark
        What was found in the layer, the gravest first.
    name : str
        Of the run.
    frame : Frame
        That the picture stands in.
    lanes : int
        Most that are drawn of the marks.

    Attributes
    ----------
    latest : SharpLayer or None
        Of the last rendering by bokeh.
    """

    def __init__(
        self,
        lens: Lens,
        marks: Sequence[Mark] = (),
        *,
        name: str,
        frame: Frame,
        lanes: int,
    ) -> None:
        self.latest: SharpLayer | None = None
        self._lens = lens
        self._marks = tuple(marks)
        self._name = name
        self._frame, self._lanes = frame, lanes
        self._taken = False
        self._layers: WeakKeyDictionary[Any, SharpLayer] = WeakKeyDictionary()

    @property
    def whole(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """All batches and the whole value axis, as `look` takes them."""
        edge = self._lens.overview["position_edge"].values
        return (0.0, float(self._lens.n_batches)), (float(edge[0]), float(edge[-1]))

    def look(self, across: tuple[float, float], up: tuple[float, float]) -> Sight:
        """Return what there is to draw of a view.

        Parameters
        ----------
        across : (first, stop)
            Batches.
        up : (low, high)
            Along the drawn value axis.
        """
        data = self._lens.look(across, up)
        wide = self._frame.width
        lanes = lane_places(self._marks, across, wide, points=8, most=self._lanes)
        lines = titled(self._name, data, self._lens.n_batches, across).split("\n")
        fits = letters(wide + self._frame.right, POINTS)
        title = bokeh_text("\n".join(shorten(line, fits) for line in lines))
        return Sight(title, data, epoch_names(data, across, up), lanes)

    def meet(self, what: str, plot: Any) -> None:
        """Take note of a frame that HoloViews renders by bokeh, its picture first."""
        if what != "picture":
            if self.latest is not None:
                self.latest.add(what, plot.state)
        elif plot not in self._layers:
            self._layers[plot] = self.latest = SharpLayer(plot.state)

    def take(self) -> SharpLayer | None:
        """Return the latest rendering, which whoever takes it follows from now on."""
        self._taken = True
        return self.latest

    def follow(self, element: Any) -> None:
        """Follow the view of an element wherever HoloViews shows it live."""
        RangeXY(source=element).add_subscriber(self._moved)

    def _moved(
        self,
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> None:
        if self._taken or x_range is None or y_range is None:
            return
        served = {plot for plot in self._layers if _is_served(plot)}
        # Neither on a server's page nor in a notebook it was saved, not shown.
        shown = [pair for pair in self._layers.items() if pair[0].comm or pair[0] in served]
        if not shown:
            return
        sight = self.look(x_range, y_range)
        for plot, layer in shown:
            if plot in served:
                # A page is drawn on in its turn.
                plot.document.add_next_tick_callback(partial(layer.show, sight))
            else:
                layer.show(sight)
                plot.push()


def _is_served(plot: Any) -> bool:
    return plot.document is not None and plot.document.session_context is not None
