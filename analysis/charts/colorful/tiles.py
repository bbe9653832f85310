"""Many layers' colorful dimensions as tiles, with one key.

Imports HoloViews; what it draws comes from `colorful_data` and `marked_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import holoviews as hv
import xarray as xr

from actrace.analysis.charts.colorful.marks import lines, outside, picture, strips
from actrace.analysis.charts.colorful.parts import (
    BATCH,
    PAINT,
    axes_of,
    batches_in_words,
    entries_of,
    kind_of,
    name_of,
    note,
    shown_batches,
    value_dimension,
)
from actrace.analysis.charts.findings.marked import lanes_over
from actrace.analysis.charts.findings.marked_data import Mark, in_view
from actrace.analysis.charts.grammar.blank import nothing
from actrace.analysis.charts.grammar.caption import with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name

__all__ = ["tile_columns", "tile_frame", "tiles", "tiles_across"]

#: Inches of a chart of tiles, without what stands outside.
_WIDE: Final = 12.0
#: Columns in an inch of a tile.
_TILE_COLUMNS: Final = 220


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
    cells, last = [], None
    extra: list[str] = []
    drawn_marks: list[Mark] = []
    for data in datasets:
        y = value_dimension(data)
        limits_x = shown_batches(data)
        strip, limits = strips(data, y)
        mine = in_view((marks or {}).get(data.attrs["layer"], ()), limits_x)
        found, limits = lanes_over(mine, BATCH, y, limits_x, limits, frame)
        drawn_marks += mine
        overlay = hv.Overlay(
            [
                picture(data, y, frame, bar=0.085 / frame.width, label="", points=6),
                *lines(data, y, weight=0.75),
                *strip,
                *note(data, y, limits, limits_x, 10),
                *found,
            ]
        )
        axes = axes_of(data, limits_x, limits, 6) | {"xlabel": "", "ylabel": "", "xticks": 4}
        title = f"{name_of(data)}\n{kind_of(data)}"
        cells.append(dressed(overlay, frame, title=title, points=8 if across < 5 else 7, axes=axes))
        extra += [name for name in outside(data) if name not in extra]
        last = data
    if last is None:
        return nothing(heading, "this run has no layers")
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
    entries = entries_of(last, tile=True, outside_names=tuple(extra), marks=drawn_marks)
    rows, frames = with_key(cells, entries, frame, across, paint=PAINT)
    return arrange(rows, frames, title=title)


def tiles_across(n_layers: int) -> int:
    """Return how many tiles stand in a row."""
    for most, across in ((1, 1), (4, 2), (12, 3), (24, 4)):
        if n_layers <= most:
            return across
    return 5


def tile_columns(across: int) -> int:
    """Return the most columns that a tile can show."""
    return round(tile_frame(across).width * _TILE_COLUMNS)


def tile_frame(across: int) -> Frame:
    """Return the frame of a tile, so many in a row."""
    left, right = 0.5, 0.46
    width = min(_WIDE / across - left - right, 6.5)
    return Frame(width, max(width * 0.55, 1.15), left, right, 0.42, 0.3)
