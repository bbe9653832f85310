"""Frames in rows and columns: the same places in PNG, HTML and notebook.

Every length is in inches of a matplotlib figure; bokeh draws `style.DPI` pixels
an inch. Knows nothing of what stands in the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import holoviews as hv
import param
import xarray as xr
from holoviews.plotting.bokeh.plot import LayoutPlot as BokehLayoutPlot
from holoviews.plotting.mpl.plot import LayoutPlot

from actrace.analysis.charts.grammar.style import (
    bokeh_frame,
    bokeh_text,
    html_text,
    matplotlib_text,
    pixels,
    plain,
    shorten,
    styled,
)

__all__ = [
    "Frame",
    "Frames",
    "Grid",
    "arrange",
    "dressed",
    "fitted",
    "framed",
    "grid_of",
    "letters",
    "run_name",
]

#: Room for the title above all frames, inches.
_TITLE: Final = 0.36


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a frame and what is kept free around it, in inches.

    Attributes
    ----------
    width, height : float
        Of the frame that data is drawn in.
    left, right, top, bottom : float
        Room for labels, colour bar, title and ticks.
    """

    width: float
    height: float
    left: float = 0.6
    right: float = 0.6
    top: float = 0.3
    bottom: float = 0.3


@dataclass(frozen=True, slots=True)
class Grid:
    """Where frames in rows stand.

    Attributes
    ----------
    wide, tall : float
        Of the whole, inches.
    places : tuple of (left, bottom, width, height)
        Of each frame, row by row, inches from the lower left corner.
    columns : int
    title : str
        Above the whole, no longer than fits.
    """

    wide: float
    tall: float
    places: tuple[tuple[float, float, float, float], ...]
    columns: int
    title: str


def letters(inches: float, points: float) -> int:
    """Return how many letters of a size fit into a width."""
    return max(8, int(inches * 72 / (points * 0.56)))


def run_name(run: xr.DataTree) -> str:
    """Return what to call a run in a title, "" for one that is only in memory."""
    directory = getattr(run, "directory", None)
    if directory is None:
        return ""
    return plain(str(directory).replace("\\", "/").rstrip("/").rpartition("/")[2], 80).removesuffix(
        ".zarr"
    )


def dressed(
    overlay: Any,
    frame: Frame,
    *,
    title: str,
    points: float,
    axes: dict[str, Any],
    mpl: dict[str, Any] | None = None,
    bokeh: dict[str, Any] | None = None,
) -> Any:
    """Return an overlay with its frame, title and axes set for both backends.

    Parameters
    ----------
    overlay : Overlay
    frame : Frame
    title : str
        Plain text; one line for each newline in it.
    points : float
        Size of the title; ticks are a point smaller.
    axes : dict
        Options that both backends share (xlim, ylim, yticks, xlabel, ...).
    mpl, bokeh : dict, optional
        Options for one of them.
    """
    left, centred = fitted(title, frame, points)
    small = points - 1
    return styled(
        overlay,
        {
            "aspect": frame.width / frame.height,
            "title": matplotlib_text(centred),
            "fontsize": {"title": points, "labels": small, "ticks": small},
            "show_frame": True,
            "show_legend": False,
            "show_grid": False,
            **axes,
            **(mpl or {}),
        },
        {
            "frame_width": pixels(frame.width),
            "frame_height": pixels(frame.height),
            "title": bokeh_text(left),
            "fontsize": {
                "title": f"{points}pt",
                "labels": f"{small}pt",
                "ticks": f"{small}pt",
            },
            "show_legend": False,
            "show_grid": False,
            "toolbar": "above",
            **axes,
            **(bokeh or {}),
            "hooks": [
                bokeh_frame(frame.left, frame.right, frame.top, frame.bottom),
                *(bokeh or {}).get("hooks", ()),
            ],
        },
    )


def fitted(title: str, frame: Frame, points: float) -> tuple[str, str]:
    """Return a title that fits beside its frame's neighbours: from the frame's left, centred."""
    # bokeh begins a title at the frame, matplotlib centres it over the frame.
    left, centred = (
        "\n".join(shorten(line, letters(frame.width + room, points)) for line in title.split("\n"))
        for room in (frame.right, 2 * min(frame.left, frame.right))
    )
    return left, centred


def grid_of(lengths: Sequence[int], frames: Sequence[Frame], title: str = "") -> Grid:
    """Return where frames in rows stand, all rows of one width.

    Parameters
    ----------
    lengths : sequence of int
        Frames in each row.
    frames : sequence of Frame
        One for each row; all of the same width and side room.
    title : str
        Plain text above the whole.

    Examples
    --------
    >>> grid = grid_of([2], [Frame(3.0, 2.0)])
    >>> grid.wide, round(grid.tall, 3)
    (8.4, 2.6)
    """
    columns = max(lengths)
    first = frames[0]
    step = first.left + first.width + first.right
    wide = columns * step
    tall = sum(frame.top + frame.height + frame.bottom for frame in frames) + (
        _TITLE if title else 0.0
    )
    places: list[tuple[float, float, float, float]] = []
    top = tall - (_TITLE if title else 0.0)
    for length, frame in zip(lengths, frames, strict=True):
        top -= frame.top + frame.height
        places += [
            (frame.left + column * step, top, frame.width, frame.height) for column in range(length)
        ]
        top -= frame.bottom
    return Grid(wide, tall, tuple(places), columns, shorten(title, letters(wide - 0.5, 12)))


def arrange(
    rows: Sequence[Sequence[Any]],
    frames: Sequence[Frame],
    *,
    title: str = "",
    linked: bool = False,
) -> Any:
    """Return a Layout of frames in rows, all rows of one width.

    Parameters
    ----------
    rows : sequence of rows of overlays
        The last row may be shorter.
    frames : sequence of Frame
        One for each row; all of the same width and side room.
    title : str
        Plain text above the whole.
    linked : bool, default False
        In bokeh, whether frames with an axis of the same name pan and zoom together.
    """
    grid = grid_of([len(row) for row in rows], frames, title)
    return framed(Frames, [cell for row in rows for cell in row], grid, linked=linked)


def framed(kind: type[Frames], cells: Any, grid: Grid, *, linked: bool = False) -> Any:
    """Return a Layout of a kind of Frames, with the options that give them their places.

    Parameters
    ----------
    kind : type
    cells : list of overlays
        Or whatever else it is made of.
    grid : Grid
    linked : bool, default False
        As for `arrange`.
    """
    # HoloViews tells every element of every option that is set on a layout, which
    # takes as long as the picture itself for sixty tiles. Set on an empty one, the
    # options reach the full one by its id.
    options = styled(
        kind([hv.Empty()]),
        {
            "fig_inches": (grid.wide, grid.tall),
            "places": [
                (left / grid.wide, bottom / grid.tall, width / grid.wide, height / grid.tall)
                for left, bottom, width, height in grid.places
            ],
            "sublabel_format": "",
            "title": matplotlib_text(grid.title),
            "fontsize": {"title": 12},
        },
        {
            "shared_axes": linked,
            "merge_tools": True,
            "toolbar": "right",
            "title": html_text(grid.title),
            "fontsize": {"title": "13pt"},
        },
    )
    return kind(cells, id=options.id).cols(grid.columns)


class Frames(hv.Layout):  # type: ignore[misc]  # HoloViews ships no types
    """A Layout that says where in the figure each of its frames stands.

    Added to anything it becomes a plain Layout of all frames. In a notebook it shows itself
    where no ``hv.extension`` does.

    Attributes
    ----------
    zoom : Zoom or None
        What follows the view of the first of them.
    """

    zoom: Any = None

    def __add__(self, other: Any) -> Any:
        """Return a plain Layout of these frames and what is added."""
        return hv.Layout([*self, *(other if isinstance(other, hv.Layout) else [other])])

    def __radd__(self, other: Any) -> Any:
        """Return a plain Layout of what comes first and these frames."""
        return hv.Layout([*(other if isinstance(other, hv.Layout) else [other]), *self])

    def _repr_html_(self) -> str:
        # `notebook` draws, for which it needs this class.
        from actrace.analysis.charts.showing.notebook import as_html

        return as_html(self)


class FramesPlot(LayoutPlot):  # type: ignore[misc]  # HoloViews ships no types
    """Frames in matplotlib, where they were said to stand.

    HoloViews' own layout moves and scales axes until they do not overlap, which
    takes two more drawings of the whole and leaves gaps of its own making.
    """

    places = param.List(default=[], doc="(left, bottom, width, height) of each frame.")

    v17_layout_format = False

    def initialize_plot(self) -> Any:
        """Return the figure with every frame and the title in its place."""
        figure = super().initialize_plot()
        axes = [cell[0] for _, cell in sorted(self.subaxes.items())]
        # A layout that was added to has other frames; HoloViews' grid serves those.
        if len(axes) == len(self.places):
            for axis, place in zip(axes, self.places, strict=True):
                axis.set_position(place)
        if self.handles.get("title") is not None:
            down = 0.12 / self.handles["fig"].get_size_inches()[1]
            self.handles["title"].set_y(1 - down)
        return figure


hv.Store.register({Frames: FramesPlot}, "matplotlib")
hv.Store.register({Frames: BokehLayoutPlot}, "bokeh")
