"""Colours, sizes and text of every chart, and how options reach both backends.

The one place where a phase or a role gets its colour. Importing this module
registers HoloViews' matplotlib and bokeh backends, so that one object renders
in both; it selects none and loads nothing into a notebook, which stays the
user's ``hv.extension``.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Imported for what they register.
import holoviews.plotting.bokeh
import holoviews.plotting.mpl  # noqa: F401
from bokeh.palettes import Inferno256

__all__ = [
    "DPI",
    "FIRE",
    "HUES",
    "INK",
    "LINES",
    "NIGHT",
    "NOTHING",
    "PHASES",
    "ROLES",
    "SEVERITIES",
    "STRIP",
    "Line",
    "bokeh_frame",
    "bokeh_label",
    "bokeh_text",
    "class_line",
    "darker",
    "html_text",
    "lighter",
    "matplotlib_label",
    "matplotlib_text",
    "mixed",
    "phase_colour",
    "pixels",
    "plain",
    "shorten",
    "styled",
]

#: Pixels of a bokeh frame in an inch of a matplotlib figure, and of the PNG.
DPI: Final = 100

#: Black to fire to yellow, told apart by every kind of colour sight. The darkest
#: tenth is left out, so that a cell with one element differs from an empty one.
FIRE: Final = list(Inferno256[26:])
#: Background of the colorful dimension: nothing was counted here.
NIGHT: Final = "#000004"
#: Text and axes.
INK: Final = "#2b2f36"

#: Okabe and Ito 2008, safe for colour-blind readers.
ROLES: Final = {
    "no": "#0072b2",
    "yes": "#e69f00",
    "all": "#7a5195",
    "prediction": "#0072b2",
    "target": "#e69f00",
}
#: Line colour of a phase where no role is told apart, and its dash.
PHASES: Final = {"train": "#d55e00", "valid": "#0072b2", "test": "#009e73"}
#: Lines that have no colour of their own, in this order; Okabe and Ito without their
#: yellow, which is not seen on white.
HUES: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

#: Shares of elements outside the picture: above, below, and not a number.
STRIP: Final = {"above": "#35b9c9", "below": "#7f9cf5", "nan": "#ff5fd2"}


#: Severities of findings, on the night and on white; Okabe and Ito 2008.
SEVERITIES: Final = {"error": "#d55e00", "warning": "#f0e442", "info": "#56b4e9"}


class Line:
    """How a line over the colorful dimension looks, in both backends."""

    __slots__ = ("alpha", "colour", "dash", "width")

    def __init__(self, colour: str, width: float, dash: str = "solid", alpha: float = 1.0) -> None:
        self.colour, self.width, self.dash, self.alpha = colour, width, dash, alpha

    def options(self, scale: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (matplotlib, bokeh) style options of a Curve."""
        both = {"color": self.colour, "alpha": self.alpha}
        dashes = {"solid": "solid", "dashed": (0, (5, 3)), "dotted": (0, (1, 2))}
        return (
            {**both, "linewidth": self.width * scale, "linestyle": dashes[self.dash]},
            {**both, "line_width": self.width * scale * 1.25, "line_dash": self.dash},
        )


LINES: Final = {
    "mean": Line("#00e5ff", 1.5),
    "spread": Line("#00e5ff", 0.8, alpha=0.75),
    "extreme": Line("#b8c4d6", 0.8, "dotted", 0.9),
    "zero": Line("#ffffff", 0.8, "dashed", 0.65),
    "epoch": Line("#9aa7b8", 0.7, alpha=0.75),
}


#: Holds a frame that has nothing in it.
NOTHING: Final = Line("#ffffff", 0.1, alpha=0.0)

#: Dashes of a class's line, when the hues are used up.
_CLASS_DASHES: Final = ("solid", "dashed", "dotted")


def styled(element: Any, mpl: Mapping[str, Any], bokeh: Mapping[str, Any]) -> Any:
    """Return the element with options for both backends, whichever is current."""
    element.opts(backend="matplotlib", **mpl)
    element.opts(backend="bokeh", **bokeh)
    return element


def mixed(colour: str, other: str, share: float) -> str:
    """Return a colour with a share of another mixed in, both as ``#rrggbb``.

    Examples
    --------
    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    ends = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (colour, other)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends, strict=True))


def darker(colour: str) -> str:
    """Return the colour for a thin line beside a fill of the same hue."""
    return mixed(colour, "#000000", 0.25)


def lighter(colour: str) -> str:
    """Return the colour that a fill of it makes on white."""
    return mixed(colour, "#ffffff", 0.55)


def phase_colour(phase: str, phases: Sequence[str]) -> str:
    """Return the colour of a phase among those drawn: its own, or one that is free.

    Examples
    --------
    >>> phase_colour("train", ["train"]), phase_colour("holdout", ["train", "holdout"])
    ('#d55e00', '#cc79a7')
    """
    free = [hue for hue in HUES if hue not in PHASES.values()]
    others = [name for name in phases if name not in PHASES]
    return PHASES[phase] if phase in PHASES else free[others.index(phase) % len(free)]


def class_line(index: int, width: float = 1.6) -> Line:
    """Return the line of a class or output unit, by its place in the run.

    A class keeps its colour whichever others are drawn beside it; the first seven are
    solid, the next dashed, then dotted.

    Examples
    --------
    >>> class_line(0).colour == class_line(7).colour, class_line(7).dash
    (True, 'dashed')
    """
    return Line(HUES[index % len(HUES)], width, _CLASS_DASHES[index // len(HUES) % 3])


def pixels(inches: float) -> int:
    """Return bokeh pixels for a length of a matplotlib figure."""
    return round(inches * DPI)


def plain(text: object, most: int = 200) -> str:
    """Return text without control or invisible characters, shortened in the middle."""
    kept = "".join(
        " " if unicodedata.category(c)[0] in "CZ" else c for c in str(text) if c != "\u200b"
    )
    return shorten(" ".join(kept.split()), most)


def shorten(name: str, most: int) -> str:
    """Return a name of at most `most` characters, cut in the middle.

    The end of a layer's name says more than its beginning, so whole parts are kept
    from the end, and numbers with them, as long as they fit.

    Examples
    --------
    >>> shorten("encoder.layers.11.self_attn.out_proj", 30)
    'encoder…11.self_attn.out_proj'
    >>> shorten("averyveryverylongname", 9)
    'av…ngname'
    """
    if len(name) <= most:
        return name
    first, *parts = name.split(".")
    for start in range(1, len(parts)):
        short = f"{first}…{'.'.join(parts[start:])}"
        if len(short) <= most:
            return short
    head = max(1, (most - 1) // 3)
    return f"{name[:head]}…{name[len(name) - (most - 1 - head) :]}"


def matplotlib_text(text: str) -> str:
    """Return a title that matplotlib draws as it stands, with no mathematics in it."""
    return _no_fields(matplotlib_label(text))


def bokeh_text(text: str) -> str:
    """Return a title that bokeh draws as it stands, with no TeX in it."""
    return _no_fields(bokeh_label(text))


def matplotlib_label(text: str) -> str:
    """Return the label of a tick that matplotlib draws as it stands."""
    return text.replace("$", r"\$")


def bokeh_label(text: str) -> str:
    """Return the label of a tick that bokeh draws as it stands."""
    for mark in ("$$", r"\(", r"\["):
        text = text.replace(mark, f"{mark[0]}\u200b{mark[1]}")
    return text


def html_text(text: str) -> str:
    """Return text for a place where bokeh writes HTML, such as a layout's title."""
    return _no_fields(html.escape(text))


def _no_fields(text: str) -> str:
    # HoloViews runs titles through str.format.
    return text.replace("{", "{{").replace("}", "}}")


def bokeh_frame(left: float, right: float, top: float, bottom: float) -> Any:
    """Return a bokeh hook that keeps room, in inches, around a frame."""

    def hook(plot: Any, _element: Any) -> None:
        state = plot.state
        # HoloViews asks for a fixed size and gives only the frame's, of which bokeh
        # warns; without a mode the frame's size holds all the same.
        state.sizing_mode = None
        state.min_border_left, state.min_border_right = pixels(left), pixels(right)
        state.min_border_top, state.min_border_bottom = pixels(top), pixels(bottom)
        state.toolbar.logo = None
        if state.title is not None:
            state.title.text_font_style = "normal"
        for axis in (*state.xaxis, *state.yaxis):
            axis.minor_tick_line_color = None
            axis.axis_label_text_font_style = "normal"

    return hook
