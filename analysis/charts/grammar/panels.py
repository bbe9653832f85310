"""Panels on a light ground: lines, bands and uprights over epochs or batches.

What the charts over time share. Computes nothing but limits of axes; imports
HoloViews, NumPy and `style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv
import numpy as np
from numpy.typing import ArrayLike, NDArray

from actrace.analysis.charts.grammar.caption import Paint
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed
from actrace.analysis.charts.grammar.style import INK, Line, styled
from actrace.analysis.charts.grammar.ticks import place_ticks

__all__ = [
    "ALL",
    "GROUND",
    "NULL",
    "ONSET",
    "WIDE",
    "band",
    "dots",
    "epoch_axis",
    "line",
    "nothing",
    "panel_frame",
    "reach",
    "upright",
]

#: Inches of a chart without what stands outside.
WIDE: Final = 12.0
#: The key's ground and ink.
GROUND: Final = Paint("#f6f7f9", INK)
#: What all classes or layers together do, behind one of them.
ALL: Final = Line("#8a919c", 1.0, "dotted")
#: What windows of one phase show among themselves.
NULL: Final = "#b9c0ca"
#: Where validation parted from training; Okabe and Ito's reddish purple.
ONSET: Final = Line("#cc79a7", 1.8)

#: Points of a line up to which each has a dot.
_FEW: Final = 40


def line(
    x: ArrayLike, y: ArrayLike, dims: Sequence[Any], look: Line, *, dotted: bool = True
) -> list[Any]:
    """Return a line, and its points where they are few: one alone would not be seen.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Where `y` is NaN the line is broken.
    dims : (x, y) Dimensions
    look : Line
    dotted : bool, default True
        With its points.
    """
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not np.isfinite(up).any():
        return []
    drawn = [styled(hv.Curve((across, up), *dims), *look.options())]
    if (dotted and len(across) <= _FEW) or len(across) == 1:
        drawn += dots(across, up, dims, look.colour, 3.6)
    return drawn


def dots(
    x: ArrayLike, y: ArrayLike, dims: Sequence[Any], colour: str, size: float, *, ring: bool = False
) -> list[Any]:
    """Return dots, or rings, of so many points across; none where `y` is NaN."""
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    seen = np.isfinite(up)
    if not seen.any():
        return []
    fill = "none" if ring else colour
    return [
        styled(
            hv.Scatter((across[seen], up[seen]), *dims),
            {"facecolors": fill, "edgecolors": colour, "s": size**2, "linewidth": 1.3},
            {
                "fill_color": None if ring else colour,
                "line_color": colour,
                "size": size * 1.4,
                "line_width": 1.6 if ring else 0,
                "tools": ["hover"],
            },
        )
    ]


def band(
    x: ArrayLike, low: ArrayLike, high: ArrayLike, dims: Sequence[Any], colour: str, alpha: float
) -> list[Any]:
    """Return a band, broken where an end is NaN; at one point alone a short bar of it."""
    across, bottom, top = (np.asarray(values, np.float64) for values in (x, low, high))
    known = np.isfinite(bottom) & np.isfinite(top)
    step = float(np.diff(across).min()) if len(across) > 1 else 1.0
    drawn = []
    for piece in _stretches(known):
        edges = across[piece]
        if len(edges) == 1:
            edges, piece = edges[0] + np.array([-0.15, 0.15]) * step, np.repeat(piece, 2)
        name = str(dims[1])
        area = hv.Area((edges, bottom[piece], top[piece]), dims[0], [f"{name} from", f"{name} to"])
        drawn.append(
            styled(
                area,
                {"color": colour, "facecolor": colour, "alpha": alpha, "linewidth": 0},
                {"fill_color": colour, "fill_alpha": alpha, "line_width": 0},
            )
        )
    return drawn


def upright(at: float, limits: tuple[float, float], dims: Sequence[Any], look: Line) -> Any:
    """Return a line that stands upright at `at`."""
    return styled(hv.Curve([(at, limits[0]), (at, limits[1])], *dims), *look.options())


def reach(
    *values: ArrayLike, low: float | None = None, high: float | None = None
) -> tuple[float, float]:
    """Return the ends of an axis that holds all finite values, with some room.

    Parameters
    ----------
    *values : array_like
    low, high : float, optional
        An end that is known, such as the zero of a distance.

    Examples
    --------
    >>> reach([1.0, 2.0], [float("nan")], low=0.0)
    (0.0, 2.12)
    """
    joined = np.concatenate([np.ravel(np.asarray(v, np.float64)) for v in values])
    held = joined[np.isfinite(joined)]
    least, most = (float(held.min()), float(held.max())) if held.size else (0.0, 1.0)
    least, most = (least if low is None else low), (most if high is None else high)
    # A constant gets an axis of its own size, zero an axis up to one.
    room = 0.06 * (most - least) or 0.5 * abs(most) or 1.0
    return (least - room if low is None else low, most + room if high is None else high)


def epoch_axis(epochs: ArrayLike) -> dict[str, Any]:
    """Return the options of an axis of epochs: its ends, and whole numbers as ticks.

    Examples
    --------
    >>> epoch_axis([0, 1, 2])["xticks"]
    [(0.0, '0'), (1.0, '1'), (2.0, '2')]
    """
    held = np.unique(np.asarray(epochs, np.int64))
    if not held.size:
        return {"xlim": (-0.5, 0.5), "xticks": [(0.0, "0")], "xlabel": "epoch"}
    first, last = int(held[0]), int(held[-1])
    room = max(0.3, 0.04 * (last - first))
    ticks = place_ticks(held.tolist(), held.tolist())
    return {"xlim": (first - room, last + room), "xticks": ticks, "xlabel": "epoch"}


def panel_frame(across: int, *, lines: int = 1, labelled: bool = True) -> Frame:
    """Return the frame of one of so many panels in a row.

    Parameters
    ----------
    across : int
    lines : int, default 1
        Of the title.
    labelled : bool, default True
        Whether there is room for the names of the axes.
    """
    left, right = (0.62 if labelled else 0.58), 0.12
    width = min(WIDE / across - left - right, 8.0)
    tall = max(width * (0.3 if across == 1 else 0.5), 1.2)
    return Frame(width, tall, left, right, 0.14 + 0.15 * lines, 0.5 if labelled else 0.3)


def nothing(title: str, why: str) -> Any:
    """Return a chart of its title and the reason why there is nothing in it."""
    frame = Frame(9.6, 1.6, left=0.3, right=0.3, top=0.45, bottom=0.3)
    blank = styled(
        hv.Labels([(0.5, 0.5, why)]),
        {"color": INK, "size": 12},
        {"text_color": INK, "text_font_size": "12pt"},
    )
    axes = {"xaxis": None, "yaxis": None, "xlim": (0.0, 1.0), "ylim": (0.0, 1.0)}
    return arrange(
        [[dressed(hv.Overlay([blank]), frame, title=title, points=11, axes=axes)]], [frame]
    )


def _stretches(known: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the indices of each stretch in which all is known."""
    at = np.flatnonzero(known).astype(np.int64)
    if not len(at):
        return []
    return np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
