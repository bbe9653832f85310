"""Many layers' colorful dimensions as tiles, with one key.

Imports HoloViews; what it draws comes from `colorful_data` and `marked_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import holoviews as hv
import xarray as xr

from actrace.analysis.charts.colorful.marks import lines, outside, picture, strips
from actrace.analysis.charts.colorful.mosaic import mosaic
from actrace.analysis.charts.colorful.parts import (
    BATCH,
    PAINT,
    batches_in_words,
    entries_of,
    note,
    value_dimension,
)
from actrace.analysis.charts.colorful.tile import (
    BAR,
    BAR_POINTS,
    NOTE,
    WEIGHT,
    Tile,
    tile_frame,
    tile_of,
)
from actrace.analysis.charts.findings.marked import lanes_over
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.blank import nothing
from actrace.analysis.charts.grammar.caption import key_place, rows_with_key, with_key
from actrace.analysis.charts.grammar.frame import Frame, dressed, framed, grid_of, run_name
from actrace.analysis.charts.grammar.late import Late, Maker

__all__ = ["tiles", "tiles_across"]


def tiles(
    run: xr.DataTree,
    datasets: Iterable[xr.Dataset],
    across: int,
    n_batches: int,
    *,
    heading: str,
    marks: Mapping[str, Sequence[Mark]] | None = None,
) -> Any:
    """Return layers as tiles, `across` in a row; drawn one by one as they come.

    Parameters
    ----------
    run : DataTree
    datasets : iterable of Dataset
        From `colorful_layers`.
    across : int
    n_batches : int
        Batches of the whole phase.
    heading : str
    marks : mapping of str to sequence of Mark, optional
        Layer -> what was found in it.
    """
    frame = tile_frame(across)
    held = [
        tile_of(data, (marks or {}).get(data.attrs["layer"], ()), frame, across)
        for data in datasets
    ]
    if not held:
        return nothing(heading, "this run has no layers")
    last = held[-1].data
    title = " · ".join(
        part
        for part in (
            heading,
            run_name(run),
            last.attrs["phase"],
            batches_in_words(last, n_batches),
        )
        if part
    )
    strips_drawn = tuple(dict.fromkeys(name for tile in held for name in outside(tile.data)))
    drawn_marks = [mark for tile in held for mark in tile.marks]
    entries = entries_of(last, tile=True, outside_names=strips_drawn, marks=drawn_marks)
    place = key_place(len(held), entries, frame, across)
    lengths, frames = rows_with_key(len(held), place, frame, across)
    grid = grid_of(lengths, frames, title)

    def cells() -> list[Any]:
        made = [_cell(tile, frame) for tile in held]
        rows, _ = with_key(made, entries, frame, across, paint=PAINT)
        return [cell for row in rows for cell in row]

    return framed(Late, Maker(cells, lambda: mosaic(held, frame, grid, place)), grid)


def tiles_across(n_layers: int) -> int:
    """Return how many tiles stand in a row."""
    for most, across in ((1, 1), (4, 2), (12, 3), (24, 4)):
        if n_layers <= most:
            return across
    return 5


def _cell(tile: Tile, frame: Frame) -> Any:
    """Return a tile as elements."""
    data = tile.data
    y = value_dimension(data)
    strip, limits = strips(data, y)
    found, _ = lanes_over(tile.marks, BATCH, y, tile.across, limits, frame)
    overlay = hv.Overlay(
        [
            picture(data, y, frame, bar=BAR / frame.width, label="", points=BAR_POINTS),
            *lines(data, y, weight=WEIGHT),
            *strip,
            *note(data, y, tile.limits, tile.across, NOTE),
            *found,
        ]
    )
    return dressed(overlay, frame, title=tile.title, points=tile.points, axes=tile.axes)
