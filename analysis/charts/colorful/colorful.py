"""The colorful-dimension chart: what a layer's values did, batch by batch.

After Stefano Giomo's "The colorful dimension" (fast.ai forum, 2019): batches
across, activation value up, colour the log of how many elements are there.
Assembles pictures from `colorful_data`; computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import xarray as xr

from actrace.analysis.charts.colorful.classes import class_tiles
from actrace.analysis.charts.colorful.classes_data import colorful_classes
from actrace.analysis.charts.colorful.data import colorful_layers
from actrace.analysis.charts.colorful.large import large
from actrace.analysis.charts.colorful.tile import tile_columns
from actrace.analysis.charts.colorful.tiles import tiles, tiles_across
from actrace.analysis.charts.findings.marked_data import marks_of
from actrace.analysis.charts.grammar.blank import nothing
from actrace.analysis.charts.grammar.frame import run_name
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names, select_layers, select_phases
from actrace.errors import ChartError
from actrace.store.progress import track

__all__ = ["colorful_chart"]

_HEADING: Final = "The colorful dimension"


def colorful_chart(
    run: xr.DataTree,
    *,
    layer: str | None = None,
    layers: str | Iterable[str] | None = None,
    by: str | None = None,
    phase: str = "train",
    batches: tuple[int, int] | None = None,
    scale: str = "linear",
    value_range: tuple[float, float] | None = None,
    findings: Iterable[Finding] = (),
    most: int = 24,
    across: int | None = None,
    max_columns: int = 1200,
    progress: bool | None = None,
) -> Any:
    """Return the colorful-dimension chart: one layer large, or layers as tiles.

    Batches across, activation value up, colour the log of the count. Batches of
    a long run share columns, at most `max_columns`, their counts summed exactly;
    one layer is read at a time.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layer : str, optional
        Name of one layer, drawn large.
    layers : str or iterable of str, optional
        Names or shell patterns (``conv*``) of layers, drawn as tiles; None is all.
    by : {None, "class", "unit"}, default None
        The output layer by true class or by output unit, a tile each: YES (orange) over NO
        (blue). Needs targets.
    phase : str, default "train"
    batches : (first, stop), optional
        Part of the phase's batches, by index; draw a part to look closer.
    scale : {"linear", "asinh"}, default "linear"
        The value axis. ``"asinh"`` is for a huge range: linear near zero,
        logarithmic far from it, drawn as elements per activation unit.
    value_range : (low, high), optional
        Ends of the value axis, activation units; the occupied range if left out.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. Those of a layer and the phase are marked on
        its picture: a lane for each rule, a bar over the batches that it is about.
    most : int, default 24
        Most classes or units; of more, the worst.
    across : int, optional
        Tiles in a row.
    max_columns : int, default 1200
        Most columns of a picture; a tile has fewer.
    progress : bool, optional
        A progress bar: by default after two seconds on a terminal.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is
        the key to the lines. In a notebook it draws itself, to zoom and read values
        in, without a network or an extension.

    Raises
    ------
    ChartError
        Both `layer` and `layers`, or an argument that cannot be drawn.
    LayerNotFoundError, PhaseNotFoundError
    NotRecordedError
        By class, and no targets were recorded, or the run is a regression.

    References
    ----------
    Stefano Giomo, The colorful dimension, forums.fast.ai/t/42908.

    Examples
    --------
    >>> from actrace import save_chart
    >>> chart = colorful_chart(run, layer="conv0")
    >>> save_chart(chart, "conv0.png").name
    'conv0.png'
    """
    found = tuple(findings)
    if layer is not None and layers is not None:
        raise ChartError(
            f"give layer= for one large chart or layers= for tiles, not both "
            f"(got layer={layer!r} and layers={layers!r})"
        )
    if most < 1 or (across is not None and across < 1):
        raise ChartError(f"most and across must be at least 1, got {most!r} and {across!r}")
    if by is not None and not (layer is None and layers is None and not found):
        raise ChartError(
            f"by={by!r} is about the output layer: leave layer=, layers= and findings= out"
        )
    title = " · ".join(part for part in (_HEADING, run_name(run)) if part)
    if not phase_names(run):
        return nothing(title, "no batch has been recorded yet")
    (name,) = select_phases(run, phase)
    chosen = select_layers(run, layer if layer is not None else layers)
    n_batches = int(run.children[name].sizes["batch"])
    if not n_batches:
        return nothing(title, f"no batch of phase {name!r} has been recorded yet")
    if not len(chosen):
        return nothing(title, "this run has no layers")
    if layer is not None and len(chosen) > 1:
        raise ChartError(
            f"layer={layer!r} fits {len(chosen)} layers; name one of them, or give "
            f"layers={layer!r} to see them as tiles"
        )
    if by is not None:
        pictures = colorful_classes(
            run,
            by=by,
            phase=name,
            batches=batches,
            scale=scale,
            value_range=value_range,
            most=most,
            max_columns=min(max_columns, 600),
        )
        return class_tiles(run, pictures, n_batches, across)
    across = min(across or tiles_across(len(chosen)), len(chosen))
    names = [str(run.dataset["layer"].values[i]) for i in chosen]
    marks = {one: marks_of(run, found, layer=one, phase=name) for one in names} if found else {}
    datasets = colorful_layers(
        run,
        layers=names,
        phase=name,
        batches=batches,
        scale=scale,
        value_range=value_range,
        max_columns=max_columns if layer is not None else min(max_columns, tile_columns(across)),
        max_rows=240 if layer is not None else 120,
    )
    if layer is not None:
        (data,) = datasets
        return large(run, data, n_batches, marks.get(names[0], ()))
    drawn = track(datasets, len(chosen), f"drawing {len(chosen)} layers", progress=progress)
    return tiles(run, drawn, across, n_batches, heading=_HEADING, marks=marks)
