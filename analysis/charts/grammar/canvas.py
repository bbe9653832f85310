"""A matplotlib figure drawn on without axes: pictures, lines, words and ticks, in inches.

For charts of many frames. An axes takes matplotlib some ten times as long as what stands in
it, most of it to measure and place ticks; here all ticks of a figure are one line, and their
words stand where an axes would put them. Imports matplotlib; knows nothing of any chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import ArrayLike, NDArray

from actrace.analysis.charts.grammar.stamp import Stamp, Stamps
from actrace.analysis.charts.grammar.style import Line

__all__ = ["Canvas", "View", "coloured", "number_ticks"]

Place = tuple[float, float, float, float]

_POINT: Final = 1 / 72
#: Of the edge of a frame and its ticks, as matplotlib's own, points.
_EDGE: Final = 0.8
_TICK: Final = 3.5
_TICK_ROOM: Final = 7.0
#: The same of a colour bar, whose edge is thinner than its ticks.
_BAR_EDGE: Final = 0.4
_BAR_TICK: Final = 0.5
_BAR_TICK_LONG: Final = 2.0
_BAR_ROOM: Final = 5.5
#: Between a frame and its title.
_TITLE_ROOM: Final = 6.0
_INK: Final = "black"


class View:
    """Where data stands in a frame.

    Parameters
    ----------
    place : (left, bottom, width, height)
        Of the frame, inches.
    across, up : (low, high)
        Ends of its axes.
    """

    __slots__ = ("across", "place", "up")

    def __init__(self, place: Place, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.place, self.across, self.up = place, across, up

    def x(self, value: ArrayLike) -> NDArray[np.float64]:
        """Return how far right values stand, inches."""
        return self._inches(value, self.across, self.place[0], self.place[2])

    def y(self, value: ArrayLike) -> NDArray[np.float64]:
        """Return how high values stand, inches."""
        return self._inches(value, self.up, self.place[1], self.place[3])

    @staticmethod
    def _inches(
        value: ArrayLike, ends: tuple[float, float], first: float, long: float
    ) -> NDArray[np.float64]:
        share = (np.asarray(value, np.float64) - ends[0]) / (ends[1] - ends[0])
        return np.asarray(first + share * long)


class Canvas:
    """A figure to draw on.

    What is on the paper, titles and ticks, is among the figure's own texts and lines, which
    turn with a dark paper; what stands in a frame is not.

    Parameters
    ----------
    wide, tall : float
        Inches.
    """

    def __init__(self, wide: float, tall: float) -> None:
        self.figure = Figure(figsize=(wide, tall))
        FigureCanvasAgg(self.figure)
        self._inches = self.figure.dpi_scale_trans
        self._stamps: Stamps = {}
        self._edges: dict[float, list[Sequence[tuple[float, float]]]] = {}

    def clip(self, place: Place) -> Any:
        """Return what keeps drawings in a frame."""
        return TransformedBbox(Bbox.from_bounds(*place), self._inches)

    def ground(self, place: Place, colour: str) -> None:
        """Fill a frame."""
        left, bottom, width, height = place
        held = Rectangle((left, bottom), width, height, facecolor=colour, linewidth=0)
        held.set_zorder(-1)  # under images
        self._add(held)

    def image(self, colours: NDArray[np.uint8], view: View, ends: Place, clip: Any = None) -> None:
        """Draw cells, the first row lowest, between (left, low, right, high) in data."""
        left, low, right, high = ends
        x, y = view.x([left, right]), view.y([low, high])
        box = TransformedBbox(Bbox([[x[0], y[0]], [x[1], y[1]]]), self._inches)
        drawn = BboxImage(box, interpolation="nearest", origin="lower")
        drawn.set_data(colours)
        self.figure.add_artist(drawn)
        drawn.set_clip_box(clip)

    def line(
        self, x: ArrayLike, y: ArrayLike, line: Line, weight: float = 1.0, clip: Any = None
    ) -> None:
        """Draw a line, inches; broken where a value is NaN."""
        self._add(Line2D(x, y, **line.options(weight)[0]), clip)

    def box(self, ends: Place, colour: str, clip: Any = None) -> None:
        """Fill a box between (left, bottom, right, top), inches."""
        left, bottom, right, top = ends
        held = Rectangle((left, bottom), right - left, top - bottom, facecolor=colour, linewidth=0)
        self._add(held, clip)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        points: float,
        colour: str | None = None,
        *,
        across: str = "center",
        up: str = "center",
        mathematics: bool = False,
    ) -> None:
        """Write words at a place, inches; without a colour they are on the paper."""
        written = Stamp(
            self._stamps,
            self.figure,
            float(x),
            float(y),
            text,
            fontsize=points,
            color=_INK if colour is None else colour,
            horizontalalignment=across,
            verticalalignment=up,
            parse_math=mathematics,
        )
        if colour is not None:
            self._add(written)
            return
        written.set_transform(self._inches)
        written.set_figure(self.figure)
        self.figure.texts.append(written)

    def framed(
        self,
        view: View,
        title: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
        points: float,
        *,
        beyond: str = "",
    ) -> None:
        """Draw a frame's edge, ticks and title.

        Parameters
        ----------
        view : View
        title : str
        x_ticks, y_ticks : iterable of (value, label)
        points : float
            Size of the title; ticks are a point smaller.
        beyond : str
            What the labels of the x axis are times of.
        """
        left, bottom, width, height = view.place
        self._edge(_EDGE, view.place)
        for value, label in x_ticks:
            x = float(view.x(value))
            self._tick(_EDGE, (x, bottom), (x, bottom - _TICK * _POINT))
            self.words(x, bottom - _TICK_ROOM * _POINT, label, points - 1, up="top")
        for value, label in y_ticks:
            y = float(view.y(value))
            self._tick(_EDGE, (left, y), (left - _TICK * _POINT, y))
            self.words(
                left - _TICK_ROOM * _POINT,
                y,
                label,
                points - 1,
                across="right",
                up="center_baseline",
            )
        if beyond:
            low = bottom - (_TICK_ROOM + 1.2 * points) * _POINT
            self.words(left + width, low, beyond, points - 1, across="right", up="top")
        top = bottom + height + _TITLE_ROOM * _POINT
        self.words(left + width / 2, top, title, points, up="baseline")

    def bar(
        self,
        place: Place,
        colours: Sequence[str],
        ends: tuple[float, float],
        ticks: Iterable[tuple[float, str]],
        points: float,
    ) -> None:
        """Draw a colour bar, its ends and ticks the log of a value."""
        low, high = np.log(ends)
        view = View(place, (0.0, 1.0), (low, high))
        ramp = coloured(np.linspace(0, 1, len(colours))[:, None], colours, (0.0, 1.0))
        self.image(ramp, view, (0.0, low, 1.0, high))
        self._edge(_BAR_EDGE, place)
        right = place[0] + place[2]
        for value, label in ticks:
            y = float(view.y(np.log(value)))
            self._tick(_BAR_TICK, (right, y), (right + _BAR_TICK_LONG * _POINT, y))
            self.words(
                right + _BAR_ROOM * _POINT,
                y,
                label,
                points,
                across="left",
                up="center_baseline",
                mathematics=True,
            )

    def finished(self) -> Any:
        """Return the figure, with the edges and ticks of all frames."""
        gap = (np.nan, np.nan)
        for width, pieces in self._edges.items():
            places = np.array([place for piece in pieces for place in (*piece, gap)])
            drawn = Line2D(
                places[:, 0],
                places[:, 1],
                color=_INK,
                linewidth=width,
                solid_capstyle="butt",
                solid_joinstyle="miter",
                transform=self._inches,
                snap=True,
            )
            drawn.set_figure(self.figure)
            self.figure.lines.append(drawn)
        self._edges = {}
        return self.figure

    def _edge(self, width: float, place: Place) -> None:
        left, bottom, wide, high = place
        right, top = left + wide, bottom + high
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        # Past the first corner again, or it would have a notch.
        self._edges.setdefault(width, []).append([*corners, *corners[:2]])

    def _tick(self, width: float, first: tuple[float, float], last: tuple[float, float]) -> None:
        self._edges.setdefault(width, []).append([first, last])

    def _add(self, artist: Any, clip: Any = None) -> None:
        artist.set_transform(self._inches)
        self.figure.add_artist(artist)
        artist.set_clip_box(clip)


def coloured(
    values: NDArray[Any],
    colours: Sequence[str],
    ends: tuple[float, float],
    *,
    ground: str = "#000000",
    log: bool = False,
) -> NDArray[np.uint8]:
    """Return the colour of each value, as matplotlib maps it.

    Parameters
    ----------
    values : array, shape (n_rows, n_columns)
    colours : sequence of str
    ends : (low, high)
        Values of the first and the last colour, which also those beyond get.
    ground : str
        Where a value is NaN.
    log : bool, default False
        Whether colour is the log of the value.

    Returns
    -------
    ndarray, shape (n_rows, n_columns, 3), uint8
    """
    low, high = np.log(ends) if log else ends
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ((np.log(values) if log else values) - low) * (len(colours) / (high - low))
        at = np.clip(at, 0, len(colours) - 1)
    at = np.where(np.isnan(at), len(colours), at).astype(np.intp)
    return np.asarray(_table((*colours, ground)).take(at, axis=0))


@lru_cache(maxsize=32)
def _table(colours: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return the colours as red, green and blue, shape (n_colours, 3)."""
    return (np.array([to_rgb(colour) for colour in colours]) * 255).round().astype(np.uint8)


def number_ticks(
    low: float, high: float, most: int, steps: Sequence[float] | None = None
) -> tuple[list[tuple[float, str]], str]:
    """Return (value, label) of the ticks of an axis, and what the labels are times of, or "".

    Parameters
    ----------
    low, high : float
        Ends of the axis.
    most : int
        Most spaces between ticks.
    steps : sequence of float, optional
        As for matplotlib's ``MaxNLocator``.

    Examples
    --------
    >>> number_ticks(0, 10000, 4)[0][1]
    (2500.0, '2500')
    """
    values = MaxNLocator(most, steps=steps).tick_values(low, high)
    edge = 1e-9 * (high - low)
    shown = [float(at) for at in values if low - edge <= at <= high + edge]
    written = ScalarFormatter()
    written.create_dummy_axis()
    axis: Any = written.axis
    axis.set_view_interval(low, high)
    axis.set_data_interval(low, high)
    labels = written.format_ticks(shown)
    return list(zip(shown, labels, strict=True)), written.get_offset()
