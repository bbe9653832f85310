"""Tiles of the colorful dimension, all drawn on one figure at once.

The same places, lines, strips, marks and words as in the HoloViews elements of `tiles`, in
a twentieth of their time: sixty frames take HoloViews and matplotlib some ten seconds.
Imports matplotlib through `canvas`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from actrace.analysis.charts.colorful.marks import (
    LEAST_SHARE,
    RIM,
    colour_limits,
    line_places,
    ramp,
    strip_places,
)
from actrace.analysis.charts.colorful.parts import NOTE_HIGH, PAINT
from actrace.analysis.charts.colorful.tile import BAR, BAR_POINTS, NOTE, WEIGHT, Tile
from actrace.analysis.charts.findings.marked import MARK_POINTS, MOST_OVER, lane_boxes, lane_places
from actrace.analysis.charts.grammar.bar import bar_ticks
from actrace.analysis.charts.grammar.blank import LIGHT
from actrace.analysis.charts.grammar.canvas import Canvas, View, coloured, number_ticks
from actrace.analysis.charts.grammar.caption import KeyPlace, key_lines
from actrace.analysis.charts.grammar.frame import Frame, Grid, fitted
from actrace.analysis.charts.grammar.style import FIRE, LINES, NIGHT, STRIP, Line

__all__ = ["mosaic"]

#: Of matplotlib's own value axes: ticks keep two letters' height apart.
_STEPS: Final = (1, 2, 2.5, 5, 10)
_MOST_TICKS: Final = 9


def mosaic(tiles: Sequence[Tile], frame: Frame, grid: Grid, key: KeyPlace) -> Any:
    """Return the matplotlib figure of tiles and their key.

    Parameters
    ----------
    tiles : sequence of Tile
    frame : Frame
        Of a tile.
    grid : Grid
        Where tiles and key stand.
    key : KeyPlace
    """
    canvas = Canvas(grid.wide, grid.tall)
    for tile, place in zip(tiles, grid.places, strict=False):
        _tile(canvas, tile, View(place, tile.across, tile.limits), frame)
    for group, place in zip(key.groups, grid.places[len(tiles) :], strict=True):
        _key(canvas, group, key, place)
    canvas.words(grid.wide / 2, grid.tall - 0.12, grid.title, 12, up="top")
    return canvas.finished()


def _tile(canvas: Canvas, tile: Tile, view: View, frame: Frame) -> None:
    data, clip = tile.data, canvas.clip(view.place)
    canvas.ground(view.place, NIGHT)
    edge = data["position_edge"].values
    start, end = tile.columns
    shown = data["shown"].values.astype(np.float32)
    if (shown > 0).any():
        clim = colour_limits(data)
        cells = np.where(shown > 0, shown, np.float32("nan"))
        colours = coloured(cells, FIRE, clim, ground=NIGHT, log=True)
        canvas.image(colours, view, (start, float(edge[0]), end, float(edge[-1])), clip)
        left, bottom, width, height = view.place
        wide = BAR / frame.width * width
        bar = (left + width + 0.7 * wide, bottom, wide, height)
        canvas.bar(bar, FIRE, clim, bar_ticks(clim), BAR_POINTS)
    for name, (x, y) in line_places(data).items():
        if len(x):
            canvas.line(view.x(x), view.y(y), LINES[name], WEIGHT, clip)
    for name, share, low, high in strip_places(data)[0]:
        seen = np.log10(np.clip(share, LEAST_SHARE, 1.0))[None, :]
        ends = (float(np.log10(LEAST_SHARE)), 0.0)
        colours = coloured(seen, ramp(STRIP[name]), ends, ground=NIGHT)
        canvas.image(colours, view, (start, low, end, high), clip)
        rim = view.y([low if name == "above" else high] * 2)
        canvas.line(view.x(tile.across), rim, Line(STRIP[name], RIM), 1.0, clip)
    if data.attrs["note"]:
        low, high = tile.limits
        y = view.y(low + NOTE_HIGH * (high - low))
        middle = view.x(sum(tile.across) / 2)
        canvas.words(float(middle), float(y), data.attrs["note"], NOTE, LIGHT)
    _lanes(canvas, tile, view, frame, clip)
    x_ticks, beyond = number_ticks(*tile.across, 4)
    title = fitted(tile.title, frame, tile.points)[1]
    canvas.framed(view, title, x_ticks, _value_ticks(tile, frame), tile.points, beyond=beyond)


def _value_ticks(tile: Tile, frame: Frame) -> list[tuple[float, str]]:
    """Return the ticks of the value axis, as many as fit."""
    low, high = tile.limits
    given = tile.axes.get("yticks")
    if given is not None:
        return [(at, label) for at, label in given if low <= at <= high]
    fit = int(frame.height * 72 / (2 * (tile.points - 1)))
    return number_ticks(low, high, min(max(fit, 1), _MOST_TICKS), _STEPS)[0]


def _lanes(canvas: Canvas, tile: Tile, view: View, frame: Frame, clip: Any) -> None:
    foot, height = tile.lanes
    lanes = lane_places(tile.marks, tile.across, frame.width, points=MARK_POINTS, most=MOST_OVER)
    for at, lane in enumerate(lanes):
        low = foot + (len(lanes) - 1 - at) * height
        for first, bottom, stop, top in lane_boxes(lane, low, height):
            x, y = view.x([first, stop]), view.y([bottom, top])
            canvas.box((x[0], y[0], x[1], y[1]), lane.colour, clip)
        x, y = view.x(lane.place), view.y(low + height / 2)
        canvas.words(float(x), float(y), lane.text, MARK_POINTS, lane.ink, across=lane.align)


def _key(canvas: Canvas, group: Sequence[Any], key: KeyPlace, place: Any) -> None:
    left, bottom, width, height = place
    # In a row of tiles, which are higher, it stands in the middle.
    low = bottom + (height - key.height) / 2
    canvas.ground((left, low, width, key.height), PAINT.ground)
    for one in key_lines(group, key.frame.width, key.columns)[0]:
        first, foot, last, top = one.box
        y = low + key.height + one.y
        if one.entry is not None and one.entry.line is not None:
            canvas.line([left + first, left + last], [y, y], one.entry.line, 1.3)
        elif one.entry is not None and one.entry.fill is not None:
            half = (top - foot) / 2
            canvas.box((left + first, y - half, left + last, y + half), one.entry.fill)
        canvas.words(left + one.start, y, one.text, 8, PAINT.ink, across="left")
