"""The separation chart: how far YES and NO of the outputs are apart, epoch by epoch.

The numbers of the twin peaks as lines over epochs. Assembles panels from
`separation_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import holoviews as hv
import xarray as xr

from actrace.analysis.charts.findings.marked import epoch_ends, marked_entries, over_epochs
from actrace.analysis.charts.findings.marked_data import Mark, epoch_marks
from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.panels import (
    ALL,
    GROUND,
    band,
    dots,
    epoch_axis,
    line,
    nothing,
    panel_frame,
    reach,
)
from actrace.analysis.charts.grammar.style import HUES, NOTHING, Line, lighter, phase_colour, plain
from actrace.analysis.charts.peaks.separation_data import NUMBERS, separation_data, worst_classes
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names
from actrace.errors import ChartError

__all__ = ["separation_chart"]

_TITLE: Final = "How far YES and NO are apart"
#: Number -> its title and its unit.
_WORDS: Final = {
    "understanding": ("understanding", "activation units"),
    "d_prime": ("d'", "common spreads"),
    "overlap": ("overlap of the peaks", "share"),
    "auc": ("AUC", "probability"),
    "accuracy": ("accuracy", "share"),
}
_FOUR: Final = ("understanding", "d_prime", "overlap", "auc")
_LAGS: Final = HUES[6]


def separation_chart(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    by: str | None = None,
    number: str = "d_prime",
    findings: Iterable[Finding] = (),
    most: int = 24,
    across: int | None = None,
) -> Any:
    """Return the separation chart: understanding, d', overlap and AUC, epoch by epoch.

    For ``train`` an epoch is the last quarter of its batches, for other phases all,
    as in the twin-peaks chart.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : str or iterable of str, optional
        All that have targets if left out.
    by : {None, "class"}, default None
        The four numbers of the whole output, or one number of each true class, a
        panel each, where an epoch in which the class lags by more than chance is ringed.
    number : {"understanding", "d_prime", "overlap", "auc", "accuracy"}, default "d_prime"
        Which one, by class.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. Those of the output layer, or by class of
        the class, are marked: a lane for each rule, a bar over the epochs it is about.
    most : int, default 24
        Most classes drawn; of more, those in which the number is worst.
    across : int, optional
        Panels in a row.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the
        key. Bands are how far the bins' width may have moved a number; of accuracy,
        its 95 % interval.

    Raises
    ------
    ChartError
        Another `by` or `number`, or `most` or `across` below 1.
    PhaseNotFoundError
    NotRecordedError
        No targets were recorded, or the run is a regression.

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(separation_chart(run, by="class"), "classes.png").name
    'classes.png'
    """
    if number not in NUMBERS:
        raise ChartError(f"number must be one of {', '.join(map(repr, NUMBERS))}, got {number!r}")
    if most < 1 or (across is not None and across < 1):
        raise ChartError(f"most and across must be at least 1, got {most!r} and {across!r}")
    if not phase_names(run):
        return nothing(_titled(run), "no batch has been recorded yet")
    data = separation_data(run, phases=phases, by=by)
    found = tuple(findings)
    drawn: list[Mark] = []
    output = str(run.dataset.attrs.get("output_layer", ""))

    def marked(target_class: str = "") -> tuple[Mark, ...]:
        ends = epoch_ends(data["epoch"].values)
        mine = epoch_marks(
            found, layer=output, phases=_phases(data), epochs=ends, target_class=target_class
        )
        drawn.extend(mine)
        return mine

    if by is None:
        across = min(across or 2, len(_FOUR))
        frame = panel_frame(across)
        marks = marked()
        cells = [_panel(data, name, frame, _WORDS[name][0], marks) for name in _FOUR]
        note = ""
    else:
        if number not in data:
            raise ChartError(f"this run has no {number} by class; it has {', '.join(_FOUR)}")
        chosen = worst_classes(data, number, most)
        across = min(across or _across(len(chosen)), len(chosen))
        frame = panel_frame(across, lines=2, labelled=False)
        shown = data.isel(target_class=chosen)
        limits = reach(*(shown[name] for name in _drawn(data, number)))
        classes = [data.isel(target_class=at) for at in chosen]
        cells = [
            _class(one, number, frame, limits, marked(str(one["target_class"].item())))
            for one in classes
        ]
        note = f" Up: {_WORDS[number][0]} ({_WORDS[number][1]}) by true class."
        left_out = data.sizes["target_class"] - len(chosen)
        if left_out:
            note += f" The {len(chosen)} worst classes of {len(chosen) + left_out}."
    entries = _entries(data, number if by else None, note, drawn)
    rows, frames = with_key(cells, entries, frame, across, paint=GROUND)
    return arrange(rows, frames, title=_titled(run))


def _panel(data: xr.Dataset, name: str, frame: Frame, title: str, marks: Sequence[Mark]) -> Any:
    ends = _drawn(data, name)
    limits = reach(*(data[end] for end in ends))
    found, limits = over_epochs(marks, _dims(name), data["epoch"].values, limits, frame)
    return dressed(
        hv.Overlay([*_lines(data, name), *found]),
        frame,
        title=title,
        points=9,
        axes={**epoch_axis(data["epoch"]), "ylim": limits, "ylabel": _WORDS[name][1], "yticks": 5},
    )


def _class(
    data: xr.Dataset,
    name: str,
    frame: Frame,
    limits: tuple[float, float],
    marks: Sequence[Mark],
) -> Any:
    dims = _dims(name)
    drawn = []
    epochs = data["epoch"].values
    for phase in _phases(data):
        whole = data[f"{name}_all"].sel(phase=phase)
        look = Line(phase_colour(phase, _phases(data)), ALL.width, ALL.dash)
        drawn += line(epochs, whole, dims, look, dotted=False)
    drawn += _lines(data, name)
    said = []
    for phase in _phases(data):
        part = data.sel(phase=phase)
        lags = part["lagging"].values
        drawn += dots(epochs, part[name].where(part["lagging"]), dims, _LAGS, 6.5, ring=True)
        if lags.any():
            said.append(f"{phase} {int(lags.sum())} of {len(lags)}")
    late = f"lags: {', '.join(said)}" if said else ""
    found, limits = over_epochs(marks, dims, epochs, limits, frame)
    return dressed(
        hv.Overlay([*drawn, *found]),
        frame,
        title="\n".join([f"class {plain(data['target_class'].item())}", late]),
        points=8,
        axes={**epoch_axis(epochs), "xlabel": "", "ylim": limits, "ylabel": "", "yticks": 4},
    )


def _lines(data: xr.Dataset, name: str) -> list[Any]:
    """Return a band and a line for each phase, bands first."""
    dims, epochs = _dims(name), data["epoch"].values
    bands, lines = [], []
    for phase in _phases(data):
        part, colour = data.sel(phase=phase), phase_colour(phase, _phases(data))
        if f"{name}_low" in data:
            ends = (part[f"{name}_low"], part[f"{name}_high"])
            bands += band(epochs, *ends, dims, colour, 0.22)
        lines += line(epochs, part[name], dims, Line(colour, 1.6))
    if not lines:
        # A frame needs something to stand for.
        lines = line(epochs, [0.0] * len(epochs), dims, NOTHING)
    return [*bands, *lines]


def _entries(data: xr.Dataset, number: str | None, note: str, marks: Sequence[Mark]) -> list[Entry]:
    phases = _phases(data)
    entries = []
    for phase in phases:
        colour = phase_colour(phase, phases)
        entries.append(Entry(phase, Line(colour, 1.6)))
        if number is None or f"{number}_low" in data:
            what = "95 % interval" if number == "accuracy" else "what bins may move"
            entries.append(Entry(f"{phase}: {what}", fill=lighter(colour)))
        if number is not None:
            entries.append(Entry(f"{phase}, all classes", Line(colour, ALL.width, ALL.dash)))
    windows = [
        f"{phase}: last quarter of the epoch" if phase == "train" else f"{phase}: all batches"
        for phase in phases
    ]
    text = f"Across: epoch.{note} {'; '.join(windows)}."
    if number is not None:
        text += " Ring: the class is told right less often than the others, beyond chance."
    return [*entries, *marked_entries(marks), Entry(text)]


def _drawn(data: xr.Dataset, name: str) -> list[str]:
    """Return the variables that a panel of the number must hold."""
    names = (name, f"{name}_low", f"{name}_high", f"{name}_all")
    return [each for each in names if each in data]


def _dims(name: str) -> Sequence[Any]:
    return hv.Dimension("epoch"), hv.Dimension(name)


def _phases(data: xr.Dataset) -> list[str]:
    return [str(phase) for phase in data["phase"].values]


def _titled(run: xr.DataTree) -> str:
    return " · ".join(part for part in (_TITLE, run_name(run)) if part)


def _across(n: int) -> int:
    for most, across in ((1, 1), (4, 2), (9, 3), (16, 4)):
        if n <= most:
            return across
    return 5
