"""The colorful dimension by class: YES over NO of each, as tiles, with one key.

Imports HoloViews; what it draws comes from `colorful_classes_data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.colorful.classes_data import ClassPicture
from actrace.analysis.charts.colorful.marks import colour_limits, epoch_words, lines
from actrace.analysis.charts.colorful.parts import (
    PAINT,
    axes_of,
    batches_in_words,
    shown_batches,
)
from actrace.analysis.charts.colorful.tile import tile_frame
from actrace.analysis.charts.colorful.tiles import tiles_across
from actrace.analysis.charts.grammar.bar import colour_bar
from actrace.analysis.charts.grammar.caption import Entry, with_key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, run_name
from actrace.analysis.charts.grammar.style import LINES, NIGHT, ROLES, Line, mixed, plain, styled

__all__ = ["class_tiles"]

#: From hardly above the night to the role's colour, and on towards white.
_RAMPS: Final = {
    role: [
        *(mixed(NIGHT, ROLES[role], float(share)) for share in np.linspace(0.3, 1.0, 96)),
        *(mixed(ROLES[role], "#ffffff", float(share)) for share in np.linspace(0.0, 0.85, 64)),
    ]
    for role in ("no", "yes")
}
#: Means, lighter than the pictures they lie on.
_MEANS: Final = {
    "no": Line(mixed(ROLES["no"], "#ffffff", 0.55), 1.2),
    "yes": Line(mixed(ROLES["yes"], "#ffffff", 0.6), 1.2),
}


def class_tiles(
    run: xr.DataTree, pictures: Sequence[ClassPicture], n_batches: int, across: int | None
) -> Any:
    """Return a tile for each class or unit.

    Parameters
    ----------
    run : DataTree
        Names the chart.
    pictures : sequence of ClassPicture
        At least one.
    n_batches : int
        Batches of the whole phase.
    across : int, optional
        Tiles in a row.
    """
    across = min(across or tiles_across(len(pictures)), len(pictures))
    frame = tile_frame(across)
    ends = [colour_limits(data) for one in pictures for data in (one.no, one.yes)]
    highest = max(high for _, high in ends)
    # Parts of one element, where a bin is shared between cells, are not told apart.
    clim = (max(min(low for low, _ in ends), min(1.0, highest / 100)), highest)
    cells = [_tile(one, frame, clim, 8 if across < 5 else 7) for one in pictures]
    about = pictures[0].no
    what = "true class" if about.attrs["by"] == "class" else "output unit"
    title = " · ".join(
        part
        for part in (
            f"YES over NO by {what}",
            run_name(run),
            plain(about.attrs["output"]),
            about.attrs["phase"],
            batches_in_words(about, n_batches),
        )
        if part
    )
    rows, frames = with_key(cells, _entries(pictures), frame, across, paint=PAINT)
    return arrange(rows, frames, title=title)


def _tile(one: ClassPicture, frame: Frame, clim: tuple[float, float], points: float) -> Any:
    # All tiles have one value axis, by its name too: they pan and zoom together.
    y = hv.Dimension("value", label="activation value")
    edge = one.no["position_edge"].values
    limits = (float(edge[0]), float(edge[-1]))
    x = shown_batches(one.no)
    drawn: list[Any] = [
        styled(
            hv.Curve([(x[0], limits[0]), (x[1], limits[0])], "batch", y),
            *Line(NIGHT, 0.1).options(),
        )
    ]
    for role, data in (("no", one.no), ("yes", one.yes)):
        drawn += _role(role, data, y, frame, clim)
    drawn += [*lines(_unlined(one.no), y, weight=0.75)]
    for role, data in (("no", one.no), ("yes", one.yes)):
        mean = data["mean"].values
        inside = (mean >= one.no["value_edge"].values[0]) & (
            mean <= one.no["value_edge"].values[-1]
        )
        if data.attrs["scale"] == "linear" and inside.any():
            at = data["first_batch"].values + data["batches"].values / 2
            curve = hv.Curve((at, np.where(inside, mean, np.nan)), "batch", y)
            drawn.append(styled(curve, *_MEANS[role].options()))
    axes = axes_of(one.no, x, limits, 6) | {"xlabel": "", "ylabel": "", "xticks": 4}
    by = one.no.attrs["by"]
    return dressed(
        hv.Overlay(drawn), frame, title=f"{by} {plain(one.name)}", points=points, axes=axes
    )


def _role(
    role: str, data: xr.Dataset, y: hv.Dimension, frame: Frame, clim: tuple[float, float]
) -> list[Any]:
    shown = data["shown"].values.astype(np.float32)
    if not (shown > 0).any():
        return []
    start = float(data["first_batch"].values[0])
    edge = data["position_edge"].values
    end = start + data.attrs["batches_per_column"] * data.sizes["column"]
    image = hv.Image(
        np.where(shown > 0, shown, np.float32("nan"))[::-1],
        bounds=(start, float(edge[0]), end, float(edge[-1])),
        kdims=["batch", y],
        vdims=[hv.Dimension(f"elements of {role}")],
    )
    mpl: dict[str, Any] = {"logz": True, "clim": clim, "colorbar": False}
    bokeh = dict(mpl)
    if role == "yes":
        mpl, bokeh = colour_bar(frame, clim, bar=0.085 / frame.width, label="", points=6, log=True)
    ramp = {"cmap": _RAMPS[role]}
    clear = {"NaN": "rgba(0,0,0,0)"}
    return [
        styled(
            image,
            {**mpl, **ramp, "interpolation": "nearest"},
            {**bokeh, **ramp, "clipping_colors": clear, "tools": ["hover"]},
        )
    ]


def _unlined(data: xr.Dataset) -> xr.Dataset:
    """Return the picture with no line but zero and the epochs."""
    none = np.full(data.sizes["column"], np.nan)
    return data.assign(dict.fromkeys(("mean", "std", "min", "max"), ("column", none)))


def _entries(pictures: Sequence[ClassPicture]) -> list[Entry]:
    about = pictures[0].no.attrs
    entries = [
        Entry("yes, many", fill=_RAMPS["yes"][-32]),
        Entry("yes, few", fill=_RAMPS["yes"][0]),
        Entry("no, many", fill=_RAMPS["no"][-32]),
        Entry("no, few", fill=_RAMPS["no"][0]),
        Entry("zero", LINES["zero"]),
        Entry(epoch_words(pictures[0].no), LINES["epoch"]),
    ]
    if about["scale"] == "linear":
        entries += [Entry(f"mean of {role}", line) for role, line in _MEANS.items()]
    label = str(pictures[0].no["shown"].attrs["long_name"])
    text = (
        f"Across: batch. Up: activation value. Colour: {label}, log scale, one for all and for "
        "both; yes lies over no; black: none."
    )
    if len(pictures) < about["n"]:
        text += f" The {len(pictures)} worst of {about['n']}."
    return [*entries, Entry(text)]
