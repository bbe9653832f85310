"""A layer's tile as numbers: what stands in it and where, however it is drawn.

Imports NumPy, xarray and the charts' words; draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from actrace.analysis.charts.colorful.marks import strip_places
from actrace.analysis.charts.colorful.parts import axes_of, kind_of, name_of, shown_batches
from actrace.analysis.charts.findings.marked import lane_height
from actrace.analysis.charts.findings.marked_data import Mark, in_view
from actrace.analysis.charts.grammar.frame import Frame

__all__ = ["BAR", "BAR_POINTS", "NOTE", "WEIGHT", "Tile", "tile_columns", "tile_frame", "tile_of"]

#: Width of a colour bar, inches, and size of its numbers.
BAR: Final = 0.085
BAR_POINTS: Final = 6
#: Thickness of the lines against those of a large chart.
WEIGHT: Final = 0.75
#: Size of the words where there is nothing to see.
NOTE: Final = 10
#: Most ticks of an asinh axis.
MOST_TICKS: Final = 6
#: Inches of a chart of tiles, without what stands outside.
_WIDE: Final = 12.0
#: Columns in an inch of a tile.
_TILE_COLUMNS: Final = 220


@dataclass(frozen=True, slots=True)
class Tile:
    """What a tile shows.

    Attributes
    ----------
    data : Dataset
        From `colorful_layers`.
    marks : tuple of Mark
        What was found in the layer, of the batches shown.
    across, limits : (low, high)
        Ends of the batch axis, and of the drawn value axis with strips and lanes.
    lanes : (foot, height)
        Of the lowest lane of marks, along the value axis.
    points : float
        Size of the title; ticks are a point smaller.
    """

    data: xr.Dataset
    marks: tuple[Mark, ...]
    across: tuple[float, float]
    limits: tuple[float, float]
    lanes: tuple[float, float]
    points: float

    @property
    def title(self) -> str:
        """The layer's name, and below it its type and shape."""
        return f"{name_of(self.data)}\n{kind_of(self.data)}"

    @property
    def axes(self) -> dict[str, Any]:
        """The options of its axes."""
        axes = axes_of(self.data, self.across, self.limits, MOST_TICKS)
        return axes | {"xlabel": "", "ylabel": "", "xticks": 4}

    @property
    def columns(self) -> tuple[float, float]:
        """Where the first column begins and the last ends, which may hold fewer batches."""
        start = float(self.data["first_batch"].values[0])
        return start, start + self.data.attrs["batches_per_column"] * self.data.sizes["column"]


def tile_of(data: xr.Dataset, marks: Sequence[Mark], frame: Frame, across: int) -> Tile:
    """Return the tile of a layer.

    Parameters
    ----------
    data : Dataset
        From `colorful_layers`.
    marks : sequence of Mark
        What was found in it.
    frame : Frame
    across : int
        Tiles in a row.
    """
    batches = shown_batches(data)
    mine = tuple(in_view(marks, batches))
    low, high = strip_places(data)[1]
    lane, top = lane_height(mine, (low, high), frame)
    return Tile(data, mine, batches, (low, top), (high, lane), 8 if across < 5 else 7)


def tile_columns(across: int) -> int:
    """Return the most columns that a tile can show."""
    return round(tile_frame(across).width * _TILE_COLUMNS)


def tile_frame(across: int) -> Frame:
    """Return the frame of a tile, so many in a row."""
    left, right = 0.5, 0.46
    width = min(_WIDE / across - left - right, 6.5)
    return Frame(width, max(width * 0.55, 1.15), left, right, 0.42, 0.3)
