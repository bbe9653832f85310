"""The warning chart: the least active and the most dead layer, batch by batch.

Two lines that stand for the whole network, coloured by the layer they come from.
Assembles panels from `rates_data`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.activity.rates import axis_of, why_nothing
from actrace.analysis.charts.activity.rates_data import rates_data, warning_data
from actrace.analysis.charts.grammar.caption import Entry, key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.panels import GROUND, nothing
from actrace.analysis.charts.grammar.style import HUES, Line, plain, shorten, styled

__all__ = ["warning_chart"]

_TITLE: Final = "The least active and the most dead layer"
_FRAME: Final = Frame(10.6, 2.1, left=0.75, right=0.4, top=0.34, bottom=0.5)
#: The line that joins what comes from different layers.
_THREAD: Final = Line("#c3c9d2", 0.7)
_OTHERS: Final = "#8a919c"
_WORDS: Final = {
    "lowest_activation": "lowest activation rate of a layer",
    "highest_death": "highest death rate of a layer",
}


def warning_chart(
    run: xr.DataTree, *, phase: str | None = None, by: str = "batch", max_columns: int = 1000
) -> Any:
    """Return the warning chart: lowest activation and highest death rate over layers.

    The colour of a piece says which layer it comes from. Layers that are silent by
    design (dropout, softmax) do not count.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phase : str, optional
        By default ``train`` (the first where there is none).
    by : {"batch", "epoch"}, default "batch"
        A unit is dead that had no active element in the batch, or in the whole epoch.
    max_columns : int, default 1000
        More batches than this share columns: the mean of their activation rates, and
        the lowest of their death rates.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key.

    Raises
    ------
    ChartError
        Another `by`, or `max_columns` below 1.
    PhaseNotFoundError
    NotRecordedError
        By epoch, and no units were recorded.

    References
    ----------
    monitorch draws both as lines over epochs (OutputActivation).

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(warning_chart(run), "warning.png").name
    'warning.png'
    """
    why = why_nothing(run, phase)
    if why:
        return nothing(_titled(run, ""), why)
    rates = rates_data(run, phase=phase, by=by, max_columns=max_columns)
    data = warning_data(rates)
    colours = _colours(data)
    cells = [_panel(data, what, colours) for what in _WORDS]
    below = Frame(_FRAME.width, 1.0, _FRAME.left, _FRAME.right, 0.05, 0.1)
    legend, height = key(_entries(data, colours), below, columns=2, paint=GROUND)
    under = Frame(_FRAME.width, height, _FRAME.left, _FRAME.right, 0.05, 0.1)
    title = _titled(run, data.attrs["phase"])
    return arrange([[cells[0]], [cells[1]], [legend]], [_FRAME, _FRAME, under], title=title)


def _panel(data: xr.Dataset, what: str, colours: dict[str, str]) -> Any:
    dims = hv.Dimension("column"), hv.Dimension(what)
    rate, layer = data[f"{what}_rate"].values, data[f"{what}_layer"].values
    middle = (data["left"].values + data["right"].values) / 2
    drawn = [styled(hv.Curve((middle, 100 * rate), *dims), *_THREAD.options())]
    pieces = dict.fromkeys([*colours.values(), _OTHERS])
    of_layer = np.array([colours.get(str(name), _OTHERS) for name in layer], dtype=str)
    for colour in reversed(pieces):
        mine = np.where(of_layer == colour, 100 * rate, np.nan)
        if np.isfinite(mine).any():
            ends = data["left"].values, data["right"].values
            drawn.append(
                styled(hv.Curve(_dashes(*ends, mine), *dims), *Line(colour, 2.0).options())
            )
    top = float(np.nanmax(rate)) if np.isfinite(rate).any() else 0.0
    return dressed(
        hv.Overlay(drawn),
        _FRAME,
        title=_WORDS[what],
        points=10,
        axes={
            **axis_of(data),
            "ylim": (-2.0, 106.0) if top > 0.2 else (-0.4, 22.0),
            "ylabel": "%",
            "yticks": [0, 25, 50, 75, 100] if top > 0.2 else [0, 5, 10, 15, 20],
        },
    )


def _dashes(
    left: NDArray[np.float64], right: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one broken line that is level over each column."""
    gap = np.full_like(left, np.nan)
    return np.stack([left, right, gap], axis=1).ravel(), np.stack([y, y, gap], axis=1).ravel()


def _colours(data: xr.Dataset) -> dict[str, str]:
    """Return the layers that are most often an extreme, each with a colour."""
    seen = Counter(str(name) for name in _named(data) if str(name))
    return {name: hue for (name, _), hue in zip(seen.most_common(len(HUES)), HUES, strict=False)}


def _named(data: xr.Dataset) -> list[str]:
    return [str(name) for what in _WORDS for name in data[f"{what}_layer"].values]


def _entries(data: xr.Dataset, colours: dict[str, str]) -> list[Entry]:
    n = max(data.sizes["column"], 1)
    entries = []
    for name, colour in colours.items():
        shares = [float((data[f"{what}_layer"] == name).sum()) / n for what in _WORDS]
        text = f"{shorten(plain(name), 44)}: {shares[0]:.0%} of the upper, {shares[1]:.0%}"
        entries.append(Entry(f"{text} of the lower line", Line(colour, 2.0)))
    others = len(set(_named(data)) - {*colours, ""})
    if others:
        entries.append(Entry(f"other layers, {others} of them", Line(_OTHERS, 2.0)))
    k = data.attrs["batches"]
    if data.attrs["by"] == "epoch":
        text = "Active: share of elements. Dead: share of units without one in the whole epoch."
    else:
        text = "Active: share of elements. Dead: share of units without one in the batch."
    if k > 1:
        text += f" A column is {k} batches, their mean and their lowest death rate."
    return [*entries, Entry(text + " Layers that are silent by design are left out.")]


def _titled(run: xr.DataTree, phase: str) -> str:
    return " · ".join(part for part in (_TITLE, run_name(run), phase) if part)
