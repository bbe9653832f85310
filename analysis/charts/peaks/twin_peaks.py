"""The twin-peaks chart: are YES and NO of the output layer apart, by epoch.

After Stefano Giomo's "The Twin Peaks (Chart)" (fast.ai forum, 2019): the output
layer's histogram over the last quarter of an epoch's training batches against
that of the validation set. Assembles panels, a stack or frames of a film from
`twin_peaks_data` and `twin_peaks_classes_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import holoviews as hv
import xarray as xr

from actrace.analysis.charts.findings.marked import marked_entries
from actrace.analysis.charts.findings.marked_data import Mark, epoch_marks
from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, run_name
from actrace.analysis.charts.grammar.panels import GROUND, WIDE, nothing
from actrace.analysis.charts.grammar.style import plain
from actrace.analysis.charts.peaks.twin_peaks_classes_data import twin_peaks_classes_data
from actrace.analysis.charts.peaks.twin_peaks_data import MOST_EPOCHS, twin_peaks_data
from actrace.analysis.charts.peaks.twin_peaks_parts import (
    class_curves,
    class_entries,
    class_panel,
    class_title,
    height_of,
    panel_title,
    peaks_marks,
    peaks_panel,
    phase_windows,
)
from actrace.analysis.charts.peaks.twin_peaks_stacked import (
    MOST_STACKED,
    class_stack,
    class_stack_entries,
    phase_stack,
    phase_stack_entries,
    stack_frame,
)
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names
from actrace.errors import ChartError

__all__ = ["VIEWS", "twin_peaks_chart"]

#: Ways to show epochs.
VIEWS: Final = ("panels", "stacked", "slider")
#: Epochs of a film.
_MOST_FRAMES: Final = 60
#: A curve may be so many times as high as in half of the epochs before it is cut off.
_TOP: Final = 2.5
_EMPTY: Final = "no batch has been recorded yet"


def twin_peaks_chart(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    epochs: int | Iterable[int] | None = None,
    layer: str | None = None,
    by: str | None = None,
    view: str = "panels",
    findings: Iterable[Finding] = (),
    most: int = 10,
    across: int | None = None,
) -> Any:
    """Return the twin-peaks chart: YES and NO over value, epoch by epoch.

    The area under a curve is its share of the outputs, so heights follow the
    label shares. ``train`` is the mean of the last quarter of the epoch's batches,
    drawn as a line; ``valid`` is all its batches, filled. The curves are those in
    which `actrace.find_peaks` searches, so numbers and picture agree.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    phases : str or iterable of str, optional
        Phases to hold against each other; all if left out. By class one phase,
        ``valid`` if left out.
    epochs : int or iterable of int, optional
        Epochs to draw; at most 12 evenly spaced ones, first and last among them, if
        left out (24 in a stack, 60 of a slider).
    layer : str, optional
        Another layer than the output layer, drawn without labels.
    by : {None, "class", "unit"}, default None
        All outputs together; or YES of each true class (its own unit over its samples),
        or of each output unit (where it is the true class), in a colour of its own.
    view : {"panels", "stacked", "slider"}, default "panels"
        A panel an epoch; the epochs behind one another along time, a frame a phase or
        class; or one frame and a slider, which `save_chart` saves as a page (``.html``)
        or as a film (``.gif``), of which a picture shows the last epoch.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. In the panels of all outputs together, those
        of the layer are marked in every epoch that they are about.
    most : int, default 10
        Most classes or units; of more, the worst.
    across : int, optional
        Panels in a row.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is
        the key. With targets: YES and NO, their means, understanding (the
        distance of the means), share of YES and accuracy. A regression has
        neither: its predictions stand against its targets. Without targets: the
        layer as one curve a phase, and how many peaks it has. In a notebook it
        draws itself, without a network or an extension.

    Raises
    ------
    ChartError
        An epoch that the run does not have, another `by` or `view`, a layer by class,
        or `most` or `across` below 1.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        The run does not know its output layer and none is named; by class, no targets
        were recorded or the run is a regression.

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
    if most < 1 or (across is not None and across < 1):
        raise ChartError(f"most and across must be at least 1, got {most!r} and {across!r}")
    if view not in VIEWS:
        raise ChartError(f"view must be one of {', '.join(map(repr, VIEWS))}, got {view!r}")
    if by is not None and layer is not None:
        raise ChartError(f"by={by!r} is about the output layer: leave layer= out")
    name = run_name(run)
    if not phase_names(run):
        return nothing(" · ".join(part for part in ("Twin peaks", name) if part), _EMPTY)
    shared = view != "panels"
    n_epochs = {"panels": MOST_EPOCHS, "stacked": MOST_STACKED, "slider": _MOST_FRAMES}[view]
    if by is None:
        data = twin_peaks_data(
            run, phases=phases, epochs=epochs, layer=layer, shared=shared, most=n_epochs
        )
    else:
        data = twin_peaks_classes_data(
            run, by=by, phases=phases, epochs=epochs, most=most, most_epochs=n_epochs, shared=shared
        )
    title = _title(data, name)
    if not data.sizes["epoch"]:
        return nothing(title, _EMPTY)
    if view == "stacked":
        return _stacked(data, by, across, title)
    if view == "slider":
        return _film(data, by, title)
    frame = _panel_frame(min(across or _across(data.sizes["epoch"]), data.sizes["epoch"]), data)
    marks = [_marks(tuple(findings), one, by) for one in _epochs(data)]
    cells = [
        _panel(one, by, frame, **({"marks": some} if some else {}))
        for one, some in zip(_epochs(data), marks, strict=True)
    ]
    across = min(across or _across(len(cells)), len(cells))
    entries = [*_entries(data, by), *marked_entries([mark for some in marks for mark in some])]
    rows, frames = with_key(cells, entries, frame, across, paint=GROUND)
    return arrange(rows, frames, title=title)


def _marks(findings: Sequence[Finding], data: xr.Dataset, by: str | None) -> tuple[Mark, ...]:
    """Return what was found of the layer in the epoch of a panel."""
    if by is not None:
        return ()
    epoch = int(data["epoch"])
    phases = [str(phase) for phase in data["phase"].values]
    layer = str(data.attrs["layer"])
    return epoch_marks(findings, layer=layer, phases=phases, epochs=(epoch, epoch))


def _stacked(data: xr.Dataset, by: str | None, across: int | None, title: str) -> Any:
    dim, stack = ("phase", phase_stack) if by is None else ("panel", class_stack)
    n = data.sizes[dim]
    across = min(across or _across_stacks(n), n)
    frame = stack_frame(across, data.sizes["epoch"])
    cells = [stack(data.isel({dim: at}), frame) for at in range(n)]
    entries = phase_stack_entries(data) if by is None else class_stack_entries(data)
    rows, frames = with_key(cells, entries, frame, across, paint=GROUND)
    return arrange(rows, frames, title=title)


def _film(data: xr.Dataset, by: str | None, title: str) -> Any:
    """Return one panel that a slider takes from epoch to epoch, on axes that stand still."""
    frame = Frame(9.6, 4.2, left=0.75, right=0.3, top=0.62, bottom=0.35)
    top = _steady_top(data, by)
    panels = {
        int(one["epoch"]): _panel(one, by, frame, top=top, points=10) for one in _epochs(data)
    }
    film = hv.HoloMap(panels, kdims=["epoch"])
    rows, frames = with_key([film], _entries(data, by), frame, 1, paint=GROUND)
    return arrange(rows, frames, title=title)


def _steady_top(data: xr.Dataset, by: str | None) -> float:
    """Return the height of all frames: that of the highest epoch, unless it dwarfs most."""
    tops = []
    for one in _epochs(data):
        highest = height_of(one["density"])
        if by is not None:
            highest = max(height_of(class_curves(one)), height_of(one["others"]))
        tops.append(highest)
    return min(max(tops), _TOP * sorted(tops)[len(tops) // 2])


def _panel(data: xr.Dataset, by: str | None, frame: Frame, **options: Any) -> Any:
    if by is None:
        return peaks_panel(data, frame, panel_title(data), **options)
    return class_panel(data, frame, class_title(data), **options)


def _epochs(data: xr.Dataset) -> list[xr.Dataset]:
    return [data.sel(epoch=epoch) for epoch in data["epoch"].values]


def _title(data: xr.Dataset, name: str) -> str:
    layer = plain(data.attrs["layer"])
    if "by" in data.attrs:
        what = f"YES of each {'true class' if data.attrs['by'] == 'class' else 'output unit'}"
        return " · ".join(part for part in (what, name, layer, plain(data.attrs["phase"])) if part)
    what = {
        "regression": "Predictions against targets (a regression has no yes and no)",
        "unlabelled": "Twin peaks, without targets",
    }.get(str(data.attrs["task"]), "Twin peaks")
    return " · ".join(part for part in (what, name, layer) if part)


def _entries(data: xr.Dataset, by: str | None) -> list[Entry]:
    edges = data["value_edge"].values
    scales = "" if (edges == edges[0]).all() else " Each epoch has its own range."
    far = [str(int(epoch)) for epoch in data["epoch"].values[data["beyond"].values]]
    if far:
        scales += f" Epochs that reach far beyond the frame: {', '.join(far[:8])}."
    if by is not None:
        text = f"Across: activation value.{scales} Area under each curve: 1."
        if data.sizes["panel"] < data.attrs["n"]:
            text += f" The {data.sizes['panel']} worst of {data.attrs['n']}."
        return [*class_entries(data), Entry(f"{text} {phase_windows([data.attrs['phase']])}.")]
    phases = [str(phase) for phase in data["phase"].values]
    numbers = f" Numbers: {' / '.join(phases)}." if len(phases) > 1 else ""
    text = f"Across: activation value.{scales} Area: share of outputs. Uprights: means.{numbers} "
    return [*peaks_marks(data), Entry(f"{text}{phase_windows(phases)}.")]


def _across(n: int) -> int:
    for most, across in ((1, 1), (4, 2), (9, 3)):
        if n <= most:
            return across
    return 4


def _across_stacks(n: int) -> int:
    for most, across in ((3, n), (4, 2), (9, 3), (16, 4)):
        if n <= most:
            return across
    return 5


def _panel_frame(across: int, data: xr.Dataset) -> Frame:
    left, right = 0.45, 0.15
    width = min(WIDE / across - left - right, 6.0)
    lines = 2 if "by" in data.attrs or data.attrs["task"] in ("regression", "unlabelled") else 3
    return Frame(width, max(width * 0.5, 1.3), left, right, 0.12 + 0.14 * lines, 0.3)
