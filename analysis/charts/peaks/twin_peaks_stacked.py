"""Epochs behind one another: how the peaks moved, along time, in one frame.

The first epoch stands at the back, on top; the last in front. Imports HoloViews;
what it draws comes from `twin_peaks_data` and `twin_peaks_classes_data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.grammar.caption import Entry
from actrace.analysis.charts.grammar.frame import Frame, dressed
from actrace.analysis.charts.grammar.panels import WIDE, dots
from actrace.analysis.charts.grammar.style import (
    NOTHING,
    Line,
    class_line,
    darker,
    lighter,
    plain,
    shorten,
    styled,
)
from actrace.analysis.charts.grammar.ticks import place_ticks
from actrace.analysis.charts.peaks.twin_peaks_parts import OTHERS, ZERO, colour_of, phase_windows

__all__ = [
    "MOST_STACKED",
    "class_stack",
    "class_stack_entries",
    "phase_stack",
    "phase_stack_entries",
    "stack_frame",
]

#: Epochs of a stack unless told otherwise.
MOST_STACKED: Final = 24
#: Height of an epoch's peaks in rows, of most and at most: they stand behind one another.
_RISE: Final = 1.8
_HIGHEST: Final = 4.0
#: Inches of a row, and of a stack at least and at most.
_ROW: Final = 0.26
_LOWEST: Final = 1.3
_TALLEST: Final = 6.0
#: Rows above the base of the first epoch, and below that of the last.
_ABOVE: Final = 0.3
_BELOW: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Ridge:
    """A role's curves, epoch by epoch.

    Attributes
    ----------
    density : array, shape (n_epochs, n_cells)
    mean : array, shape (n_epochs,)
    colour : str
    """

    density: NDArray[np.float64]
    mean: NDArray[np.float64]
    colour: str


def phase_stack(data: xr.Dataset, frame: Frame) -> Any:
    """Return the stack of a phase.

    Parameters
    ----------
    data : Dataset
        One phase of what `twin_peaks_data` returns, on one grid.
    frame : Frame
    """
    phase = plain(data["phase"].item())
    roles = [str(role) for role in data["role"].values]
    ridges = [
        _Ridge(
            data["density"].sel(role=role).values,
            data["mean"].sel(role=role).values,
            colour_of(role, phase),
        )
        for role in roles
        if int(data["elements"].sel(role=role).sum())
    ]
    return _stack(data, ridges, frame, f"{phase}\n{_moved(data)}")


def class_stack(data: xr.Dataset, frame: Frame) -> Any:
    """Return the stack of a class or unit.

    Parameters
    ----------
    data : Dataset
        One panel of what `twin_peaks_classes_data` returns, on one grid.
    frame : Frame
    """
    colours = {"no": OTHERS, "yes": class_line(int(data["place"])).colour}
    ridges = [
        _Ridge(data["density"].sel(role=role).values, data["mean"].sel(role=role).values, colour)
        for role, colour in colours.items()
    ]
    name = shorten(plain(data["panel"].item()), 30)
    return _stack(data, ridges, frame, f"{data.attrs['by']} {name}\n{_moved(data)}")


def phase_stack_entries(data: xr.Dataset) -> list[Entry]:
    """Return the key of stacks of phases."""
    phases = [str(phase) for phase in data["phase"].values]
    roles = [str(role) for role in data["role"].values]
    entries = []
    for role in roles:
        if role == "all":
            entries += [Entry(phase, fill=lighter(colour_of(role, phase))) for phase in phases]
        else:
            entries.append(Entry(role, fill=lighter(colour_of(role, ""))))
            entries.append(Entry(f"mean of {role}", Line(darker(colour_of(role, "")), 1.2)))
    text = f"{_reading(data)} {phase_windows(phases)}."
    return [*entries, Entry("zero", ZERO), Entry(text)]


def class_stack_entries(data: xr.Dataset) -> list[Entry]:
    """Return the key of stacks of classes."""
    entries = [
        Entry("yes, in the class's colour", fill=lighter(class_line(0).colour)),
        Entry("no", fill=lighter(OTHERS)),
        Entry("mean of yes, of no", Line(darker(OTHERS), 1.2)),
        Entry("zero", ZERO),
    ]
    text = f"{_reading(data)} {phase_windows([data.attrs['phase']])}."
    if data.sizes["panel"] < data.attrs["n"]:
        text += f" The {data.sizes['panel']} worst of {data.attrs['n']}."
    return [*entries, Entry(text)]


def stack_frame(across: int, n_epochs: int) -> Frame:
    """Return the frame of one of so many stacks in a row."""
    left, right = 0.5, 0.15
    width = min(WIDE / across - left - right, 7.0)
    height = float(np.clip(_ROW * n_epochs + 0.5, _LOWEST, _TALLEST))
    return Frame(width, height, left, right, 0.42, 0.3)


def _stack(data: xr.Dataset, ridges: Sequence[_Ridge], frame: Frame, title: str) -> Any:
    dims = hv.Dimension("value", label="activation value"), hv.Dimension("epoch")
    value, edge = data["value"].values[0], data["value_edge"].values[0]
    n = data.sizes["epoch"]
    base = np.arange(n)[::-1].astype(np.float64)
    highest = np.array([[ridge.density[at].max() for at in range(n)] for ridge in ridges])
    highest = highest.max(axis=0, initial=0.0)
    rise = _rise(highest)
    top = float((base + rise * highest).max(initial=0.0)) + _ABOVE
    limits = (-_BELOW, top)
    drawn: list[Any] = [
        # A stack without a curve has its frame too.
        styled(hv.Curve([(edge[0], 0.0), (edge[-1], 0.0)], *dims), *NOTHING.options())
    ]
    for at in range(n):
        drawn += [
            _area(value, base[at], rise * ridge.density[at], ridge.colour, dims)
            for ridge in ridges
            if ridge.density[at].any()
        ]
    drawn.append(styled(hv.Curve([(0.0, limits[0]), (0.0, top)], *dims), *ZERO.options()))
    for ridge in ridges:
        inside = (ridge.mean >= edge[0]) & (ridge.mean <= edge[-1])
        mean = np.where(inside, ridge.mean, np.nan)
        known = np.isfinite(mean)
        if known.any():
            colour = darker(ridge.colour)
            path = hv.Curve((mean[known], base[known]), *dims)
            drawn.append(styled(path, *Line(colour, 1.0).options()))
            drawn += dots(mean, np.where(known, base, np.nan), dims, colour, 2.6)
    axes = {
        "xlim": (float(edge[0]), float(edge[-1])),
        "ylim": limits,
        "xlabel": "",
        "ylabel": "epoch",
        "yticks": place_ticks(base.tolist(), data["epoch"].values.tolist(), most=12),
        "xticks": 7,
    }
    return dressed(hv.Overlay(drawn), frame, title=title, points=8, axes=axes)


def _area(
    value: NDArray[np.float64],
    base: float,
    height: NDArray[np.float64],
    colour: str,
    dims: tuple[hv.Dimension, hv.Dimension],
) -> Any:
    # From the first cell that is seen to the last: a ridge has no foot along the frame.
    seen = np.flatnonzero(height > 1e-3 * height.max())
    part = slice(seen[0], seen[-1] + 1)
    line, fill = darker(colour), lighter(colour)
    area = hv.Area(
        (value[part], np.full(len(value[part]), base), base + height[part]),
        dims[0],
        ["from", "to"],
    )
    return styled(
        area,
        {"color": fill, "facecolor": fill, "edgecolor": line, "linewidth": 0.8, "alpha": 0.95},
        {"fill_color": fill, "line_color": line, "line_width": 1.0, "fill_alpha": 0.95},
    )


def _rise(highest: NDArray[np.float64]) -> float:
    """Return rows a unit of density: most peaks are so many high, none is much higher."""
    seen = highest[highest > 0]
    if not seen.size:
        return 1.0
    return float(min(_RISE / np.median(seen), _HIGHEST / seen.max()))


def _moved(data: xr.Dataset) -> str:
    """Return the number of the title in the first and the last epoch that have it."""
    for name, words in (("understanding", "understanding"), ("d_prime", "d'"), ("rmse", "rmse")):
        if name in data:
            known = data[name].values[np.isfinite(data[name].values)]
            if len(known):
                ends = [f"{end:.3g}" for end in (known[0], known[-1])]
                return f"{words} " + " \u2192 ".join(ends if len(known) > 1 else ends[:1])
    return ""


def _reading(data: xr.Dataset) -> str:
    text = "Across: activation value. Down: epochs, the last in front. Area: share of outputs."
    far = [str(int(epoch)) for epoch in data["epoch"].values[data["beyond"].values]]
    if far:
        named = ", ".join(far[:6]) + (" and more" if len(far) > 6 else "")
        text += f" Reaches far beyond the frame: epoch {named}."
    return text
