"""The map of units: which are active, which are dead, and since when.

A row is a unit (channel or neuron), a column some batches or an epoch. Assembles
pictures from `units_data`; computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.activity.units_data import units_data
from actrace.analysis.charts.colorful.tile import tile_frame
from actrace.analysis.charts.colorful.tiles import tiles_across
from actrace.analysis.charts.findings.marked import lanes_over, marked_entries
from actrace.analysis.charts.findings.marked_data import Mark, epoch_marks, in_view, marks_of
from actrace.analysis.charts.grammar.blank import nothing, words
from actrace.analysis.charts.grammar.caption import Entry, Paint, key, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.heat import heat
from actrace.analysis.charts.grammar.style import FIRE, NIGHT, Line, plain, styled
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names, select_layers, select_phases
from actrace.errors import ChartError
from actrace.store.progress import track
from actrace.store.schema import UNIT_GROUP

__all__ = ["units_chart"]

_LARGE: Final = Frame(9.6, 4.4, left=0.85, right=1.15, top=0.42, bottom=0.24)
_BELOW: Final = Frame(9.6, 0.75, left=0.85, right=1.15, top=0.08, bottom=0.48)
_PAINT: Final = Paint(NIGHT, "#f2f4f8")
#: Without its darkest fifth, so that a unit that is hardly active differs from a dead one.
_ACTIVE: Final = FIRE[46:]
#: Where no unit was called.
_GONE: Final = "#5d6673"
_DEAD: Final = Line("#56b4e9", 1.4)
#: Units that are named one by one; of more, only their number is told.
_NAMED: Final = 40


def units_chart(
    run: xr.DataTree,
    *,
    layer: str | None = None,
    layers: str | Iterable[str] | None = None,
    phase: str = "train",
    by: str | int | None = None,
    sort: str = "death",
    findings: Iterable[Finding] = (),
    max_columns: int = 600,
    progress: bool | None = None,
) -> Any:
    """Return the map of units: one layer large, or layers as tiles.

    A row is a unit, colour its share of active elements, black where it is dead. Of a
    layer with more units than rows, neighbours share one: black where all are dead. The
    curve below counts the dead one by one.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layer : str, optional
        Name of one layer, drawn large.
    layers : str or iterable of str, optional
        Names or shell patterns of layers, drawn as tiles; None is all that have units.
    phase : str, default "train"
    by : "epoch" or int, optional
        What a column is: an epoch, or so many batches; as fine as it was recorded, and
        fits, if left out.
    sort : {"death", "index"}, default "death"
        From the top: the units that died first, then those that live, the least active
        first; or as they stand in the layer.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them. Those of a layer and the phase are marked
        over its map: a lane for each rule, a bar over the time that it is about.
    max_columns : int, default 600
    progress : bool, optional
        A progress bar: by default after two seconds on a terminal.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key.

    Raises
    ------
    ChartError
        Both `layer` and `layers`, a layer without units, another `sort`.
    NotRecordedError
        The phase has no units recorded.
    LayerNotFoundError, PhaseNotFoundError, ValueError

    References
    ----------
    A unit without an active element is dead: monitorch, OutputActivation; Lett, dead
    neurons over an epoch.

    Examples
    --------
    >>> from actrace import save_chart
    >>> save_chart(units_chart(run, layer="conv0"), "units.png").name
    'units.png'
    """
    if layer is not None and layers is not None:
        raise ChartError(
            f"give layer= for one large chart or layers= for tiles, not both "
            f"(got layer={layer!r} and layers={layers!r})"
        )
    title = " · ".join(part for part in ("Units", run_name(run)) if part)
    if not phase_names(run):
        return nothing(title, "no batch has been recorded yet")
    (name,) = select_phases(run, phase)
    if not run.children[name].sizes["batch"]:
        return nothing(title, f"no batch of phase {name!r} has been recorded yet")
    chosen = select_layers(run, layer if layer is not None else layers)
    names = [str(run.dataset["layer"].values[i]) for i in chosen if _has_units(run, name, i)]
    options: dict[str, Any] = {"phase": name, "by": by, "sort": sort}
    if layer is not None:
        if len(chosen) > 1:
            raise ChartError(
                f"layer={layer!r} fits {len(chosen)} layers; name one of them, or give "
                f"layers={layer!r} to see them as tiles"
            )
        if not names:
            raise ChartError(f"layer {layer!r} has no units (channels or neurons)")
        data = units_data(run, layer=names[0], max_columns=max_columns, **options)
        return _one(run, data, _marks(run, tuple(findings), data))
    if not names:
        return nothing(title, "none of these layers has units")
    options |= {"max_columns": min(max_columns, 240), "max_rows": 128}
    drawn = track(names, len(names), f"drawing {len(names)} layers", progress=progress)
    return _tiles(run, [units_data(run, layer=one, **options) for one in drawn], tuple(findings))


def _has_units(run: xr.DataTree, phase: str, layer: int) -> bool:
    node = run.children[phase].children.get(UNIT_GROUP)
    # Without any, `units_data` says what is missing.
    return node is None or bool((node["unit_layer"].to_numpy() == layer).any())


def _marks(run: xr.DataTree, findings: Sequence[Finding], data: xr.Dataset) -> tuple[Mark, ...]:
    """Return what was found in a layer, along the map's axis."""
    layer, phase = str(data.attrs["layer"]), str(data.attrs["phase"])
    if data.attrs["by"] == "batch":
        return in_view(marks_of(run, findings, layer=layer, phase=phase), _across(data))
    first, stop = _across(data)
    ends = int(first), int(stop) - 1
    found = epoch_marks(findings, layer=layer, phases=[phase], epochs=ends)
    # An epoch stands between its number and the next here.
    return tuple(
        replace(mark, spans=tuple((a + 0.5, b + 0.5) for a, b in mark.spans)) for mark in found
    )


def _one(run: xr.DataTree, data: xr.Dataset, marks: Sequence[Mark] = ()) -> Any:
    across = _across(data)
    y = hv.Dimension("rank", label=_sorted(data))
    x = _x(data)
    axes = _axes(data, across) | {"ylabel": _sorted(data)}
    found, axes["ylim"] = lanes_over(marks, x, y, across, axes["ylim"], _LARGE, points=8)
    drawn = _map(data, x, y, _LARGE, bar=0.018, label="share of active elements")
    main = hv.Overlay([*drawn, *found])
    what = " · ".join(part for part in (plain(data.attrs["layer"]), _units(data)) if part)
    where = " · ".join(part for part in (run_name(run), data.attrs["phase"]) if part)
    under = replace(_LARGE, top=0.04, bottom=0.1)
    entries = _entries(data, tile=False, marks=marks)
    legend, height = key(entries, under, columns=4, paint=_PAINT)
    rows = [
        [dressed(main, _LARGE, title=f"{what}\n{where}", points=10, axes=axes)],
        [_below(data, x, across)],
        [legend],
    ]
    return arrange(rows, [_LARGE, _BELOW, replace(under, height=height)])


def _tiles(run: xr.DataTree, found: list[xr.Dataset], findings: Sequence[Finding]) -> Any:
    across = tiles_across(len(found))
    frame = tile_frame(across)
    cells = []
    held: list[Mark] = []
    for data in found:
        y = hv.Dimension(f"rank in {data.attrs['layer']}", label="unit")
        drawn = _map(data, _x(data), y, frame, bar=0.0, label="")
        last = data["dead_share"].values[-1:]
        dead = f" · {last[0]:.0%} dead at the end" if len(last) and last[0] > 0 else ""
        across_x = _across(data)
        axes = _axes(data, across_x, 6) | {"ylabel": "", "xticks": 4}
        marks = _marks(run, findings, data)
        held += marks
        lanes, axes["ylim"] = lanes_over(marks, _x(data), y, across_x, axes["ylim"], frame)
        title = f"{plain(data.attrs['layer'])}\n{_units(data)}{dead}"
        drawn = hv.Overlay([*drawn, *lanes])
        cells.append(dressed(drawn, frame, title=title, points=8 if across < 5 else 7, axes=axes))
    title = " · ".join(part for part in ("Units", run_name(run), found[0].attrs["phase"]) if part)
    entries = _entries(found[0], tile=True, marks=held)
    rows, frames = with_key(cells, entries, frame, across, paint=_PAINT)
    return arrange(rows, frames, title=title)


def _map(
    data: xr.Dataset, x: hv.Dimension, y: hv.Dimension, frame: Frame, *, bar: float, label: str
) -> list[Any]:
    """Return the picture: activity, the dead on the night, and where nothing was called."""
    across, up = _across(data), (0.0, float(max(1, data.attrs["units"])))
    share = data["share"].values
    if not share.size or np.isnan(share).all():
        ground = hv.Curve([(across[0], up[0]), (across[1], up[0])], x, y)
        return [
            styled(ground, *Line(NIGHT, 0.1).options()),
            words("never called", across, up, x, y, 12),
        ]
    # The last row may hold fewer units than it is high.
    up = (up[1] - float(data.sizes["row"] * data.attrs["units_per_row"]), up[1])
    drawn = []
    if np.isnan(share).any():
        gone = np.where(np.isnan(share), 1.0, np.nan)
        both = [_GONE, _GONE]
        drawn.append(
            heat(
                gone,
                across,
                up,
                x,
                y,
                frame,
                cmap=both,
                clim=(0.0, 1.0),
                label="",
                name="gone",
                bar=0,
            )
        )
    alive = np.where(share > 0, share, np.nan)
    drawn.append(
        heat(
            alive,
            across,
            up,
            x,
            y,
            frame,
            cmap=_ACTIVE,
            clim=(0.0, 1.0),
            label=label,
            name="active",
            bar=bar,
        )
    )
    return drawn


def _below(data: xr.Dataset, x: hv.Dimension, across: tuple[float, float]) -> Any:
    """Return the strip under a large map: dead units in percent."""
    y = hv.Dimension("dead", label="dead (%)")
    at = data["start"].values + data.attrs["width"] / 2
    share = 100 * data["dead_share"].values
    if len(at) == 1:
        at, share = np.array(across), np.repeat(share, 2)
    top = float(np.nanmax(share, initial=0.0)) or 1.0
    drawn = [styled(hv.Curve((at, share), x, y), *_DEAD.options())]
    axes = {
        "xlim": across,
        "ylim": (0.0, top * 1.12),
        "yticks": [(0.0, "0"), (top, f"{top:.3g}")],
        "xlabel": _x_label(data),
        "bgcolor": NIGHT,
    }
    return dressed(hv.Overlay(drawn), _BELOW, title="", points=10, axes=axes)


def _entries(data: xr.Dataset, *, tile: bool, marks: Sequence[Mark]) -> list[Entry]:
    pool = data.attrs["units_per_row"]
    fills = [
        Entry("hardly active", fill=_ACTIVE[0]),
        Entry("always active", fill=_ACTIVE[-1]),
        Entry("not called", fill=_GONE),
    ]
    if not tile:
        fills.append(Entry("dead units, percent", _DEAD))
    order = {
        "death": "From the top: the units that died first, then the living, least active first.",
        "index": "From the top: units as they stand in the layer.",
    }[data.attrs["sort"]]
    row = "A row is a unit." if pool == 1 and not tile else ""
    if pool > 1 and not tile:
        row = f"A row is {pool} units: their mean, black where all of them are dead."
    if tile:
        row = "Units that share a row: their mean, black where all are dead."
    column = "an epoch" if data.attrs["by"] == "epoch" else f"{data.attrs['width']} batches"
    column = "a batch" if column == "1 batches" else column
    text = f"Colour: share of active elements; black: none, the unit is dead. A column is {column}."
    return [*fills, *marked_entries(marks), Entry(f"{text} {row} {order}")]


def _axes(data: xr.Dataset, across: tuple[float, float], most: int = 20) -> dict[str, Any]:
    """Return the options of a map's axes, with at most so many units named."""
    n = int(data.attrs["units"])
    if n <= _NAMED:
        every = max(1, -(-n // most))
        ticks = [
            (n - i - 0.5, str(int(channel)))
            for i, channel in enumerate(data["channel"].values)
            if i % every == 0
        ]
    else:
        ticks = [(float(n - at), f"{at:,}") for at in _steps(n)]
    return {
        "xlim": across,
        "ylim": (0.0, float(max(1, n))),
        "yticks": ticks,
        "xlabel": "",
        "bgcolor": NIGHT,
    }


def _steps(n: int) -> list[int]:
    """Return round numbers from 0 to n, six or fewer."""
    size = 10 ** (len(str(n)) - 1)
    step = next(s for s in (size // 5, size // 2, size, size * 2, size * 5) if s and n / s <= 5.5)
    return list(range(0, n + 1, step))


def _sorted(data: xr.Dataset) -> str:
    if data.attrs["units"] <= _NAMED:
        return "unit"
    return "units, first to die on top" if data.attrs["sort"] == "death" else "unit"


def _units(data: xr.Dataset) -> str:
    n = int(data.attrs["units"])
    kind = plain(data.attrs["layer_type"])
    return f"{kind} · {n:,} unit{'s' * (n != 1)}"


def _x(data: xr.Dataset) -> hv.Dimension:
    return hv.Dimension(data.attrs["by"])


def _x_label(data: xr.Dataset) -> str:
    by, phase = data.attrs["by"], data.attrs["phase"]
    return f"{by} of {phase}" if by == "batch" else f"epoch, {phase}"


def _across(data: xr.Dataset) -> tuple[float, float]:
    start = data["start"].values
    if not len(start):
        return 0.0, 1.0
    return float(start[0]), float(start[-1] + data.attrs["width"])
