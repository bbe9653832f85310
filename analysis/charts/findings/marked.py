"""Findings on a picture: a lane a rule, a bar over the batches it is about.

Imports HoloViews, `marked_data` and `style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import holoviews as hv

from actrace.analysis.charts.colorful.read_off import point_hover
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.caption import Entry
from actrace.analysis.charts.grammar.frame import Frame
from actrace.analysis.charts.grammar.panels import epoch_axis
from actrace.analysis.charts.grammar.style import INK, SEVERITIES, Line, styled

__all__ = [
    "MARK_POINTS",
    "MOST_OVER",
    "SAID",
    "Lane",
    "epoch_ends",
    "lane_boxes",
    "lane_height",
    "lane_places",
    "lanes",
    "lanes_over",
    "marked_entries",
    "over_epochs",
    "row_bars",
    "said",
    "shown_lanes",
]

_BATCH: Final = "batch"
_INK: Final = "#10131a"
#: Narrowest bar, as a share of the frame: a single step of a long run is seen too.
_LEAST: Final = 0.004
#: Height of a lane over what stands in a frame, inches, and how many there may be.
_LANE: Final = 0.13
MOST_OVER: Final = 3
#: Size of a rule's name over what stands in a frame.
MARK_POINTS: Final = 6
#: Bars in a row of a map, their height and the gap below each, as shares of the row.
_MOST_IN_ROW: Final = 2
_ROW_BAR: Final = 0.2
_ROW_FOOT: Final = 0.07
#: Foot and top of a bar, as shares of its lane.
_FOOT, _TOP = 0.08, 0.92
#: Row of a mark's tooltip -> column that holds it.
SAID: Final = {"finding": "said_rule", "what": "said_what"}


def shown_lanes(marks: Sequence[Mark], most: int) -> int:
    """Return how many lanes are drawn of marks, at most so many."""
    return min(len(marks), most)


@dataclass(frozen=True, slots=True)
class Lane:
    """Where the bars of a rule stand in a frame, and its name.

    Attributes
    ----------
    mark : Mark
    colour : str
    bars : tuple of (first, stop)
        Batches, those in the frame alone.
    text, ink : str
        The rule's name and its colour.
    place : float
        Batch at which the name begins or ends.
    align : {"left", "right"}
    """

    mark: Mark
    colour: str
    bars: tuple[tuple[float, float], ...]
    text: str
    ink: str
    place: float
    align: str


def lane_places(
    marks: Sequence[Mark], across: tuple[float, float], inches: float, *, points: float, most: int
) -> list[Lane]:
    """Return the lanes of marks, the gravest topmost.

    Parameters
    ----------
    marks : sequence of Mark
        The gravest first.
    across : (first, stop)
        Batches in the frame.
    inches : float
        Width of the frame.
    points : float
        Size of the rules' names.
    most : int
        Lanes; the last says how many more there are.
    """
    n = shown_lanes(marks, most)
    found = []
    for at, mark in enumerate(marks[:n]):
        bars = tuple(
            _ends(span, across)
            for span in mark.spans
            if span[1] > across[0] and span[0] < across[1]
        )
        text = mark.rule if bars else f"{mark.rule}: not in view"
        if at == n - 1 and len(marks) > n:
            text += f" +{len(marks) - n}"
        colour = SEVERITIES[mark.severity]
        longest = max(bars, key=lambda bar: bar[1] - bar[0], default=None)
        per_inch = (across[1] - across[0]) / inches
        long = len(text) * points * 0.6 / 72 * per_inch
        place, align, inside = _beside(longest, long, across, 0.04 * per_inch)
        found.append(Lane(mark, colour, bars, text, _INK if inside else colour, place, align))
    return found


def lanes(
    marks: Sequence[Mark],
    y: hv.Dimension,
    across: tuple[float, float],
    bottom: float,
    height: float,
    inches: float,
    *,
    points: float,
    most: int,
    x: hv.Dimension | str = _BATCH,
    ink: str | None = None,
) -> list[Any]:
    """Return the lanes of marks, the gravest topmost, as elements.

    Parameters
    ----------
    marks, across, inches, points, most
        As for `lane_places`.
    x, y : Dimension
    ink : str, optional
        Of a name beside its bar, where its own colour cannot be read.
    bottom, height : float
        Foot of the lowest lane and height of one, along `y`.
    """
    drawn: list[Any] = []
    places = lane_places(marks, across, inches, points=points, most=most)
    for at, lane in enumerate(places):
        foot = bottom + (len(places) - 1 - at) * height
        if lane.bars:
            rows = [(*box, *said(lane.mark)) for box in lane_boxes(lane, foot, height)]
            drawn.append(
                styled(
                    hv.Rectangles(rows, kdims=[x, y, "stop", "top"], vdims=[*SAID.values()]),
                    {"color": lane.colour, "linewidth": 0},
                    {"color": lane.colour, "line_width": 0, "hooks": [_hover]},
                )
            )
        name = hv.Labels([(lane.place, foot + height / 2, lane.text)], kdims=[x, y])
        written = lane.ink if ink is None or lane.ink == _INK else ink
        drawn.append(
            styled(
                name,
                {
                    "color": written,
                    "size": points,
                    "horizontalalignment": lane.align,
                    "verticalalignment": "center",
                },
                {
                    "text_color": written,
                    "text_font_size": f"{points}pt",
                    "text_align": lane.align,
                    "text_baseline": "middle",
                },
            )
        )
    return drawn


def lanes_over(
    marks: Sequence[Mark],
    x: hv.Dimension | str,
    y: hv.Dimension,
    across: tuple[float, float],
    limits: tuple[float, float],
    frame: Frame,
    *,
    points: float = MARK_POINTS,
    most: int = MOST_OVER,
    ink: str | None = None,
) -> tuple[list[Any], tuple[float, float]]:
    """Return lanes over what stands in a frame, and the ends of its axis with them.

    Parameters
    ----------
    marks, across, points, most, x, y, ink
        As for `lanes`.
    limits : (low, high)
        Ends of the axis without lanes.
    frame : Frame
    """
    low, high = limits
    lane, top = lane_height(marks, limits, frame, most=most)
    drawn = lanes(marks, y, across, high, lane, frame.width, points=points, most=most, x=x, ink=ink)
    return drawn, (low, top)


def lane_height(
    marks: Sequence[Mark], limits: tuple[float, float], frame: Frame, *, most: int = MOST_OVER
) -> tuple[float, float]:
    """Return the height of a lane over a frame, and the axis' end with all, along the axis."""
    n = shown_lanes(marks, most)
    low, high = limits
    # The lanes take their height from the frame's, whatever the axis.
    lane = (high - low) * _LANE / (frame.height - n * _LANE)
    return lane, high + n * lane


def row_bars(
    marks: Sequence[Sequence[Mark]], x: hv.Dimension, y: hv.Dimension, across: tuple[float, float]
) -> list[Any]:
    """Return bars along the feet of rows, each 1 high and the first topmost.

    Parameters
    ----------
    marks : sequence of sequence of Mark
        Of each row, the gravest first; two are drawn, one over the other.
    x, y : Dimension
    across : (first, stop)
    """
    rows: dict[str, list[Any]] = {}
    for at, some in enumerate(marks):
        for i, mark in enumerate(some[:_MOST_IN_ROW]):
            foot = len(marks) - 1 - at + _ROW_FOOT + i * (_ROW_BAR + _ROW_FOOT)
            for span in mark.spans:
                first, stop = _ends(span, across)
                if stop > first:
                    box = (first, foot, stop, foot + _ROW_BAR)
                    rows.setdefault(SEVERITIES[mark.severity], []).append((*box, *said(mark)))
    return [
        styled(
            hv.Rectangles(boxes, kdims=[x, y, "stop", "top"], vdims=[*SAID.values()]),
            {"color": colour, "linewidth": 0.4, "edgecolor": _INK},
            {"color": colour, "line_color": _INK, "line_width": 0.5, "hooks": [_hover]},
        )
        for colour, boxes in rows.items()
    ]


def over_epochs(
    marks: Sequence[Mark],
    dims: Sequence[Any],
    epochs: Any,
    limits: tuple[float, float],
    frame: Frame,
) -> tuple[list[Any], tuple[float, float]]:
    """Return lanes over a light panel of epochs, as `lanes_over` does."""
    if not marks:
        return [], limits
    across = epoch_axis(epochs)["xlim"]
    x, y = dims
    return lanes_over(marks, x, y, across, limits, frame, ink=INK)


def epoch_ends(epochs: Any) -> tuple[int, int]:
    """Return the first and the last of epochs, (0, 0) of none."""
    return (int(min(epochs)), int(max(epochs))) if len(epochs) else (0, 0)


def lane_boxes(lane: Lane, foot: float, height: float) -> list[tuple[float, float, float, float]]:
    """Return (first, low, stop, high) of the bars of a lane that stands on `foot`."""
    low, high = foot + _FOOT * height, foot + _TOP * height
    return [(first, low, stop, high) for first, stop in lane.bars]


def said(mark: Mark) -> tuple[str, str]:
    """Return what hovering over a mark says, a text for each of `SAID`."""
    return f"{mark.rule} ({mark.severity})", mark.what


def _hover(plot: Any, _element: Any) -> None:
    point_hover(plot.state, [plot.handles["glyph_renderer"]], [*SAID.items()])


def marked_entries(marks: Sequence[Mark]) -> list[Entry]:
    """Return the key's entries for the severities that are marked."""
    held = {mark.severity for mark in marks}
    return [
        Entry(f"finding: {severity}", Line(colour, 4.0))
        for severity, colour in SEVERITIES.items()
        if severity in held
    ]


def _ends(span: tuple[float, float], across: tuple[float, float]) -> tuple[float, float]:
    first, stop = float(span[0]), float(span[1])
    least = _LEAST * (across[1] - across[0])
    if stop - first < least:
        middle = (first + stop) / 2
        first, stop = middle - least / 2, middle + least / 2
    return max(first, across[0]), min(stop, across[1])


def _beside(
    bar: tuple[float, float] | None, long: float, across: tuple[float, float], gap: float
) -> tuple[float, str, bool]:
    """Return where a name so long stands, and whether in its bar: there if it fits."""
    if bar is None:
        return across[0] + gap, "left", False
    if bar[1] - bar[0] > long + 2 * gap:
        return bar[0] + gap, "left", True
    if across[1] - bar[1] > long + 2 * gap:
        return bar[1] + gap, "left", False
    return bar[0] - gap, "right", False
