"""The key of a chart: every mark drawn once, with a word on what it is.

A key is a HoloViews overlay of its own, so it stands in PNG, HTML and notebook
alike and travels with a layout. Imports HoloViews and `style`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import holoviews as hv

from actrace.analysis.charts.grammar.frame import Frame
from actrace.analysis.charts.grammar.style import Line, bokeh_frame, pixels, styled
from actrace.analysis.charts.zoom.tools import no_tools

__all__ = [
    "Entry",
    "KeyLine",
    "KeyPlace",
    "Paint",
    "key",
    "key_lines",
    "key_place",
    "rows_with_key",
    "with_key",
]

#: Width of an average letter of the key's 8-point text, inches.
_LETTER: Final = 0.062
_ROW: Final = 0.19
_SAMPLE: Final = 0.34
#: Width that a column of marks wants.
_COLUMN: Final = 1.35
#: Marks under each other before they are laid side by side.
_ROWS: Final = 5
#: A box before words: half its height, and the width of it or of a line.
_BOX: Final = 0.05
_MARK: Final = 0.24


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a key.

    Attributes
    ----------
    text : str
        What the mark is.
    line : Line, optional
        Drawn as a line.
    fill : str, optional
        Drawn as a box of this colour.
    """

    text: str
    line: Line | None = None
    fill: str | None = None

    @property
    def has_mark(self) -> bool:
        """Whether anything is drawn before the words."""
        return self.line is not None or self.fill is not None


@dataclass(frozen=True, slots=True)
class Paint:
    """The colours of a key's ground and of its words."""

    ground: str
    ink: str


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line of words in a key, inches from its upper left corner.

    Attributes
    ----------
    x, y : float
        Where its mark begins; the middle of the line.
    start : float
        Where its words begin.
    entry : Entry or None
        Whose mark is drawn before the words.
    text : str
    """

    x: float
    y: float
    start: float
    entry: Entry | None
    text: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of what is drawn before the words."""
        return self.x, self.y - _BOX, self.x + _MARK, self.y + _BOX


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a key stands after cells in rows.

    Attributes
    ----------
    groups : tuple of tuples of Entry
        One for each of its parts, side by side.
    frame : Frame
        Of a part.
    columns : int
        Of the marks in a part.
    height : float
        Of every part, inches.
    below : bool
        In a row of its own, else after the last cell.
    """

    groups: tuple[tuple[Entry, ...], ...]
    frame: Frame
    columns: int
    height: float
    below: bool


def key(
    entries: Sequence[Entry],
    frame: Frame,
    *,
    columns: int = 1,
    height: float | None = None,
    paint: Paint,
) -> tuple[Any, float]:
    """Return the key as an Overlay, and its height in inches.

    Parameters
    ----------
    entries : sequence of Entry
        Those with a mark stand in columns, those without below as prose.
    frame : Frame
        Its width and the room around it; its height does not matter.
    columns : int, default 1
    height : float, optional
        At least as high, inches.
    paint : Paint
    """
    lines, least = key_lines(entries, frame.width, columns)
    height = max(least, height or 0.0)
    drawn: list[Any] = []
    # Measured in inches from the top left corner, so that text keeps its rows
    # whatever the size of the frame.
    for one in lines:
        left, bottom, right, top = one.box
        if one.entry is not None and one.entry.line is not None:
            line, bokeh = one.entry.line.options(1.3)
            drawn.append(styled(hv.Curve([(left, one.y), (right, one.y)]), line, bokeh))
        elif one.entry is not None and one.entry.fill is not None:
            fill = {"color": one.entry.fill}
            box = hv.Rectangles([(left, bottom, right, top)])
            drawn.append(styled(box, {**fill, "linewidth": 0}, {**fill, "line_width": 0}))
    words = [(one.start, one.y, one.text) for one in lines]
    labels = styled(
        hv.Labels(words),
        {
            "color": paint.ink,
            "size": 8,
            "horizontalalignment": "left",
            "verticalalignment": "center",
        },
        {
            "text_color": paint.ink,
            "text_font_size": "11px",
            "text_align": "left",
            "text_baseline": "middle",
        },
    )
    both = {
        "xlim": (0.0, frame.width),
        "ylim": (-height, 0.0),
        "xaxis": None,
        "yaxis": None,
        "bgcolor": paint.ground,
        "show_legend": False,
        "title": "",
    }
    overlay = styled(
        hv.Overlay([*drawn, labels]),
        {**both, "aspect": frame.width / height, "show_frame": False},
        {
            **both,
            "frame_width": pixels(frame.width),
            "frame_height": pixels(height),
            "default_tools": [],
            "toolbar": None,
            "hooks": [bokeh_frame(frame.left, frame.right, frame.top, 0.1), no_tools],
        },
    )
    return overlay, height


def with_key(
    cells: Sequence[Any],
    entries: Sequence[Entry],
    frame: Frame,
    across: int,
    *,
    paint: Paint,
) -> tuple[list[list[Any]], list[Frame]]:
    """Return rows of cells with the key after the last, and each row's frame.

    The key takes the free places in the last row where it fits, else a row of its
    own, where marks and prose stand side by side.
    """
    rows = [[*cells[i : i + across]] for i in range(0, len(cells), across)]
    at = key_place(len(cells), entries, frame, across)
    parts = [
        key(group, at.frame, columns=at.columns, height=at.height, paint=paint)[0]
        for group in at.groups
    ]
    rows = [*rows, parts] if at.below else [*rows[:-1], rows[-1] + parts]
    return rows, rows_with_key(len(cells), at, frame, across)[1]


def rows_with_key(
    n_cells: int, key: KeyPlace, frame: Frame, across: int
) -> tuple[list[int], list[Frame]]:
    """Return how many frames stand in each row of cells and their key, and the rows' frames."""
    full, rest = divmod(n_cells, across)
    lengths = [across] * full + ([rest] if rest else [])
    if key.below:
        under = replace(key.frame, height=key.height)
        return [*lengths, len(key.groups)], [*[frame] * len(lengths), under]
    return [*lengths[:-1], lengths[-1] + len(key.groups)], [frame] * len(lengths)


def key_place(n_cells: int, entries: Sequence[Entry], frame: Frame, across: int) -> KeyPlace:
    """Return where the key of cells stands, `across` in a row, as `with_key` puts it."""
    free = -n_cells % across
    columns = max(1, int(frame.width / _COLUMN))
    height = key_lines(entries, frame.width, columns)[1]
    if free and height <= frame.height:
        return KeyPlace((tuple(entries),), frame, columns, height, below=False)
    below = replace(frame, top=0.12, bottom=0.15)
    marked = [entry for entry in entries if entry.has_mark]
    prose = [entry for entry in entries if not entry.has_mark]
    groups = [[*marked, *prose]] if across == 1 else [marked, prose]
    if across > 2 and len(marked) > _ROWS * columns:
        half = -(-len(marked) // 2)
        groups = [marked[:half], marked[half:], prose]
    groups = [group for group in groups if group]
    height = max(key_lines(group, below.width, columns)[1] for group in groups)
    fits = len(groups) <= free and height <= frame.height
    return KeyPlace(tuple(map(tuple, groups)), below, columns, height, below=not fits)


def key_lines(entries: Sequence[Entry], width: float, columns: int) -> tuple[list[KeyLine], float]:
    """Return the lines of a key so wide, and its height, inches."""
    lines = _arrange(entries, width, columns)
    rows = max((row for row, *_ in lines), default=0) + 1
    placed = []
    for row, x, entry, text in lines:
        start = x + (_SAMPLE if entry is not None and entry.has_mark else 0.0)
        placed.append(KeyLine(x, -(row + 0.8) * _ROW, start, entry, text))
    return placed, (rows + 0.6) * _ROW


def _arrange(
    entries: Sequence[Entry], width: float, columns: int
) -> list[tuple[int, float, Entry | None, str]]:
    """Return (row, x, entry, words) of every line, wrapped to the width."""
    marked = [entry for entry in entries if entry.has_mark]
    prose = [entry for entry in entries if not entry.has_mark]
    out: list[tuple[int, float, Entry | None, str]] = []
    column = (width - 0.1) / columns
    letters = max(8, int((column - _SAMPLE - 0.1) / _LETTER))
    per_column = -(-len(marked) // columns)
    bottom = 0
    for c in range(columns):
        row = 0
        for entry in marked[c * per_column : (c + 1) * per_column]:
            x = 0.1 + c * column
            for n, text in enumerate(textwrap.wrap(entry.text, letters)):
                # A continued line has no mark of its own but stands under the words.
                out.append((row, x, entry, text) if n == 0 else (row, x + _SAMPLE, None, text))
                row += 1
        bottom = max(bottom, row)
    for entry in prose:
        for text in textwrap.wrap(entry.text, max(12, int((width - 0.2) / _LETTER))):
            out.append((bottom, 0.1, None, text))
            bottom += 1
    return out
