"""A drawn chart -> the same on a dark ground, in either backend.

Works on what was drawn, a matplotlib figure or bokeh models, so that one chart serves
both grounds. Pictures that are dark in themselves (the colorful dimension) stay as they
are; the paper around them, and charts on a light ground, turn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from bokeh.models import Axis, ColorBar, Div, Plot, Slider, Title
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from actrace.analysis.charts.grammar.style import FIRE, mixed

__all__ = ["PAPER", "THEMES", "dark_changes", "fill_on_dark", "line_on_dark", "turn_dark"]

THEMES: Final = ("light", "dark")
#: The dark paper, and what is written on it.
PAPER: Final = "#14161a"
_INK: Final = "#e7e9ed"
#: Around a bokeh frame.
_EDGE: Final = "#3a404b"
#: Least contrast of a line with the paper, as WCAG 2.2 asks of text.
_CONTRAST: Final = 4.5
#: A ground that is darker than this is dark in itself.
_DARK: Final = 0.2
#: Colours of data, which a key shows as they are in the picture.
_DATA: Final = frozenset(colour.lower() for colour in FIRE)
#: A colour of less spread between its channels is a grey.
_GREY: Final = 0.12
#: A fill that lets the ground through keeps its colour.
_CLEAR: Final = 0.6


def line_on_dark(colour: str) -> str:
    """Return the colour of a line, a dot or a word on the dark paper.

    A grey turns over, so that what was faint stays faint; another colour keeps its hue
    and is lightened until it is seen.

    Examples
    --------
    >>> line_on_dark("#e69f00"), line_on_dark("#005586")
    ('#e69f00', '#4c88aa')
    """
    if _is_grey(colour):
        return _over(colour)
    share = 0.0
    while _contrast(mixed(colour, "#ffffff", share), PAPER) < _CONTRAST:
        share += 0.05
    return mixed(colour, "#ffffff", share)


def fill_on_dark(colour: str) -> str:
    """Return the colour of a ground or a box on the dark paper: light turns to dark.

    Examples
    --------
    >>> fill_on_dark("#ffffff") == PAPER
    True
    """
    if colour == "#ffffff":
        return PAPER
    if colour.lower() in _DATA:
        return colour
    turned = _over(colour) if _luminance(colour) > _DARK else colour
    while _luminance(turned) > _DARK:
        turned = mixed(turned, PAPER, 0.1)
    return turned


def turn_dark(figure: Figure) -> None:
    """Turn a matplotlib figure dark, in place."""
    figure.set_facecolor(PAPER)
    # What stands outside of all axes is on the paper.
    outside: list[Any] = [*figure.texts, *figure.lines]
    for drawn in outside:
        drawn.set_color(_INK)
    for axes in figure.axes:
        _turn_axes(axes)


def dark_changes(models: Iterable[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each bokeh model that turns, and the properties that make it dark.

    Parameters
    ----------
    models : iterable of Model
        All of a page, as ``references()`` gives them.
    """
    for model in models:
        if isinstance(model, Plot):
            yield from _plot_changes(model)
        elif isinstance(model, Slider):
            yield model, {"styles": {"color": _INK}}
        elif isinstance(model, Div):
            yield model, {"text": model.text.replace("color:black", f"color:{_INK}")}


def _turn_axes(axes: Any) -> None:
    ground = to_hex(axes.get_facecolor())
    for spine in axes.spines.values():
        spine.set_edgecolor(_INK)
    axes.tick_params(colors=_INK)
    for words in (axes.title, axes.xaxis.label, axes.yaxis.label):
        words.set_color(_INK)
    for inset in axes.child_axes:
        _turn_axes(inset)
    if _luminance(ground) < _DARK:
        return
    axes.set_facecolor(fill_on_dark(ground))
    for drawn in (*axes.lines, *axes.texts):
        drawn.set_color(line_on_dark(to_hex(drawn.get_color())))
    for patch in axes.patches:
        patch.set_facecolor(fill_on_dark(to_hex(patch.get_facecolor())))
    for collection in axes.collections:
        _turn_collection(collection)


def _turn_collection(collection: Collection) -> None:
    edges, faces = (np.asarray(c) for c in (collection.get_edgecolor(), collection.get_facecolor()))
    alpha = collection.get_alpha()
    clear = isinstance(alpha, float) and alpha < _CLEAR
    turn = line_on_dark if clear or isinstance(collection, PathCollection) else fill_on_dark
    if len(faces):
        collection.set_facecolor([_kept(face, turn(to_hex(tuple(face)))) for face in faces])
    if len(edges):
        collection.set_edgecolor([_kept(edge, line_on_dark(to_hex(tuple(edge)))) for edge in edges])


def _kept(old: NDArray[np.float64], colour: str) -> tuple[float, float, float, float]:
    """Return a colour with the old one's transparency."""
    red, green, blue = to_rgb(colour)
    return red, green, blue, float(old[3])


def _plot_changes(plot: Plot) -> Iterator[tuple[Any, dict[str, Any]]]:
    ground = plot.background_fill_color if isinstance(plot.background_fill_color, str) else ""
    light = not ground or _luminance(to_hex(ground)) > _DARK
    turned = {"background_fill_color": fill_on_dark(to_hex(ground or "white"))} if light else {}
    yield plot, {"border_fill_color": PAPER, "outline_line_color": _EDGE, **turned}
    for title in plot.select({"type": Title}):
        yield title, {"text_color": _INK}
    for axis in plot.select({"type": Axis}):
        inked = ("axis_label_text", "major_label_text", "axis_line", "major_tick_line")
        yield axis, {f"{part}_color": _INK for part in inked}
    for bar in plot.select({"type": ColorBar}):
        yield (
            bar,
            {
                "background_fill_color": PAPER,
                "major_label_text_color": _INK,
                "major_tick_line_color": _INK,
            },
        )
    if light:
        for renderer in plot.renderers:
            for glyph in (getattr(renderer, "glyph", None),):
                if glyph is not None:
                    yield glyph, _glyph_changes(glyph)


def _glyph_changes(glyph: Any) -> dict[str, str]:
    held = glyph.properties_with_values()
    clear = isinstance(held.get("fill_alpha"), float) and held["fill_alpha"] < _CLEAR
    point = "marker" in held
    changes = {}
    for name in ("line_color", "text_color", "fill_color"):
        colour = getattr(held.get(name), "value", held.get(name))
        if isinstance(colour, str):
            is_line = name != "fill_color" or clear or point
            changes[name] = (line_on_dark if is_line else fill_on_dark)(to_hex(colour))
    return changes


def _over(colour: str) -> str:
    """Return a colour with its lightness turned over."""
    hue, light, strength = colorsys.rgb_to_hls(*to_rgb(colour))
    return str(to_hex(colorsys.hls_to_rgb(hue, 0.1 + 0.82 * (1 - light), 0.7 * strength)))


def _is_grey(colour: str) -> bool:
    channels = to_rgb(colour)
    return max(channels) - min(channels) < _GREY


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2, between 0 and 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2.2, 1 to 21."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)
