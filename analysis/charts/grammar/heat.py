"""A map: rows from the top, columns across, a value as colour, with its bar.

Imports HoloViews, `bar` and `style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
from numpy.typing import NDArray

from actrace.analysis.charts.grammar.bar import colour_bar
from actrace.analysis.charts.grammar.frame import Frame
from actrace.analysis.charts.grammar.style import (
    bokeh_label,
    matplotlib_label,
    plain,
    shorten,
    styled,
)

__all__ = ["heat", "named_rows"]


def heat(
    values: NDArray[Any],
    across: tuple[float, float],
    up: tuple[float, float],
    x: hv.Dimension,
    y: hv.Dimension,
    frame: Frame,
    *,
    cmap: Any,
    clim: tuple[float, float],
    label: str,
    name: str,
    log: bool = False,
    bar: float = 0.018,
    points: float = 8,
) -> Any:
    """Return an Image of values, its first row topmost.

    Parameters
    ----------
    values : array, shape (n_rows, n_columns)
        NaN has no colour: the ground shows.
    across, up : (low, high)
        Ends of the axes.
    x, y : Dimension
    frame : Frame
        What it stands in.
    cmap : list of str
    clim : (low, high)
        Values at the ends of the colour bar.
    label : str
        Words beside it, "" for none.
    name : str
        What hovering calls the value.
    log : bool, default False
        Whether colour is the log of the value.
    bar : float
        Width of the bar as a share of the frame; 0 for none.
    points : float
        Size of its numbers.
    """
    image = hv.Image(
        np.asarray(values, np.float32),
        bounds=(across[0], up[0], across[1], up[1]),
        kdims=[x, y],
        vdims=[hv.Dimension(name)],
    )
    mpl: dict[str, Any] = {"logz": log, "clim": clim, "colorbar": False}
    bokeh: dict[str, Any] = dict(mpl)
    if bar:
        mpl, bokeh = colour_bar(frame, clim, bar=bar, label=label, points=points, log=log)
    clear = {"NaN": "rgba(0,0,0,0)"}
    return styled(
        image,
        {**mpl, "cmap": cmap, "interpolation": "nearest"},
        {**bokeh, "cmap": cmap, "clipping_colors": clear, "tools": ["hover"]},
    )


def named_rows(
    names: Sequence[str], most_letters: int, most_rows: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (matplotlib, bokeh) options that name rows, the first topmost.

    A row is 1 high; of more rows than fit, every second, third or so is named.
    """
    every = max(1, -(-len(names) // most_rows))
    shown = [
        (len(names) - i - 0.5, shorten(plain(name), most_letters))
        for i, name in enumerate(names)
        if i % every == 0
    ]
    return (
        {"yticks": [(at, matplotlib_label(name)) for at, name in shown]},
        {"yticks": [(at, bokeh_label(name)) for at, name in shown]},
    )
