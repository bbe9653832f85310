"""Charts -> files: PNG and SVG without a browser, HTML without a network.

PNG and SVG come from HoloViews' matplotlib backend, HTML from its bokeh backend
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
from bokeh.embed import file_html
from bokeh.models import Toolbar
from bokeh.resources import INLINE

from actrace.errors import ChartError
from actrace.store.progress import waiting

__all__ = ["SUFFIXES", "drawing", "save_chart"]

#: Suffix -> the backend that draws it.
SUFFIXES: Final = {".png": "matplotlib", ".svg": "matplotlib", ".html": "bokeh"}


def save_chart(
    chart: Any, path: str | os.PathLike[str], *, dpi: int = 150, progress: bool | None = None
) -> Path:
    """Return the path of the file that a chart was saved to.

    Parameters
    ----------
    chart : HoloViews object
        From `colorful_chart`, `twin_peaks_chart`, or composed of such.
    path : str or path
        Ends in ``.png``, ``.svg`` or ``.html``. The file is replaced whole or not
        at all; missing folders are made.
    dpi : int, default 150
        Dots per inch of a PNG; a chart is about 12 inches wide.
    progress : bool, optional
        A moving bar: by default after two seconds on a terminal.

    Returns
    -------
    Path

    Raises
    ------
    ChartError
        Another suffix, something that is no HoloViews object, or `dpi` below 1.

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
            ".png (a picture), .svg (a drawing) or .html (a page to zoom, which needs no network)"
        )
    if not isinstance(chart, hv.core.Dimensioned):
        raise ChartError(
            f"expected a HoloViews object, as colorful_chart and twin_peaks_chart return, "
            f"got {type(chart).__name__}"
        )
    if dpi < 1:
        raise ChartError(f"dpi must be at least 1, got {dpi!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _quiet(), waiting(f"saving {target.name}", progress=progress):
            if suffix == ".html":
                partial.write_text(_html(chart), encoding="utf-8")
            else:
                _figure(chart, partial, suffix[1:], dpi)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


@contextmanager
def drawing(chart: Any) -> Iterator[Any]:
    """Give the matplotlib figure of a chart, to be saved more than once.

    Parameters
    ----------
    chart : HoloViews object
    """
    with _quiet():
        yield _drawn(chart, "matplotlib")


def _html(chart: Any) -> str:
    page = _drawn(chart, "bokeh")
    for toolbar in page.select({"type": Toolbar}):
        toolbar.logo = None  # a link to the net
    return str(file_html(page, resources=INLINE, title="actrace chart"))


def _drawn(chart: Any, backend: str) -> Any:
    # As hv.render does, which draws for matplotlib twice.
    return hv.Store.renderers[backend].get_plot(chart).state


def _figure(chart: Any, path: Path, kind: str, dpi: int) -> None:
    figure = _drawn(chart, "matplotlib")
    figure.savefig(path, format=kind, dpi=dpi, facecolor="white")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what neither a user nor we can do anything about."""
    with warnings.catch_warnings():
        # A layer's name may hold letters that matplotlib's font has not; they come
        # out as boxes, and the rest of the chart is as it should be.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
        yield
