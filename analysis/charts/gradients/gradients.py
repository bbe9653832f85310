"""Gradient charts: how large each parameter's gradient is, and how it is spread.

Norms as a map, parameters from the input down to the output, so that gradients that
vanish are seen at a glance; and the colorful dimension of gradients, on an asinh axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.colorful.data import colorful_layers
from actrace.analysis.charts.colorful.large import large
from actrace.analysis.charts.colorful.marks import epoch_words, seen_epochs
from actrace.analysis.charts.colorful.tile import tile_columns
from actrace.analysis.charts.colorful.tiles import tiles, tiles_across
from actrace.analysis.charts.findings.marked import marked_entries, row_bars
from actrace.analysis.charts.findings.marked_data import Mark, marks_of
from actrace.analysis.charts.gradients.gradients_data import gradient_norms, gradient_run
from actrace.analysis.charts.grammar.blank import nothing, words
from actrace.analysis.charts.grammar.caption import Entry, Paint, key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, letters, run_name
from actrace.analysis.charts.grammar.heat import heat, named_rows
from actrace.analysis.charts.grammar.style import FIRE, LINES, NIGHT, styled
from actrace.analysis.findings.finding import Finding
from actrace.analysis.select import phase_names, select_layers, select_phases
from actrace.errors import ChartError
from actrace.store.progress import track

__all__ = ["gradients_chart"]

_PAINT: Final = Paint(NIGHT, "#f2f4f8")
#: Inches of a row of the map, and of all of them at most and at least.
_ROW: Final = 0.145
_TALLEST: Final = 9.0
_LOWEST: Final = 1.2
#: Decades told apart by colour; a gradient that is smaller has the darkest.
_DECADES: Final = 10
_NO_GRADIENT: Final = "#5d6673"
_TINY: Final = np.finfo(np.float32).tiny


def gradients_chart(
    run: xr.DataTree,
    *,
    parameter: str | None = None,
    parameters: str | Iterable[str] | None = None,
    histograms: bool = False,
    phase: str = "train",
    measure: str = "rms",
    findings: Iterable[Finding] = (),
    progress: bool | None = None,
) -> Any:
    """Return the gradients' sizes as a map, or their histograms as the colorful dimension.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it; recorded with ``gradients=True``.
    parameter : str, optional
        Name of one parameter: its histograms, drawn large.
    parameters : str or iterable of str, optional
        Names or shell patterns (``*.weight``); None is all.
    histograms : bool, default False
        The parameters' histograms as tiles, instead of their sizes as one map.
    phase : str, default "train"
    measure : {"rms", "norm"}, default "rms"
        What the map shows: the root mean square of a gradient's elements, which does not
        grow with their number, or its Euclidean norm.
    findings : iterable of Finding, optional
        As `actrace.diagnose` returns them; those of a parameter and the
        phase are marked on its histograms, or in its row of the map: bars over the batches
        that they are about, of the two gravest.
    progress : bool, optional
        A progress bar: by default after two seconds on a terminal.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; its last element is the key.

    Raises
    ------
    ChartError
        Both `parameter` and `parameters`, or another `measure`.
    NotRecordedError
        The phase has no gradients.
    LayerNotFoundError, PhaseNotFoundError

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (AISTATS 2010), figures 6 and 7.
    """
    if parameter is not None and parameters is not None:
        raise ChartError(
            f"give parameter= for one large chart or parameters= for several, not both "
            f"(got parameter={parameter!r} and parameters={parameters!r})"
        )
    heading = " · ".join(part for part in ("Gradients", run_name(run)) if part)
    if not phase_names(run):
        return nothing(heading, "no batch has been recorded yet")
    (name,) = select_phases(run, phase)
    tree = gradient_run(run, name)
    n_batches = int(tree.children[name].sizes["batch"])
    if not n_batches:
        return nothing(heading, f"no batch of phase {name!r} has been recorded yet")
    found = tuple(findings)

    def marked(one: str) -> tuple[Mark, ...]:
        return marks_of(run, found, layer=one, phase=name)

    if parameter is None and not histograms:
        data = gradient_norms(run, parameters=parameters, phase=name, measure=measure)
        return _sizes(data, heading, [marked(str(one)) for one in data["parameter"].values])
    chosen = select_layers(tree, parameter if parameter is not None else parameters)
    names = [str(tree.dataset["layer"].values[i]) for i in chosen]
    if parameter is not None and len(names) > 1:
        raise ChartError(
            f"parameter={parameter!r} fits {len(names)} parameters; name one of them, or give "
            f"parameters={parameter!r} with histograms=True to see them as tiles"
        )
    marks = {one: marked(one) for one in names} if found else {}
    across = min(tiles_across(len(names)), len(names))
    datasets = colorful_layers(
        tree,
        layers=names,
        phase=name,
        scale="asinh",
        # The question is of orders of magnitude.
        density=False,
        max_columns=1200 if parameter is not None else tile_columns(across),
        max_rows=240 if parameter is not None else 120,
    )
    if parameter is not None:
        (data,) = datasets
        return large(run, data, n_batches, marks.get(names[0], ()))
    drawn = track(datasets, len(names), f"drawing {len(names)} gradients", progress=progress)
    return tiles(run, drawn, across, n_batches, heading="Gradients", marks=marks)


def _sizes(data: xr.Dataset, heading: str, marks: Sequence[Sequence[Mark]]) -> Any:
    """Return the map of sizes, what was found in each row, and its key."""
    names = [str(name) for name in data["parameter"].values]
    height = float(np.clip(_ROW * len(names), _LOWEST, _TALLEST))
    frame = Frame(8.2, height, left=2.25, right=1.15, top=0.42, bottom=0.5)
    x = hv.Dimension("batch")
    y = hv.Dimension("parameter")
    start = data["first_batch"].values
    # The last column may hold fewer batches than it is wide.
    end = float(start[0] + data.sizes["column"] * data.attrs["batches_per_column"])
    across = (float(start[0]), float(start[-1] + data["batches"].values[-1]))
    up = (0.0, float(max(1, len(names))))
    size = data["size"].values
    clim = _limits(size)
    drawn: list[Any] = []
    missing = np.where(np.isnan(size), 1.0, np.nan)
    if np.isnan(size).any():
        drawn.append(
            heat(
                missing, (across[0], end), up, x, y, frame,
                cmap=[_NO_GRADIENT] * 2, clim=(0.0, 1.0), label="", name="none", bar=0,
            )
        )  # fmt: skip
    shown = np.where(size > 0, np.maximum(size, clim[0]), np.nan)
    if np.isfinite(shown).any():
        drawn.append(
            heat(
                shown, (across[0], end), up, x, y, frame,
                cmap=FIRE, clim=clim, log=True, name=data.attrs["measure"],
                label=str(data["size"].attrs["long_name"]), points=8,
            )
        )  # fmt: skip
    else:
        drawn.append(words("no gradient above zero", across, up, x, y, 12))
    begins = data["epoch_start"].values[seen_epochs(data)].astype(np.float64)
    if len(begins):
        gap = np.full_like(begins, np.nan)
        xs = np.stack([begins, begins, gap], axis=1).ravel()
        ys = np.tile([up[0], up[1], np.nan], len(begins))
        drawn.append(styled(hv.Curve((xs, ys), x, y), *LINES["epoch"].options()))
    drawn += row_bars(marks, x, y, across)
    mpl, bokeh = named_rows(names, letters(frame.left - 0.3, 7), round(height / 0.13))
    axes = {"xlim": across, "ylim": up, "xlabel": f"batch of {data.attrs['phase']}", "ylabel": ""}
    small = {"fontsize": {"title": 10, "labels": 9, "xticks": 9, "yticks": 7}}
    fonts = {"fontsize": {"title": "10pt", "labels": "9pt", "xticks": "9pt", "yticks": "7pt"}}
    cell = dressed(
        hv.Overlay(drawn), frame, title=f"{heading} · {data.attrs['phase']}", points=10,
        axes=axes | {"bgcolor": NIGHT}, mpl=mpl | small, bokeh=bokeh | fonts,
    )  # fmt: skip
    k = data.attrs["batches_per_column"]
    mean = "" if k == 1 else f", over {k} batches"
    text = (
        f"Across: batch. Down: parameters from the input to the output. Colour: "
        f"{data['size'].attrs['long_name']}{mean}, log scale; black: all zero. Gradients that "
        "vanish darken from the bottom to the top."
    )
    under = replace(frame, top=0.04, bottom=0.1)
    entries = [
        Entry(epoch_words(data), LINES["epoch"]),
        Entry("no finite gradient", fill=_NO_GRADIENT),
        *marked_entries([mark for some in marks for mark in some]),
    ]
    legend, tall = key([*entries, Entry(text)], under, columns=3, paint=_PAINT)
    return arrange([[cell], [legend]], [frame, replace(under, height=tall)])


def _limits(size: Any) -> tuple[float, float]:
    """Return the sizes at the ends of the colour bar, at most ten decades."""
    held = size[np.isfinite(size) & (size > _TINY)]
    if not held.size:
        return 1.0, 10.0
    low, high = float(held.min()), float(held.max())
    low = max(low, high * 10.0**-_DECADES)
    return (low, high) if high > 2 * low else (low / 3, high * 3)
