"""The comparison chart: where, when and by how much runs part from a baseline.

A map a run, layers down and positions across. Draws what `Comparison.load` computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr

from actrace.analysis.charts.grammar.blank import words
from actrace.analysis.charts.grammar.caption import Entry, Paint, key
from actrace.analysis.charts.grammar.frame import Frame, arrange, dressed, letters
from actrace.analysis.charts.grammar.heat import heat, named_rows
from actrace.analysis.charts.grammar.style import FIRE, NIGHT, Line, plain, styled
from actrace.analysis.comparison.compare import compare
from actrace.analysis.comparison.comparison import Comparison
from actrace.analysis.comparison.distances import DISTANCES
from actrace.errors import ChartError
from actrace.store.names import listed

__all__ = ["comparison_chart"]

_PAINT: Final = Paint(NIGHT, "#f2f4f8")
#: Inches of a row, and of all rows of a map at least and at most.
_ROW: Final = 0.14
_LOWEST: Final = 0.9
_TALLEST: Final = 8.0
#: Maps in a chart.
_MOST: Final = 8
_PARTS: Final = Line("#00e5ff", 1.8)
_GONE: Final = "#5d6673"
#: Distances that cannot be more than this.
_BOUNDED: Final = {"jensen_shannon": 1.0, "kolmogorov_smirnov": 1.0, "hellinger": 1.0}


def comparison_chart(
    found: Comparison | Sequence[Any] | Mapping[str, Any],
    *,
    measure: str = "jensen_shannon",
    runs: str | Iterable[str] | None = None,
) -> Any:
    """Return the distances of runs from their baseline, by layer and position.

    Parameters
    ----------
    found : Comparison, or runs
        What `actrace.compare` returned, or the runs for it: paths or opened runs.
    measure : str, default "jensen_shannon"
        Or ``"wasserstein"``, ``"kolmogorov_smirnov"``, ``"hellinger"``. By whichever is
        drawn, runs are judged by the Jensen-Shannon divergence.
    runs : str or iterable of str, optional
        Names of those to draw, a map each; the first eight after the baseline if left out.

    Returns
    -------
    holoviews.Layout
        With options for the matplotlib and bokeh backends; all maps have one scale. An
        upright bar marks where a layer parts from the baseline for good. The last element
        is the key.

    Raises
    ------
    ChartError
        Another `measure`, or a name that is none of the runs compared.
    ComparisonError
        Runs that cannot be compared.

    Examples
    --------
    >>> from actrace import compare, save_chart
    >>> save_chart(comparison_chart(compare({"a": run, "b": run})), "parts.png").name
    'parts.png'
    """
    if measure not in DISTANCES:
        raise ChartError(
            f"measure must be one of {', '.join(map(repr, DISTANCES))}, got {measure!r}"
        )
    comparison = found if isinstance(found, Comparison) else compare(found)
    others = [name for name in comparison.runs if name != comparison.baseline]
    chosen = others[:_MOST] if runs is None else [runs] if isinstance(runs, str) else list(runs)
    unknown = [name for name in chosen if name not in others]
    if unknown or not chosen:
        raise ChartError(
            f"no run named {listed(unknown)} stands beside the baseline "
            f"{comparison.baseline!r}; there are {listed(others)}"
        )
    data = comparison.load()
    values = data[measure].sel(run=chosen).to_numpy()
    top = _BOUNDED.get(measure, float(np.nanmax(values, initial=0.0)) or 1.0)
    names = [str(name) for name in data["layer"].values]
    height = float(np.clip(_ROW * len(names), _LOWEST, _TALLEST))
    frame = Frame(8.2, height, left=2.25, right=1.15, top=0.45, bottom=0.5)
    sentences = {part.run: part.sentence(comparison.baseline) for part in comparison.parts}
    label = f"{data[measure].attrs['long_name']}, {data[measure].attrs['units']}"
    cells = [
        _map(data.sel(run=name), measure, (0.0, top), frame, names, sentences[name])
        for name in chosen
    ]
    under = replace(frame, top=0.04, bottom=0.1)
    more = len(others) - len(chosen)
    left_out = f" Runs not drawn: {more}." if more else ""
    text = (
        f"Across: {data.attrs['by']}. Down: layers from the input to the output. Colour: {label}; "
        "grey: nothing to compare. A layer parts where it stays beyond "
        f"chance by more than the tolerance.{left_out}"
    )
    entries = [Entry("the layer parts here", _PARTS), Entry("nothing to compare", fill=_GONE)]
    legend, tall = key([*entries, Entry(text)], under, columns=3, paint=_PAINT)
    title = f"Compared with {plain(comparison.baseline, 80)}"
    rows = [[cell] for cell in cells] + [[legend]]
    frames = [frame] * len(cells) + [replace(under, height=tall)]
    return arrange(rows, frames, title=title)


def _map(
    data: xr.Dataset,
    measure: str,
    clim: tuple[float, float],
    frame: Frame,
    names: list[str],
    sentence: str,
) -> Any:
    """Return the map of one run."""
    run = plain(str(data["run"].values), 80)
    x = hv.Dimension(str(data.attrs["by"]))
    y = hv.Dimension(f"layer of {run}", label="layer")
    begin, end = data["position"].values.astype(float), data["position_end"].values.astype(float)
    across, up = (float(begin[0]), float(end[-1])), (0.0, float(len(names)))
    values = data[measure].to_numpy()
    drawn: list[Any] = []
    if np.isnan(values).any():
        gone = np.where(np.isnan(values), 1.0, np.nan)
        drawn.append(
            heat(
                gone, across, up, x, y, frame,
                cmap=[_GONE] * 2, clim=(0.0, 1.0), label="", name="none", bar=0,
            )
        )  # fmt: skip
    if np.isnan(values).all():
        drawn.append(words("nothing to compare", across, up, x, y, 12))
    else:
        drawn.append(
            heat(
                values, across, up, x, y, frame,
                cmap=FIRE, clim=clim, name=measure, label=str(data[measure].attrs["units"]),
            )
        )  # fmt: skip
    at = data["parts_at"].to_numpy()
    parted = np.flatnonzero(~np.isnan(at))
    if len(parted):
        xs = np.stack([at[parted], at[parted], np.full(len(parted), np.nan)], axis=1).ravel()
        foot = len(names) - parted - 1.0
        ys = np.stack([foot, foot + 1, np.full(len(parted), np.nan)], axis=1).ravel()
        drawn.append(styled(hv.Curve((xs, ys), x, y), *_PARTS.options()))
    mpl, bokeh = named_rows(names, letters(frame.left - 0.3, 7), round(frame.height / 0.13))
    sizes = {"fontsize": {"title": 10, "labels": 9, "xticks": 9, "yticks": 7}}
    fonts = {"fontsize": {"title": "10pt", "labels": "9pt", "xticks": "9pt", "yticks": "7pt"}}
    axes = {"xlim": across, "ylim": up, "xlabel": x.name, "ylabel": "", "bgcolor": NIGHT}
    return dressed(
        hv.Overlay(drawn), frame, title=plain(sentence), points=10, axes=axes,
        mpl=mpl | sizes, bokeh=bokeh | fonts,
    )  # fmt: skip
