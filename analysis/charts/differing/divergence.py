"""The divergence chart: where and since when validation differs from training.

A panel a layer or class: the distance of the two phases over epochs, on the band that
windows of one phase show among themselves. Assembles panels from `divergence_data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.differing.divergence_data import (
    DISTANCES,
    divergence_data,
    error_data,
    farthest,
    onset_data,
)
from actrace.analysis.charts.findings.marked import epoch_ends, marked_entries, over_epochs
from actrace.analysis.charts.findings.marked_data import Mark, epoch_marks
from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.panels import (
    GROUND,
    NULL,
    ONSET,
    band,
    dots,
    epoch_axis,
    line,
    nothing,
    panel_frame,
    reach,
    upright,
)
from actrace.analysis.charts.grammar.style import NOTHING, ROLES, Line, phase_colour, plain
from actrace.analysis.findings.finding import Finding
from actrace.analysis.onset import Onset
from actrace.analysis.select import phase_names
from actrace.errors import ChartError

__all__ = ["divergence_chart"]

_WIDTH: Final = 1.6
#: A frame is at most so many times as high as the greatest distance in it.
_ROOM: Final = 3.0


def divergence_chart(
    run: xr.DataTree,
    *,
    by: str = "layer",
    layers: str | Iterable[str] | None = None,
    phases: Sequence[str] = ("train", "valid"),
    distance: str = "jensen_shannon",
    findings: Iterable[Finding] = (),
    most: int = 23,
    across: int | None = None,
) -> Any:
    """Return the divergence chart: how unlike two phases are, epoch by epoch.

    The first panel is what the onset of overfitting is read from, the error of the outputs
    in both phases; then one panel for each layer, or each class.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    by : {"layer", "class"}, default "layer"
        All activations of each layer; or the outputs for each true class, YES and NO apart.
    layers : str or iterable of str, optional
        Names or patterns; all if left out. With ``by="layer"`` alone.
    phases : two str, default ("train", "valid")
    distance : {"jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger"}
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. Those of a layer or class are marked on its
        panel: a lane for each rule, a bar over the epochs that it is about.
    most : int, default 23
        Most layers or classes drawn; of more, those where the distance is ever greatest.
    across : int, optional
        Panels in a row.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key,
        which also says when validation parted from training, or that it did not.

    Raises
    ------
    ChartError
        Another `by` or `distance`, layers by class, or `most` or `across` below 1.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        ``by="class"`` and a phase without classes.
    ValueError
        Not two different phases.

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(divergence_chart(run), "divergence.png").name
    'divergence.png'
    """
    if most < 1 or (across is not None and across < 1):
        raise ChartError(f"most and across must be at least 1, got {most!r} and {across!r}")
    if distance not in DISTANCES:
        raise ChartError(
            f"distance must be one of {', '.join(map(repr, DISTANCES))}, got {distance!r}"
        )
    if by not in ("layer", "class"):
        raise ChartError(f"by must be 'layer' or 'class', got {by!r}")
    if by == "class" and layers is not None:
        raise ChartError("by='class' is about the output layer: leave layers= out")
    title = " · ".join(part for part in (" against ".join(phases), run_name(run)) if part)
    if not phase_names(run):
        return nothing(title, "no batch has been recorded yet")
    data = divergence_data(run, by=by, layers=layers, phases=phases, distance=distance)
    if not data.sizes["epoch"]:
        return nothing(title, f"no epoch has both {phases[0]} and {phases[1]}")
    n = data.sizes["panel"]
    data = farthest(data, most)
    found, sentence = onset_data(run, phases)
    across = across or _across(data.sizes["panel"] + 1)
    frame = panel_frame(across, labelled=False)
    error = None if found is None else error_data(found)
    cells = [] if found is None or error is None else [_errors(error, found, frame)]
    marks = _marks(run, tuple(findings), data, by)
    cells += [
        _panel(data.isel(panel=at), found, frame, marks[at]) for at in range(data.sizes["panel"])
    ]
    left_out = f" The {len(data['panel'])} farthest of {n}." if len(data["panel"]) < n else ""
    entries = _entries(data, error is not None, found, sentence, left_out)
    entries += marked_entries([mark for some in marks for mark in some])
    rows, frames = with_key(cells, entries, frame, min(across, len(cells)), paint=GROUND)
    return arrange(rows, frames, title=title)


def _errors(error: xr.Dataset, found: Onset, frame: Frame) -> Any:
    dims = hv.Dimension("epoch"), hv.Dimension("error")
    epochs, phases = error["epoch"].values, list(found.phases)
    limits = reach(error["error"], error["within"], low=0.0)
    first = error["error"].sel(phase=phases[0])
    drawn = band(epochs, first, error["within"], dims, NULL, 0.55)
    drawn += _mark(found, limits, dims)
    for phase in phases:
        look = Line(phase_colour(phase, phases), _WIDTH)
        drawn += line(epochs, error["error"].sel(phase=phase), dims, look)
    unit = str(error["error"].attrs.get("units", ""))
    return dressed(
        hv.Overlay(drawn),
        frame,
        title=f"error of the outputs ({unit})",
        points=8,
        axes=_axes(epochs, limits),
    )


def _marks(
    run: xr.DataTree, findings: Sequence[Finding], data: xr.Dataset, by: str
) -> list[tuple[Mark, ...]]:
    """Return what was found in the layer, or class, of each panel."""
    by_class = by == "class"
    output = str(run.dataset.attrs.get("output_layer", ""))
    return [
        epoch_marks(
            findings,
            layer=output if by_class else str(name),
            phases=data.attrs["phases"],
            epochs=epoch_ends(data["epoch"].values),
            target_class=str(name) if by_class else "",
        )
        for name in data["panel"].values
    ]


def _panel(data: xr.Dataset, found: Onset | None, frame: Frame, marks: Sequence[Mark]) -> Any:
    # Named after the panel, or HoloViews would give all panels one axis.
    name = plain(data["panel"].item())
    dims = hv.Dimension("epoch"), hv.Dimension(f"distance in {name}", label="distance")
    epochs = data["epoch"].values
    # Weights that move fast make the band of the first epochs many times as high as any
    # distance; it may leave the frame.
    most = _ROOM * float(data["distance"].max())
    limits = reach(data["distance"], np.fmin(data["null"], most), low=0.0)
    bands, lines = [], []
    for role in (str(role) for role in data["role"].values):
        part = data.sel(role=role)
        colour = ROLES[role]
        bands += band(epochs, np.zeros(len(epochs)), part["null"], dims, NULL, 0.55)
        lines += line(epochs, part["distance"], dims, Line(colour, _WIDTH), dotted=False)
        lines += dots(epochs, part["distance"].where(part["outside"]), dims, colour, 4.2)
    if not lines:
        lines = line(epochs, np.zeros(len(epochs)), dims, NOTHING, dotted=False)
    onset = _mark(found, limits, dims)
    lanes, limits = over_epochs(marks, dims, epochs, limits, frame)
    return dressed(
        hv.Overlay([*bands, *onset, *lines, *lanes]),
        frame,
        title=name,
        points=8,
        axes=_axes(epochs, limits),
    )


def _mark(found: Onset | None, limits: tuple[float, float], dims: Sequence[Any]) -> list[Any]:
    if found is None or found.epoch is None:
        return []
    return [upright(float(found.epoch), limits, dims, ONSET)]


def _axes(epochs: Any, limits: tuple[float, float]) -> dict[str, Any]:
    return {**epoch_axis(epochs), "xlabel": "", "ylim": limits, "ylabel": "", "yticks": 4}


def _entries(
    data: xr.Dataset, with_error: bool, found: Onset | None, sentence: str, left_out: str
) -> list[Entry]:
    first, second = data.attrs["phases"]
    words = {"all": "distance", "yes": "distance of YES", "no": "distance of NO"}
    entries = [
        Entry(words[str(role)], Line(ROLES[str(role)], _WIDTH)) for role in data["role"].values
    ]
    if with_error:
        pair = [first, second]
        entries += [
            Entry(f"error, {phase}", Line(phase_colour(phase, pair), _WIDTH)) for phase in pair
        ]
    if np.isfinite(data["null"].values).any():
        entries.append(Entry("null band", fill=NULL))
    if found is not None and found.epoch is not None:
        entries.append(Entry("onset", ONSET))
    unit = data["distance"].attrs.get("units", "")
    text = (
        f"Across: epoch. Up: {data.attrs['distance']} of {first} and {second} ({unit}). Null band: "
        f"what windows of {first} differ among themselves. Dot: above it.{left_out}"
    )
    return [*entries, Entry(text), Entry(plain(sentence, 500))]


def _across(n: int) -> int:
    for most, across in ((1, 1), (4, 2), (12, 3), (24, 4)):
        if n <= most:
            return across
    return 5
