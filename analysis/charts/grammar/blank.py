"""Words in a frame: where there is nothing to draw, and why.

Imports HoloViews, `frame` and `style`.
"""

from __future__ import annotations

from typing import Any, Final

import holoviews as hv

from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed
from actrace.analysis.charts.grammar.style import NIGHT, Line, styled

__all__ = ["LIGHT", "nothing", "words"]

#: Words on the night.
LIGHT: Final = "#f2f4f8"


def nothing(title: str, why: str) -> Any:
    """Return a chart that says why there is nothing to see."""
    frame = Frame(9.6, 1.6, left=0.3, right=0.3, top=0.45, bottom=0.3)
    x, y = hv.Dimension("batch"), hv.Dimension("value")
    blank = hv.Overlay(
        [
            styled(hv.Curve([(0.0, 0.0), (1.0, 0.0)], x, y), *Line(NIGHT, 0.5).options()),
            words(why, (0.0, 1.0), (-1.0, 1.0), x, y, 12),
        ]
    )
    axes = {
        "xaxis": None,
        "yaxis": None,
        "xlim": (0.0, 1.0),
        "ylim": (-1.0, 1.0),
        "bgcolor": NIGHT,
    }
    return arrange([[dressed(blank, frame, title=title, points=11, axes=axes)]], [frame])


def words(
    text: str,
    across: tuple[float, float],
    limits: tuple[float, float],
    x: hv.Dimension,
    y: hv.Dimension,
    points: float,
    *,
    high: float = 0.5,
) -> Any:
    """Return words in the middle of a frame, at a share of its height."""
    place = (sum(across) / 2, limits[0] + high * (limits[1] - limits[0]), text)
    return styled(
        hv.Labels([place], kdims=[x, y]),
        {"color": LIGHT, "size": points},
        {"text_color": LIGHT, "text_font_size": f"{points}pt"},
    )
