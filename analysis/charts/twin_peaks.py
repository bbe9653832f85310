"""The twin-peaks chart: are YES and NO of the output layer apart, by epoch.

After Stefano Giomo's "The Twin Peaks (Chart)" (fast.ai forum, 2019): the output
layer's histogram over the last quarter of an epoch's training batches against
that of the validation set. Assembles panels from `twin_peaks_data`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.caption import Entry, with_key
from actrace.analysis.charts.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.panels import GROUND, WIDE, nothing
from actrace.analysis.charts.style import (
    PHASES,
    ROLES,
    Line,
    darker,
    lighter,
    plain,
    styled,
)
from actrace.analysis.charts.twin_peaks_data import twin_peaks_data
from actrace.errors import ChartError

__all__ = ["peaks_marks", "peaks_panel", "twin_peaks_chart"]

_ZERO: Final = Line("#8a919c", 0.9, "dotted")
_DASHES: Final = {"train": "solid", "valid": "dashed"}


def twin_peaks_chart(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    epochs: int | Iterable[int] | None = None,
    layer: str | None = None,
    across: int | None = None,
) -> Any:
    """Return the twin-peaks chart: a panel an epoch, YES and NO over value.

    The area under a curve is its share of the outputs, so heights follow the
    label shares. ``train`` is the mean of the last quarter of the epoch's batches,
    drawn as a line; ``valid`` is all its batches, filled. The curves are those in
    which `actrace.find_peaks` searches, so numbers and picture agree.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : str or iterable of str, optional
        Phases to hold against each other; all if left out.
    epochs : int or iterable of int, optional
        Epochs to draw, a panel each; at most 12 evenly spaced ones, first and last
        among them, if left out.
    layer : str, optional
        Another layer than the output layer, drawn without labels.
    across : int, optional
        Panels in a row.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is
        the key. With targets: YES and NO, their means, understanding (the
        distance of the means), share of YES and accuracy. A regression has
        neither: its predictions stand against its targets. Without targets: the
        layer as one curve a phase, and how many peaks it has. In a notebook, load a
        backend once and it displays without a network:
        ``hv.extension("bokeh", inline=True)`` or ``hv.extension("matplotlib")``.

    Raises
    ------
    ChartError
        An epoch that the run does not have, or `across` below 1.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        The run does not know its output layer and none is named.

    References
    ----------
    Stefano Giomo, The Twin Peaks (Chart), forums.fast.ai/t/49065.

    Examples
    --------
    >>> from actrace import save_chart
    >>> chart = twin_peaks_chart(run, epochs=[0, 2])
    >>> save_chart(chart, "peaks.png").name
    'peaks.png'
    """
    if across is not None and across < 1:
        raise ChartError(f"across must be at least 1, got {across!r}")
    data = twin_peaks_data(run, phases=phases, epochs=epochs, layer=layer)
    name = run_name(run)
    if not data.sizes["epoch"]:
        title = " · ".join(part for part in ("Twin peaks", name) if part)
        return nothing(title, "no batch has been recorded yet")
    n = data.sizes["epoch"]
    across = min(across or _across(n), n)
    frame = _panel_frame(across, str(data.attrs["task"]))
    panels = [data.sel(epoch=epoch) for epoch in data["epoch"].values]
    cells = [peaks_panel(panel, frame, _panel_title(panel)) for panel in panels]
    rows, frames = with_key(cells, _entries(data), frame, across, paint=GROUND)
    return arrange(rows, frames, title=_title(data, name))


def _title(data: xr.Dataset, name: str) -> str:
    task, layer = str(data.attrs["task"]), plain(data.attrs["layer"])
    what = {
        "regression": "Predictions against targets (a regression has no yes and no)",
        "unlabelled": "Twin peaks, without targets",
    }.get(task, "Twin peaks")
    return " · ".join(part for part in (what, name, layer) if part)


def peaks_panel(
    data: xr.Dataset, frame: Frame, title: str, *, ground: str = "#ffffff", yticks: int = 3
) -> Any:
    """Return one panel of peaks: validation filled, other phases as lines.

    Parameters
    ----------
    data : Dataset
        One panel of what `peak_curves` returns.
    frame : Frame
    title : str
    ground : str
        Colour behind the peaks.
    yticks : int, default 3
    """
    value = data["value"].values
    x, y = hv.Dimension("value", label="activation value"), hv.Dimension("density")
    top = float(data["density"].max()) * 1.08 or 1.0
    fills, curves, means = [], [], []
    filled = _filled(data)
    for phase in (str(p) for p in data["phase"].values):
        for role in (str(r) for r in data["role"].values):
            part = data.sel(phase=phase, role=role)
            if not int(part["elements"]):
                continue
            colour = _colour(role, phase)
            density = part["density"].values
            if phase == filled:
                area = hv.Area((value, density), x, y)
                fills.append(
                    styled(
                        area,
                        {"color": colour, "facecolor": colour, "alpha": 0.38, "linewidth": 0},
                        {"fill_color": colour, "fill_alpha": 0.38, "line_width": 0},
                    )
                )
            else:
                line = Line(darker(colour), 1.5, _dash(phase))
                curves.append(styled(hv.Curve((value, density), x, y), *line.options()))
            mean = float(part["mean"])
            if np.isfinite(mean):
                line = Line(darker(colour), 1.0, "dashed" if phase == filled else _dash(phase))
                upright = hv.Curve([(mean, 0.0), (mean, top)], x, y)
                means.append(styled(upright, *line.options()))
    zero = styled(hv.Curve([(0.0, 0.0), (0.0, top)], x, y), *_ZERO.options())
    edge = data["value_edge"].values
    return dressed(
        hv.Overlay([zero, *fills, *curves, *means]),
        frame,
        title=title,
        points=8,
        axes={
            "xlim": (float(edge[0]), float(edge[-1])),
            "ylim": (0.0, top),
            "xlabel": "",
            "ylabel": "",
            "yticks": yticks,
            "xticks": 7,
            "bgcolor": ground,
        },
    )


def _panel_title(data: xr.Dataset) -> str:
    phases = [str(phase) for phase in data["phase"].values]

    def both(name: str, form: str) -> str:
        shown = []
        for phase in phases:
            number = float(data[name].sel(phase=phase))
            shown.append(form.format(number) if np.isfinite(number) else "\u2013")
        return " / ".join(shown)

    lines = [f"epoch {int(data['epoch'])}"]
    if "understanding" in data:
        lines.append(f"understanding {both('understanding', '{:.3g}')}")
        last = f"yes {both('share_yes', '{:.0%}')}"
        if "accuracy" in data and np.isfinite(data["accuracy"].values).any():
            last += f" · accuracy {both('accuracy', '{:.1%}')}"
        lines.append(last)
    elif "rmse" in data:
        lines.append(f"rmse {both('rmse', '{:.3g}')}")
    elif "peaks" in data:
        lines.append(f"peaks {both('peaks', '{:.0f}')}")
    return "\n".join(lines)


def peaks_marks(data: xr.Dataset) -> list[Entry]:
    """Return the key's entries of every mark that `peaks_panel` draws."""
    phases = [str(phase) for phase in data["phase"].values]
    filled = _filled(data)
    entries = []
    for role in (str(r) for r in data["role"].values):
        for phase in phases:
            colour = _colour(role, phase)
            text = phase if role == "all" else f"{role}, {phase}"
            if phase == filled:
                entries.append(Entry(text, fill=lighter(colour)))
            else:
                entries.append(Entry(text, Line(darker(colour), 1.5, _dash(phase))))
    return [*entries, Entry("zero", _ZERO)]


def _entries(data: xr.Dataset) -> list[Entry]:
    phases = [str(phase) for phase in data["phase"].values]
    windows = [
        f"{phase}: last quarter of the epoch" if phase == "train" else f"{phase}: all batches"
        for phase in phases
    ]
    numbers = f" Numbers: {' / '.join(phases)}." if len(phases) > 1 else ""
    edges = data["value_edge"].values
    scales = "" if (edges == edges[0]).all() else " Each epoch has its own range."
    text = f"Across: activation value.{scales} Area: share of outputs. Uprights: means.{numbers} "
    return [*peaks_marks(data), Entry(text + "; ".join(windows) + ".")]


def _filled(data: xr.Dataset) -> str:
    """Return the phase that is filled: validation where there is one."""
    phases = [str(phase) for phase in data["phase"].values]
    return "valid" if "valid" in phases else phases[-1]


def _colour(role: str, phase: str) -> str:
    if role == "all":
        return PHASES.get(phase, ROLES["all"])
    return ROLES.get(role, ROLES["all"])


def _dash(phase: str) -> str:
    return _DASHES.get(phase, "dotted")


def _across(n: int) -> int:
    for most, across in ((1, 1), (4, 2), (9, 3)):
        if n <= most:
            return across
    return 4


def _panel_frame(across: int, task: str) -> Frame:
    left, right = 0.45, 0.15
    width = min(WIDE / across - left - right, 6.0)
    lines = 3 if task not in ("regression", "unlabelled") else 2
    return Frame(width, max(width * 0.5, 1.3), left, right, 0.12 + 0.14 * lines, 0.3)
