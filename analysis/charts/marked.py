"""Findings on a picture: a lane a rule, a bar over the batches it is about.

Imports HoloViews, `marked_data` and `style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv

from actrace.analysis.charts.caption import Entry
from actrace.analysis.charts.marked_data import Mark
from actrace.analysis.charts.style import SEVERITIES, Line, styled

__all__ = ["lanes", "marked_entries", "shown_lanes"]

_BATCH: Final = "batch"
_INK: Final = "#10131a"
#: Narrowest bar, as a share of the frame: a single step of a long run is seen too.
_LEAST: Final = 0.004


def shown_lanes(marks: Sequence[Mark], most: int) -> int:
    """Return how many lanes are drawn of marks, at most so many."""
    return min(len(marks), most)


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
) -> list[Any]:
    """Return the lanes of marks, the gravest topmost.

    Parameters
    ----------
    marks : sequence of Mark
        The gravest first.
    y : Dimension
    across : (first, stop)
        Batches in the frame.
    bottom, height : float
        Foot of the lowest lane and height of one, along `y`.
    inches : float
        Width of the frame.
    points : float
        Size of the rules' names.
    most : int
        Lanes; the last says how many more there are.
    """
    n = shown_lanes(marks, most)
    wide = across[1] - across[0]
    drawn: list[Any] = []
    for lane, mark in enumerate(marks[:n]):
        foot = bottom + (n - 1 - lane) * height
        colour = SEVERITIES[mark.severity]
        ends = [_ends(span, across) for span in mark.spans]
        boxes = [
            (first, foot + 0.08 * height, stop, foot + 0.92 * height)
            for first, stop in ends
            if stop > across[0] and first < across[1]
        ]
        if boxes:
            drawn.append(
                styled(
                    hv.Rectangles(boxes, kdims=[_BATCH, y, "stop", "top"]),
                    {"color": colour, "linewidth": 0},
                    {"color": colour, "line_width": 0},
                )
            )
        text = mark.rule
        if lane == n - 1 and len(marks) > n:
            text += f" +{len(marks) - n}"
        longest = max(boxes, key=lambda box: box[2] - box[0], default=None)
        drawn.append(
            _name(text, longest, colour, foot + height / 2, across, wide / inches, points, y)
        )
    return drawn


def marked_entries(marks: Sequence[Mark]) -> list[Entry]:
    """Return the key's entries for the severities that are marked."""
    held = {mark.severity for mark in marks}
    return [
        Entry(f"finding: {severity}", Line(colour, 4.0))
        for severity, colour in SEVERITIES.items()
        if severity in held
    ]


def _ends(span: tuple[int, int], across: tuple[float, float]) -> tuple[float, float]:
    first, stop = float(span[0]), float(span[1])
    least = _LEAST * (across[1] - across[0])
    if stop - first < least:
        middle = (first + stop) / 2
        first, stop = middle - least / 2, middle + least / 2
    return max(first, across[0]), min(stop, across[1])


def _name(
    text: str,
    box: tuple[float, float, float, float] | None,
    colour: str,
    height: float,
    across: tuple[float, float],
    per_inch: float,
    points: float,
    y: hv.Dimension,
) -> Any:
    """Return a rule's name in its longest bar, or beside it where it does not fit."""
    long = len(text) * points * 0.6 / 72 * per_inch
    gap = 0.04 * per_inch
    align = "left"
    if box is None:
        place = across[0] + gap
    elif box[2] - box[0] > long + 2 * gap:
        place, colour = box[0] + gap, _INK
    elif across[1] - box[2] > long + 2 * gap:
        place = box[2] + gap
    else:
        place, align = box[0] - gap, "right"
    return styled(
        hv.Labels([(place, height, text)], kdims=[_BATCH, y]),
        {
            "color": colour,
            "size": points,
            "horizontalalignment": align,
            "verticalalignment": "center",
        },
        {
            "text_color": colour,
            "text_font_size": f"{points}pt",
            "text_align": align,
            "text_baseline": "middle",
        },
    )
