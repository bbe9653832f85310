"""What twin-peaks charts share: a panel of peaks, a panel of classes, and their keys.

Imports HoloViews; computes nothing but the height of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.findings.marked import lanes_over
from actrace.analysis.charts.findings.marked_data import Mark
from actrace.analysis.charts.grammar.caption import Entry
from actrace.analysis.charts.grammar.frame import Frame, dressed
from actrace.analysis.charts.grammar.style import (
    PHASES,
    ROLES,
    Line,
    class_line,
    darker,
    lighter,
    plain,
    shorten,
    styled,
)

__all__ = [
    "OTHERS",
    "ZERO",
    "class_curves",
    "class_entries",
    "class_panel",
    "class_title",
    "colour_of",
    "filled_phase",
    "height_of",
    "panel_title",
    "peaks_marks",
    "peaks_panel",
    "phase_windows",
]

ZERO: Final = Line("#8a919c", 0.9, "dotted")
#: NO of all classes, behind the YES of each.
OTHERS: Final = "#8a919c"
_DASHES: Final = {"train": "solid", "valid": "dashed"}
#: Room above the highest curve.
_ROOM: Final = 1.08
_VALUE: Final = hv.Dimension("value", label="activation value")
_DENSITY: Final = hv.Dimension("density")


def peaks_panel(
    data: xr.Dataset,
    frame: Frame,
    title: str,
    *,
    ground: str = "#ffffff",
    yticks: int = 3,
    top: float | None = None,
    points: float = 8,
    marks: Sequence[Mark] = (),
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
    top : float, optional
        End of the axis; that of the highest curve if left out.
    points : float, default 8
        Size of the title.
    marks : sequence of Mark
        What was found of the panel's epoch, a bar across it each.
    """
    value = data["value"].values
    x, y = _VALUE, _DENSITY
    top = height_of(data["density"]) if top is None else top
    fills, curves, means = [], [], []
    filled = filled_phase(data)
    for phase in (str(p) for p in data["phase"].values):
        for role in (str(r) for r in data["role"].values):
            part = data.sel(phase=phase, role=role)
            if not int(part["elements"]):
                continue
            colour = colour_of(role, phase)
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
    zero = styled(hv.Curve([(0.0, 0.0), (0.0, top)], x, y), *ZERO.options())
    edge = data["value_edge"].values
    across = float(edge[0]), float(edge[-1])
    wide = [replace(mark, spans=(across,)) for mark in marks]
    lanes, limits = lanes_over(wide, x, y, across, (0.0, top), frame)
    return dressed(
        hv.Overlay([zero, *fills, *curves, *means, *lanes]),
        frame,
        title=title,
        points=points,
        axes={
            "xlim": across,
            "ylim": limits,
            "xlabel": "",
            "ylabel": "",
            "yticks": yticks,
            "xticks": 7,
            "bgcolor": ground,
        },
    )


def panel_title(data: xr.Dataset) -> str:
    """Return an epoch, and its numbers in each of the phases."""
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
    filled = filled_phase(data)
    entries = []
    for role in (str(r) for r in data["role"].values):
        for phase in phases:
            colour = colour_of(role, phase)
            text = phase if role == "all" else f"{role}, {phase}"
            if phase == filled:
                entries.append(Entry(text, fill=lighter(colour)))
            else:
                entries.append(Entry(text, Line(darker(colour), 1.5, _dash(phase))))
    return [*entries, Entry("zero", ZERO)]


def height_of(density: xr.DataArray) -> float:
    """Return the end of an axis that holds a density."""
    return float(density.max()) * _ROOM or 1.0


def phase_windows(phases: Sequence[str]) -> str:
    """Return in words which batches of an epoch each phase shows."""
    return "; ".join(
        f"{phase}: last quarter of the epoch" if phase == "train" else f"{phase}: all batches"
        for phase in phases
    )


def class_panel(
    data: xr.Dataset, frame: Frame, title: str, *, top: float | None = None, points: float = 8
) -> Any:
    """Return one panel of YES of each class as lines, on NO of all of them.

    Parameters
    ----------
    data : Dataset
        One epoch of what `twin_peaks_classes_data` returns.
    frame : Frame
    title : str
    top : float, optional
        End of the axis; that of the highest curve if left out.
    points : float, default 8
        Size of the title.
    """
    value = data["value"].values
    yes = class_curves(data)
    if top is None:
        top = max(height_of(yes), height_of(data["others"]))
    fill = {"color": OTHERS, "facecolor": OTHERS, "alpha": 0.3, "linewidth": 0}
    drawn = [
        styled(hv.Curve([(0.0, 0.0), (0.0, top)], _VALUE, _DENSITY), *ZERO.options()),
        styled(
            hv.Area((value, data["others"].values), _VALUE, _DENSITY),
            fill,
            {"fill_color": OTHERS, "fill_alpha": 0.3, "line_width": 0},
        ),
    ]
    for at, place in enumerate(data["place"].values):
        if int(data["elements"].isel(panel=at).sel(role="yes")):
            curve = hv.Curve((value, yes.isel(panel=at).values), _VALUE, _DENSITY)
            drawn.append(styled(curve, *class_line(int(place), 1.3).options()))
    edge = data["value_edge"].values
    axes = {
        "xlim": (float(edge[0]), float(edge[-1])),
        "ylim": (0.0, top),
        "xlabel": "",
        "ylabel": "",
        "yticks": 3,
        "xticks": 7,
    }
    return dressed(hv.Overlay(drawn), frame, title=title, points=points, axes=axes)


def class_curves(data: xr.Dataset) -> xr.DataArray:
    """Return YES of each class, which holds 1 by itself; 0 where it has no element."""
    share = data["share"].sel(role="yes")
    return (data["density"].sel(role="yes") / share.where(share > 0)).fillna(0.0)


def class_title(data: xr.Dataset) -> str:
    """Return an epoch, and the class whose YES and NO are least apart in it."""
    apart = data["d_prime"].values
    if not np.isfinite(apart).any():
        return f"epoch {int(data['epoch'])}\n"
    worst = int(np.nanargmin(apart))
    name = shorten(plain(data["panel"].values[worst]), 24)
    return f"epoch {int(data['epoch'])}\nleast d': {data.attrs['by']} {name}, {apart[worst]:.2f}"


def class_entries(data: xr.Dataset) -> list[Entry]:
    """Return the key's entries of every mark that `class_panel` draws."""
    entries = [
        Entry(shorten(plain(name), 24), class_line(int(place), 1.6))
        for name, place in zip(data["panel"].values, data["place"].values, strict=True)
    ]
    return [*entries, Entry("no, all classes", fill=lighter(OTHERS)), Entry("zero", ZERO)]


def filled_phase(data: xr.Dataset) -> str:
    """Return the phase that is filled: validation where there is one."""
    phases = [str(phase) for phase in data["phase"].values]
    return "valid" if "valid" in phases else phases[-1]


def colour_of(role: str, phase: str) -> str:
    """Return the colour of a role, or of the phase where no roles are told apart."""
    if role == "all":
        return PHASES.get(phase, ROLES["all"])
    return ROLES.get(role, ROLES["all"])


def _dash(phase: str) -> str:
    return _DASHES.get(phase, "dotted")
