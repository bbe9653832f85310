"""Charts -> files: PNG, SVG and GIF without a browser, HTML without a network.

PNG, SVG and GIF come from HoloViews' matplotlib backend, HTML from its bokeh backend
with every script inline. Any HoloViews object that both can draw may be saved.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import holoviews as hv

# Without what these register, an object of the user's own could not be drawn.
import holoviews.plotting.bokeh
import holoviews.plotting.mpl

from actrace.analysis.charts.grammar.theme import THEMES, turn_dark
from actrace.analysis.charts.showing.drawn import figure_of
from actrace.analysis.charts.showing.film import frames_of, save_film
from actrace.analysis.charts.showing.page import page_of
from actrace.errors import ChartError
from actrace.store.progress import waiting

__all__ = ["SUFFIXES", "drawing", "save_chart"]

#: Suffix -> the backend that draws it.
SUFFIXES: Final = {
    ".png": "matplotlib",
    ".svg": "matplotlib",
    ".gif": "matplotlib",
    ".html": "bokeh",
}


def save_chart(
    chart: Any,
    path: str | os.PathLike[str],
    *,
    dpi: int = 150,
    theme: str | None = None,
    progress: bool | None = None,
) -> Path:
    """Return the path of the file that a chart was saved to.

    Parameters
    ----------
    chart : HoloViews object
        From `colorful_chart`, `twin_peaks_chart`, or composed of such.
    path : str or path
        Ends in ``.png``, ``.svg``, ``.html``, or, of a chart with a slider, ``.gif``. The
        file is replaced whole or not at all; missing folders are made.
    dpi : int, default 150
        Dots per inch of a PNG or GIF; a chart is about 12 inches wide.
    theme : {"light", "dark"}, optional
        The paper. If left out a page follows its reader's setting, all else is light.
    progress : bool, optional
        A moving bar: by default after two seconds on a terminal.

    Returns
    -------
    Path

    Raises
    ------
    ChartError
        Another suffix or theme, something that is no HoloViews object, a GIF of a chart
        without a slider, or `dpi` below 1.

    Examples
    --------
    >>> from actrace import colorful_chart
    >>> save_chart(colorful_chart(run), "layers.html").name
    'layers.html'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise ChartError(
            f"cannot save a chart as {target.name!r}; give a path that ends in "
            ".png (a picture), .svg (a drawing), .html (a page to zoom, which needs no network) "
            "or .gif (a film, of a chart with a slider)"
        )
    if not isinstance(chart, hv.core.Dimensioned):
        raise ChartError(
            f"expected a HoloViews object, as colorful_chart and twin_peaks_chart return, "
            f"got {type(chart).__name__}"
        )
    if dpi < 1:
        raise ChartError(f"dpi must be at least 1, got {dpi!r}")
    if theme is not None and theme not in THEMES:
        raise ChartError(f"theme must be one of {', '.join(map(repr, THEMES))}, got {theme!r}")
    frames = frames_of(chart)
    if suffix == ".gif" and not frames:
        raise ChartError(
            f"cannot save {target.name!r}: a film needs a chart with a slider, such as "
            "twin_peaks_chart(run, view='slider')"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _quiet(), waiting(f"saving {target.name}", progress=progress):
            if suffix == ".html":
                partial.write_text(page_of(chart, frames, theme), encoding="utf-8")
            elif suffix == ".gif":
                save_film(frames, partial, lambda one: _drawn(one, theme), dpi)
            else:
                _figure(chart, partial, suffix[1:], dpi, theme)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


@contextmanager
def drawing(chart: Any, theme: str | None = None) -> Iterator[Any]:
    """Give the matplotlib figure of a chart, to be saved more than once.

    Parameters
    ----------
    chart : HoloViews object
        Of one with a slider, the last frame.
    theme : {"light", "dark"}, optional
    """
    with _quiet():
        frames = frames_of(chart)
        yield _drawn(frames[-1][1] if frames else chart, theme)


def _drawn(chart: Any, theme: str | None) -> Any:
    figure = figure_of(chart)
    if theme == "dark":
        turn_dark(figure)
    return figure


def _figure(chart: Any, path: Path, kind: str, dpi: int, theme: str | None) -> None:
    with drawing(chart, theme) as figure:
        figure.savefig(path, format=kind, dpi=dpi, facecolor=figure.get_facecolor())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what neither a user nor we can do anything about."""
    with warnings.catch_warnings():
        # A layer's name may hold letters that matplotlib's font has not; they come
        # out as boxes, and the rest of the chart is as it should be.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        yield
