"""The class-peaks chart: YES and NO of each class, those that lag behind marked.

The twin peaks of one epoch, a panel a class or output unit. Assembles panels from
`class_peaks_data`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr

from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, run_name
from actrace.analysis.charts.grammar.panels import GROUND, WIDE, nothing
from actrace.analysis.charts.grammar.style import plain
from actrace.analysis.charts.peaks.class_peaks_data import class_peaks_data
from actrace.analysis.charts.peaks.twin_peaks_parts import peaks_marks, peaks_panel
from actrace.analysis.select import phase_names
from actrace.errors import ChartError

__all__ = ["class_peaks_chart"]

#: Ground of a class that lags; light enough for every mark on it.
_LAGS: Final = "#fbe3d6"


def class_peaks_chart(
    run: xr.DataTree,
    *,
    by: str = "class",
    phases: str | Iterable[str] | None = None,
    epoch: int | None = None,
    most: int = 24,
    across: int | None = None,
) -> Any:
    """Return the class-peaks chart: YES and NO of each class in one epoch.

    Drawn as the twin-peaks chart draws the whole output; the panel of a class that lags
    behind the others by more than chance has a ground of its own.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    by : {"class", "unit"}, default "class"
        The outputs over the samples of each true class, its own unit (YES) against the
        others (NO); or those of each unit, where it is the true class and where not.
    phases : str or iterable of str, optional
        All that have targets if left out.
    epoch : int, optional
        The last that all of the phases have if left out.
    most : int, default 24
        Most panels; of more classes the least accurate, of units those of least d'.
    across : int, optional
        Panels in a row.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key.

    Raises
    ------
    ChartError
        Another `by`, an epoch that the run does not have, or `most` or `across` below 1.
    PhaseNotFoundError
    NotRecordedError
        No targets were recorded, or the run is a regression.

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(class_peaks_chart(run, epoch=0), "classes.png").name
    'classes.png'
    """
    if most < 1 or (across is not None and across < 1):
        raise ChartError(f"most and across must be at least 1, got {most!r} and {across!r}")
    what = f"YES and NO by {'true class' if by == 'class' else 'output unit'}"
    if not phase_names(run):
        title = " · ".join(part for part in (what, run_name(run)) if part)
        return nothing(title, "no batch has been recorded yet")
    data = class_peaks_data(run, by=by, phases=phases, epoch=epoch, most=most)
    n = data.sizes["panel"]
    across = min(across or _across(n), n)
    frame = _frame(across, data)
    panels = [data.isel(panel=at) for at in range(n)]
    cells = [
        peaks_panel(panel, frame, _title(panel), ground=_ground(panel), yticks=2)
        for panel in panels
    ]
    rows, frames = with_key(cells, _entries(data), frame, across, paint=GROUND)
    parts = (what, run_name(run), plain(data.attrs["layer"]), f"epoch {data.attrs['epoch']}")
    return arrange(rows, frames, title=" · ".join(part for part in parts if part))


def _title(panel: xr.Dataset) -> str:
    lines = [
        f"{panel.attrs['by']} {plain(panel['panel'].item())}",
        f"d' {_both(panel, 'd_prime', '{:.2f}')}",
    ]
    if "accuracy" in panel:
        lines[1] += f" · accuracy {_both(panel, 'accuracy', '{:.0%}')}"
        late = [
            f"{name} \u2265 {float(panel['behind_at_least'].sel(phase=name)):.0%}"
            for name in map(str, panel["phase"].values)
            if bool(panel["lagging"].sel(phase=name))
        ]
        lines.append(f"lags: {', '.join(late)}" if late else "")
    return "\n".join(lines)


def _both(panel: xr.Dataset, name: str, form: str) -> str:
    numbers = [float(number) for number in panel[name].values]
    return " / ".join(form.format(n) if np.isfinite(n) else "\u2013" for n in numbers)


def _ground(panel: xr.Dataset) -> str:
    return _LAGS if "lagging" in panel and bool(panel["lagging"].any()) else "#ffffff"


def _entries(data: xr.Dataset) -> list[Entry]:
    phases = [str(phase) for phase in data["phase"].values]
    entries = peaks_marks(data)
    text = "Across: activation value. Area: share of outputs. Uprights: means."
    if len(phases) > 1:
        text += f" Numbers: {' / '.join(phases)}."
    if "lagging" in data and bool(data["lagging"].any()):
        entries.append(Entry("lags (\u2265: by at least)", fill=_LAGS))
    if data.sizes["panel"] < data.attrs["n"]:
        text += f" The {data.sizes['panel']} worst of {data.attrs['n']}."
    edges = data["value_edge"].values
    if not (edges == edges[0]).all():
        text += " Each panel has its own range."
    return [*entries, Entry(text)]


def _across(n: int) -> int:
    for most, across in ((1, 1), (4, 2), (9, 3), (16, 4)):
        if n <= most:
            return across
    return 5


def _frame(across: int, data: xr.Dataset) -> Frame:
    left, right = 0.45, 0.15
    width = min(WIDE / across - left - right, 6.0)
    lines = 3 if "accuracy" in data else 2
    return Frame(width, max(width * 0.5, 1.2), left, right, 0.12 + 0.14 * lines, 0.3)
