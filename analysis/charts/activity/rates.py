"""The rates chart: how much of each layer is active, and how much of it dead.

A row a layer, batches or epochs across, dark for silence. Assembles pictures from
`rates_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import NumeralTickFormatter
from numpy.typing import NDArray

from actrace.analysis.charts.activity.rates_data import rates_data
from actrace.analysis.charts.findings.marked import epoch_ends, marked_entries, row_bars
from actrace.analysis.charts.findings.marked_data import Mark, epoch_marks, in_view, marks_of
from actrace.analysis.charts.grammar.caption import Entry, key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, letters, run_name
from actrace.analysis.charts.grammar.panels import GROUND, WIDE, nothing
from actrace.analysis.charts.grammar.style import (
    FIRE,
    LINES,
    bokeh_text,
    matplotlib_text,
    pixels,
    plain,
    shorten,
    styled,
)
from actrace.analysis.charts.grammar.ticks import place_ticks
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names

__all__ = ["axis_of", "rates_chart", "why_nothing"]

_TITLE: Final = "Active and dead"
#: Where a layer has no such rate: neither dark nor bright.
_NONE: Final = "#dfe3e8"
#: Inches of a row: few layers are drawn higher, but a name always has room.
_ROW: Final = 0.165
_FEWEST: Final = 1.6
_POINTS: Final = 7
_COLUMNS_AN_INCH: Final = 150
_MOST_EPOCHS: Final = 40


def rates_chart(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phase: str | None = None,
    by: str = "batch",
    findings: Iterable[Finding] = (),
    max_columns: int | None = None,
) -> Any:
    """Return the rates chart: activation and death rate of each layer over time.

    Both pictures have a row a layer, the first at the top, and one colour scale from 0 to
    1 with dark for silence, so that runs compare.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layers : str or iterable of str, optional
        Names or patterns; all if left out.
    phase : str, optional
        By default ``train`` (the first where there is none).
    by : {"batch", "epoch"}, default "batch"
        What a column is. A unit is dead that had no active element in the batch, or in
        the whole epoch.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. Those of a layer and the phase are marked in
        its row: bars over the time that they are about, of the two gravest.
    max_columns : int, optional
        More batches than this share columns; as many as can be seen if left out.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key.

    Raises
    ------
    ChartError
        Another `by`, or `max_columns` below 1.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        By epoch, and no units were recorded.

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(rates_chart(run, by="epoch"), "rates.png").name
    'rates.png'
    """
    why = why_nothing(run, phase)
    if why:
        return nothing(_titled(run, ""), why)
    side = 1.75
    width = WIDE / 2 - side - 0.7
    most = round(width * _COLUMNS_AN_INCH) if max_columns is None else max_columns
    data = rates_data(run, layers=layers, phase=phase, by=by, max_columns=most)
    if not data.sizes["layer"]:
        return nothing(_titled(run, data.attrs["phase"]), "this run has no layers")
    tall = max(_FEWEST, _ROW * data.sizes["layer"])
    frame = Frame(width, tall, side, 0.7, 0.3, 0.5)
    found = tuple(findings)
    marks = [_marks(run, found, data, str(name)) for name in data["layer"].values]
    cells = [
        _heat(data, "activation_rate", frame, "activation rate", marks),
        _heat(data, "death_rate", frame, "death rate", marks),
    ]
    below = Frame(width, 1.0, side, 0.7, 0.05, 0.1)
    shown, words = _entries(data)
    shown += marked_entries([mark for some in marks for mark in some])
    high = max(key(part, below, paint=GROUND)[1] for part in (shown, words))
    legend = [key(part, below, height=high, paint=GROUND)[0] for part in (shown, words)]
    under = Frame(width, high, side, 0.7, 0.05, 0.1)
    return arrange([cells, legend], [frame, under], title=_titled(run, data.attrs["phase"]))


def why_nothing(run: xr.DataTree, phase: str | None) -> str:
    """Return why there is no batch to draw, or ""."""
    names = phase_names(run)
    if not names:
        return "no batch has been recorded yet"
    name = names[0] if phase is None else phase
    if name in names and not run.children[name].sizes["batch"]:
        return f"no batch of phase {name!r} has been recorded yet"
    return ""


def axis_of(data: xr.Dataset) -> dict[str, Any]:
    """Return the options of the axis along the columns of `rates_data`."""
    ends = float(data["left"].values[0]), float(data["right"].values[-1])
    if data.attrs["by"] == "batch":
        return {"xlim": ends, "xlabel": f"batch of {data.attrs['phase']}"}
    ticks = place_ticks((data["left"].values + 0.5).tolist(), data["epoch"].values.tolist())
    return {"xlim": ends, "xticks": ticks, "xlabel": f"epoch of {data.attrs['phase']}"}


def _marks(
    run: xr.DataTree, findings: Sequence[Finding], data: xr.Dataset, layer: str
) -> tuple[Mark, ...]:
    """Return what was found in a layer, along the axis of `rates_data`."""
    phase = str(data.attrs["phase"])
    ends = float(data["left"].values[0]), float(data["right"].values[-1])
    if data.attrs["by"] == "batch":
        return in_view(marks_of(run, findings, layer=layer, phase=phase), ends)
    left, right, epoch = data["left"].values, data["right"].values, data["epoch"].values
    found = epoch_marks(findings, layer=layer, phases=[phase], epochs=epoch_ends(epoch))

    def placed(span: tuple[float, float]) -> tuple[float, float]:
        at = np.flatnonzero((epoch > span[0]) & (epoch < span[1]))
        # Of epochs between two that were recorded nothing is seen.
        return (float(left[at[0]]), float(right[at[-1]])) if len(at) else (ends[0], ends[0])

    return tuple(replace(mark, spans=tuple(map(placed, mark.spans))) for mark in found)


def _heat(
    data: xr.Dataset, rate: str, frame: Frame, title: str, marks: Sequence[Sequence[Mark]]
) -> Any:
    n = data.sizes["layer"]
    left = float(data["left"].values[0])
    # The last column may reach past the last batch; the frame cuts it off.
    stop = left + data.attrs["batches"] * data.sizes["column"]
    x, y = hv.Dimension("column"), hv.Dimension(f"layers of {rate}", label="layer")
    dead = rate == "death_rate"
    shown = data[rate].transpose("layer", "column").values
    image = hv.Image(
        shown, bounds=(left, 0.0, stop, float(n)), kdims=[x, y], vdims=[hv.Dimension(rate)]
    )

    def inset_bar(plot: Any, _element: Any) -> None:
        # As for the colorful dimension: HoloViews would draw the figure anew for a bar.
        axis = plot.handles["axis"]
        place = axis.inset_axes((1.03, 0.0, 0.1 / frame.width, 1.0))
        drawn = axis.figure.colorbar(plot.handles["artist"], cax=place, ticks=[0, 0.5, 1])
        drawn.outline.set_linewidth(0.4)
        place.set_yticklabels(["0", "50 %", "100 %"])
        place.tick_params(labelsize=_POINTS, width=0.5, length=2)

    both = {"cmap": FIRE[::-1] if dead else FIRE, "clim": (0.0, 1.0)}
    drawn = [
        styled(
            image,
            {**both, "colorbar": False, "hooks": [inset_bar], "interpolation": "nearest"},
            {
                **both,
                "colorbar": True,
                # bokeh would write it over the frame; the title says it.
                "clabel": "",
                "colorbar_opts": {
                    "width": pixels(0.1),
                    "padding": 2,
                    "formatter": NumeralTickFormatter(format="0 %"),
                },
                "clipping_colors": {"NaN": "rgba(0,0,0,0)"},
                "tools": ["hover"],
            },
        )
    ]
    begins = _epochs(data)
    if len(begins):
        gap = np.full_like(begins, np.nan)
        across = np.stack([begins, begins, gap], axis=1).ravel()
        up = np.tile([0.0, float(n), np.nan], len(begins))
        drawn.append(styled(hv.Curve((across, up), x, y), *LINES["epoch"].options()))
    drawn += row_bars(marks, x, y, axis_of(data)["xlim"])
    return dressed(
        hv.Overlay(drawn),
        frame,
        title=title,
        points=10,
        axes={**axis_of(data), "ylim": (0.0, float(n)), "bgcolor": _NONE, "ylabel": ""},
        mpl={"yticks": _names(data, frame, matplotlib_text), "fontsize": _sizes("")},
        bokeh={"yticks": _names(data, frame, bokeh_text), "fontsize": _sizes("pt")},
    )


def _epochs(data: xr.Dataset) -> NDArray[np.float64]:
    """Return where epochs begin, none where the lines would cover the picture."""
    begins = data["left"].values[np.flatnonzero(np.diff(data["epoch"].values)) + 1]
    if data.attrs["by"] == "epoch" or len(begins) > _MOST_EPOCHS:
        return np.zeros(0)
    return np.asarray(begins, np.float64)


def _names(data: xr.Dataset, frame: Frame, as_text: Any) -> list[tuple[float, str]]:
    n = data.sizes["layer"]
    named = zip(data["layer"].values, data["by_design"].values, strict=True)
    most = letters(frame.left - 0.25, _POINTS)
    return [
        (n - i - 0.5, as_text(shorten(plain(name), most - 2) + " *" * bool(silent)))
        for i, (name, silent) in enumerate(named)
    ]


def _sizes(unit: str) -> dict[str, Any]:
    sizes = {"title": 10, "labels": 9, "ticks": 8, "xticks": 8, "yticks": _POINTS}
    return {name: f"{size}{unit}" if unit else size for name, size in sizes.items()}


def _entries(data: xr.Dataset) -> tuple[list[Entry], list[Entry]]:
    marks = [
        Entry("nothing active, all dead", fill=FIRE[0]),
        Entry("all active, nothing dead", fill=FIRE[-1]),
    ]
    if np.isnan(data["activation_rate"].values).any() or np.isnan(data["death_rate"].values).any():
        marks.append(Entry("not called, or no units", fill=_NONE))
    if len(_epochs(data)):
        marks.append(Entry("epoch begins", LINES["epoch"]))
    text = "Up: layers, the first at the top. Left: share of active elements. Right: share of units"
    k = data.attrs["batches"]
    if data.attrs["by"] == "epoch":
        text += " without one in the whole epoch."
    elif k == 1:
        text += " without one in the batch."
    else:
        text += f" without one; a column is {k} batches, their mean and their lowest death rate."
    if data["by_design"].values.any():
        text += " *: silent by design."
    return marks, [Entry(text)]


def _titled(run: xr.DataTree, phase: str) -> str:
    return " · ".join(part for part in (_TITLE, run_name(run), phase) if part)
