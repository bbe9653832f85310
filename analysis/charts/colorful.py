"""The colorful-dimension chart: what a layer's values did, batch by batch.

After Stefano Giomo's "The colorful dimension" (fast.ai forum, 2019): batches
across, activation value up, colour the log of how many elements are there.
Assembles pictures from `colorful_data`; computes nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.caption import Entry, Paint, key, with_key
from actrace.analysis.charts.colorful_data import colorful_layers
from actrace.analysis.charts.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.marks import lines, outside, picture, strips
from actrace.analysis.charts.style import LINES, NIGHT, STRIP, Line, plain, styled
from actrace.analysis.charts.ticks import asinh_ticks
from actrace.analysis.select import phase_names, select_layers, select_phases
from actrace.errors import ChartError
from actrace.store.progress import track

__all__ = ["colorful_chart"]

_LARGE: Final = Frame(9.6, 4.4, left=0.85, right=1.15, top=0.42, bottom=0.24)
_BELOW: Final = Frame(9.6, 0.75, left=0.85, right=1.15, top=0.08, bottom=0.48)
#: Inches of a chart of tiles, without what stands outside.
_WIDE: Final = 12.0
#: Columns in an inch of a tile.
_TILE_COLUMNS: Final = 220
_BATCH: Final = "batch"
_PAINT: Final = Paint(NIGHT, "#f2f4f8")


def colorful_chart(
    run: xr.DataTree,
    *,
    layer: str | None = None,
    layers: str | Iterable[str] | None = None,
    phase: str = "train",
    batches: tuple[int, int] | None = None,
    scale: str = "linear",
    value_range: tuple[float, float] | None = None,
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
    phase : str, default "train"
    batches : (first, stop), optional
        Part of the phase's batches, by index; draw a part to look closer.
    scale : {"linear", "asinh"}, default "linear"
        The value axis. ``"asinh"`` is for a huge range: linear near zero,
        logarithmic far from it, drawn as elements per activation unit.
    value_range : (low, high), optional
        Ends of the value axis, activation units; the occupied range if left out.
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
        the key to the lines. In a notebook, load a backend once and it displays
        without a network: ``hv.extension("bokeh", inline=True)`` to zoom and read
        values, or ``hv.extension("matplotlib")``.

    Raises
    ------
    ChartError
        Both `layer` and `layers`, or an argument that cannot be drawn.
    LayerNotFoundError, PhaseNotFoundError

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
    if layer is not None and layers is not None:
        raise ChartError(
            f"give layer= for one large chart or layers= for tiles, not both "
            f"(got layer={layer!r} and layers={layers!r})"
        )
    if across is not None and across < 1:
        raise ChartError(f"across must be at least 1, got {across!r}")
    if not phase_names(run):
        return _nothing(run, "no batch has been recorded yet")
    (name,) = select_phases(run, phase)
    chosen = select_layers(run, layer if layer is not None else layers)
    n_batches = int(run.children[name].sizes["batch"])
    if not n_batches:
        return _nothing(run, f"no batch of phase {name!r} has been recorded yet")
    if not len(chosen):
        return _nothing(run, "this run has no layers")
    large = layer is not None
    if large and len(chosen) > 1:
        raise ChartError(
            f"layer={layer!r} fits {len(chosen)} layers; name one of them, or give "
            f"layers={layer!r} to see them as tiles"
        )
    across = min(across or _tiles_across(len(chosen)), len(chosen))
    frame = _LARGE if large else _tile(across)
    datasets = colorful_layers(
        run,
        layers=[str(run.dataset["layer"].values[i]) for i in chosen],
        phase=name,
        batches=batches,
        scale=scale,
        value_range=value_range,
        max_columns=max_columns if large else min(max_columns, round(frame.width * _TILE_COLUMNS)),
        max_rows=240 if large else 120,
    )
    if large:
        (data,) = datasets
        return _one(run, data, n_batches)
    drawn = track(datasets, len(chosen), f"drawing {len(chosen)} layers", progress=progress)
    return _tiles(run, drawn, across, frame, n_batches)


def _one(run: xr.DataTree, data: xr.Dataset, n_batches: int) -> Any:
    y = _value_dimension(data)
    edge = data["position_edge"].values
    limits = (float(edge[0]), float(edge[-1]))
    across = _across(data)
    title = " · ".join(part for part in (_name(data), _kind(data)) if part)
    where = " · ".join(
        part for part in (run_name(run), data.attrs["phase"], _batches(data, n_batches)) if part
    )
    label = str(data["shown"].attrs["long_name"])
    main = hv.Overlay(
        [
            picture(data, y, _LARGE, bar=0.018, label=label, points=8),
            *lines(data, y),
            *_epoch_names(data, y, limits),
            *_note(data, y, limits, across, 13),
        ]
    )
    axes = _axes(data, across, limits, 9)
    rows = [
        [dressed(main, _LARGE, title=f"{title}\n{where}", points=10, axes=axes | {"xlabel": ""})],
        [_below(data, across)],
    ]
    under = replace(_LARGE, top=0.04, bottom=0.1)
    legend, height = key(_entries(data, tile=False), under, columns=6, paint=_PAINT)
    return arrange([*rows, [legend]], [_LARGE, _BELOW, replace(under, height=height)])


def _below(data: xr.Dataset, across: tuple[float, float]) -> Any:
    """Return the strip under a large chart: shares outside the picture in percent."""
    shares = outside(data)
    y = hv.Dimension("outside", label="outside (%)")
    x = data["first_batch"].values + data["batches"].values / 2
    if len(x) == 1:
        x = np.array(across)
    drawn = [
        _percent(x, np.broadcast_to(100 * share, x.shape), y, STRIP[name])
        for name, share in shares.items()
    ]
    top = max([float(np.nanmax(share)) for share in shares.values()], default=0.0) * 100
    if not shares:
        # An axis needs something to stand for; a line at zero says it best.
        drawn.append(_percent(np.array(across), np.zeros(2), y, STRIP["above"]))
        drawn.append(_words("no element lies outside the picture", across, (0.0, 1.0), y, 8))
    top = 1.0 if top == 0 else top
    return dressed(
        hv.Overlay(drawn),
        _BELOW,
        title="",
        points=10,
        axes={
            "xlim": across,
            "ylim": (0.0, top * 1.12),
            "yticks": [(0.0, "0"), (top, f"{top:.2g}")] if shares else [(0.0, "0")],
            "xlabel": _batch_label(data),
            "bgcolor": NIGHT,
        },
    )


def _percent(x: Any, share: Any, y: hv.Dimension, colour: str) -> Any:
    line = Line(colour, 1.2)
    return styled(hv.Curve((x, share), _BATCH, y), *line.options())


def _tiles(
    run: xr.DataTree, datasets: Iterable[xr.Dataset], across: int, frame: Frame, n_batches: int
) -> Any:
    cells, last = [], None
    extra = []
    for data in datasets:
        y = _value_dimension(data)
        limits_x = _across(data)
        strip, limits = strips(data, y)
        overlay = hv.Overlay(
            [
                picture(data, y, frame, bar=0.085 / frame.width, label="", points=6),
                *lines(data, y, weight=0.75),
                *strip,
                *_note(data, y, limits, limits_x, 10),
            ]
        )
        axes = _axes(data, limits_x, limits, 6) | {"xlabel": "", "ylabel": "", "xticks": 4}
        title = f"{_name(data)}\n{_kind(data)}"
        cells.append(dressed(overlay, frame, title=title, points=8 if across < 5 else 7, axes=axes))
        extra += [name for name in outside(data) if name not in extra]
        last = data
    if last is None:
        return _nothing(run, "this run has no layers")
    title = " · ".join(
        part
        for part in (
            "The colorful dimension",
            run_name(run),
            last.attrs["phase"],
            _batches(last, n_batches),
        )
        if part
    )
    entries = _entries(last, tile=True, outside_names=tuple(extra))
    rows, frames = with_key(cells, entries, frame, across, paint=_PAINT)
    return arrange(rows, frames, title=title)


def _entries(
    data: xr.Dataset, *, tile: bool, outside_names: tuple[str, ...] | None = None
) -> list[Entry]:
    names = tuple(outside(data)) if outside_names is None else outside_names
    words = {"above": "above", "below": "below", "nan": "NaN"}
    entries = [
        Entry("mean", LINES["mean"]),
        Entry("mean ± std", LINES["spread"]),
        Entry("min and max", LINES["extreme"]),
        Entry("zero", LINES["zero"]),
        Entry("epoch begins", LINES["epoch"]),
        *(Entry(f"share {words[name]}", Line(STRIP[name], 3.0)) for name in names),
    ]
    label = str(data["shown"].attrs["long_name"])
    edge = data["value_edge"].values
    cell = f", {edge[1] - edge[0]:.2g} high" if data.attrs["scale"] == "linear" else ""
    if tile:
        text = f"Across: batch. Up: activation value. Colour: {label}, log scale; black: none."
        if names:
            text += " Strips: share of elements outside the picture."
    else:
        text = f"Colour: {label}{cell}, log scale; black: none."
        if names:
            text += " Below: share of elements outside the picture."
    return [*entries, Entry(text)]


def _nothing(run: xr.DataTree, why: str) -> Any:
    frame = Frame(9.6, 1.6, left=0.3, right=0.3, top=0.45, bottom=0.3)
    title = " · ".join(part for part in ("The colorful dimension", run_name(run)) if part)
    y = hv.Dimension("value")
    blank = hv.Overlay(
        [
            styled(hv.Curve([(0.0, 0.0), (1.0, 0.0)], _BATCH, y), *Line(NIGHT, 0.5).options()),
            _words(why, (0.0, 1.0), (-1.0, 1.0), y, 12),
        ]
    )
    axes = {
        "xaxis": None,
        "yaxis": None,
        "xlim": (0.0, 1.0),
        "ylim": (-1.0, 1.0),
        "bgcolor": NIGHT,
    }
    return arrange([[dressed(blank, frame, title=title, points=11, axes=axes)]], [frame])


def _note(
    data: xr.Dataset,
    y: hv.Dimension,
    limits: tuple[float, float],
    across: tuple[float, float],
    points: float,
) -> list[Any]:
    note = str(data.attrs["note"])
    return [_words(note, across, limits, y, points, high=0.72)] if note else []


def _words(
    text: str,
    across: tuple[float, float],
    limits: tuple[float, float],
    y: hv.Dimension,
    points: float,
    *,
    high: float = 0.5,
) -> Any:
    """Return words in the middle of a frame."""
    place = (sum(across) / 2, limits[0] + high * (limits[1] - limits[0]), text)
    return styled(
        hv.Labels([place], kdims=[_BATCH, y]),
        {"color": "#f2f4f8", "size": points},
        {"text_color": "#f2f4f8", "text_font_size": f"{points}pt"},
    )


def _epoch_names(data: xr.Dataset, y: hv.Dimension, limits: tuple[float, float]) -> list[Any]:
    """Return the epochs' numbers at the top of the frame, as many as fit."""
    starts, epochs = data["epoch_start"].values, data["epoch"].values
    if len(starts) < 2:
        return []
    every = math.ceil(len(starts) / 16)
    width = (_across(data)[1] - _across(data)[0]) * 0.004
    height = limits[1] - 0.035 * (limits[1] - limits[0])
    places = [
        (float(start) + width, height, ("epoch " if i == 0 else "") + str(int(epoch)))
        for i, (start, epoch) in enumerate(zip(starts, epochs, strict=True))
        if i % every == 0
    ]
    return [
        styled(
            hv.Labels(places, kdims=[_BATCH, y]),
            {"color": "#c9d1dc", "size": 7, "horizontalalignment": "left"},
            {"text_color": "#c9d1dc", "text_font_size": "7pt", "text_align": "left"},
        )
    ]


def _axes(
    data: xr.Dataset, across: tuple[float, float], limits: tuple[float, float], most: int
) -> dict[str, Any]:
    axes: dict[str, Any] = {
        "xlim": across,
        "ylim": limits,
        "bgcolor": NIGHT,
        "xlabel": _batch_label(data),
        "ylabel": "activation value",
    }
    if data.attrs["scale"] == "asinh":
        edge = data["position_edge"].values
        axes["yticks"] = asinh_ticks(
            float(edge[0]), float(edge[-1]), data.attrs["linear_width"], most=most
        )
        axes["ylabel"] = "activation value (asinh axis)"
    return axes


def _value_dimension(data: xr.Dataset) -> hv.Dimension:
    # Named after the layer, or HoloViews would give all tiles one axis; it cannot take
    # a control character.
    return hv.Dimension(f"value of {_name(data)}", label="activation value")


def _across(data: xr.Dataset) -> tuple[float, float]:
    first, last = data["first_batch"].values, data["batches"].values
    if not len(first):
        return 0.0, 1.0
    return float(first[0]), float(first[-1] + last[-1])


def _batch_label(data: xr.Dataset) -> str:
    schedule, phase = data.attrs["schedule"], data.attrs["phase"]
    return f"recorded batch of {phase}: {schedule}" if schedule else f"batch of {phase}"


def _batches(data: xr.Dataset, n_batches: int) -> str:
    shown = int(data["batches"].sum())
    text = f"{shown:,} batches" if shown != 1 else "1 batch"
    if shown < n_batches:
        text += f" of {n_batches:,}"
    k = data.attrs["batches_per_column"]
    return text if k == 1 else f"{text}, {k} a column"


def _name(data: xr.Dataset) -> str:
    return plain(data.attrs["layer"])


def _kind(data: xr.Dataset) -> str:
    kind, shape = plain(data.attrs["layer_type"]), plain(data.attrs["layer_shape"])
    return " · ".join(part for part in (kind, shape.replace("x", "\u00d7")) if part)


def _tiles_across(n_layers: int) -> int:
    for most, across in ((1, 1), (4, 2), (12, 3), (24, 4)):
        if n_layers <= most:
            return across
    return 5


def _tile(across: int) -> Frame:
    left, right = 0.5, 0.46
    width = min(_WIDE / across - left - right, 6.5)
    return Frame(width, max(width * 0.55, 1.15), left, right, 0.42, 0.3)
