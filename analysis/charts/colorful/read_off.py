"""What hovering over a colorful-dimension picture says: batch, epoch, values, elements.

Real units whatever the axis, worked out in the browser from a few short arrays beside
the image, so a saved page says it too. Imports bokeh and NumPy.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from bokeh.models import CustomJSHover, HoverTool
from numpy.typing import NDArray

__all__ = ["add_hover", "point_hover", "readings"]

_NAME: Final = "read-off"
#: Which cell the pointer is in; `x` and `y` are the pointer's place along the axes.
_CELL: Final = """
const at = source.data, edge = at.value_edge[0], batch = at.batch_edge[0];
const n_rows = edge.length - 1, n_columns = batch.length - 1;
const within = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
const i = within((special_vars.x - at.x[0]) / at.dw[0], n_columns);
const j = within((special_vars.y - at.y[0]) / at.dh[0], n_rows);
const whole = (n) => Math.round(n).toLocaleString("en-GB");
const short = (n) => Number(n.toPrecision(4)).toString();
const several = batch[i + 1] - batch[i];
"""
_BATCH: Final = """
const last = batch[i + 1] - 1;
return several > 1 ? `${whole(batch[i])} to ${whole(last)}` : whole(batch[i]);
"""
_EPOCH: Final = """
const first = at.epoch_first[0][i], last = at.epoch_last[0][i];
return first == last ? whole(first) : `${whole(first)} to ${whole(last)}`;
"""
_VALUE: Final = "return `${short(edge[j])} to ${short(edge[j + 1])}`;"
#: A cell that takes a part of a bin holds no whole number of elements.
_ELEMENTS: Final = """
const shown = at.image[0][j * n_columns + i];
const n = Number.isFinite(shown) ? shown * several * at.size[0][j] : 0;
const even = Math.abs(n - Math.round(n)) <= 1e-3 + 1e-6 * n;
const said = even || n >= 1000 ? whole(n) : short(n);
return several > 1 ? `${said}, ${short(n / several)} a batch` : said;
"""
#: Row of the tooltip -> what triggers its formatter (a field can have but one), and the code.
_ROWS: Final = {
    "batch": ("$x", _BATCH),
    "epoch": ("$sx", _EPOCH),
    "value": ("$y", _VALUE),
    "elements": ("$sy", _ELEMENTS),
}


def readings(data: xr.Dataset) -> dict[str, list[NDArray[Any]]]:
    """Return what hovering needs beside the image, as columns of its source.

    Parameters
    ----------
    data : Dataset
        From `colorful_data`.

    Returns
    -------
    dict of list of one array
        ``batch_edge`` (n_columns + 1): first batch of each column, and the one after the
        last; ``epoch_first``, ``epoch_last`` (n_columns); ``value_edge`` (n_rows + 1),
        activation units; ``size`` (n_rows).
    """
    first, batches = data["first_batch"].values, data["batches"].values
    stop = first + batches
    starts, epochs = data["epoch_start"].values, data["epoch"].values

    def epoch_of(batch: NDArray[np.int64]) -> NDArray[np.float64]:
        at = np.searchsorted(starts, batch, side="right") - 1
        return np.asarray(epochs[np.maximum(at, 0)], np.float64)

    return {
        "batch_edge": [np.append(first, stop[-1:]).astype(np.float64)],
        "epoch_first": [epoch_of(first)],
        "epoch_last": [epoch_of(stop - 1)],
        "value_edge": [data["value_edge"].values.astype(np.float64)],
        "size": [data["size"].values.astype(np.float64)],
    }


def add_hover(figure: Any, renderer: Any, data: xr.Dataset | None = None) -> None:
    """Let hovering over an image say what is there.

    Parameters
    ----------
    figure : bokeh figure
    renderer : bokeh GlyphRenderer
        Of the image. Whatever image had the figure's tooltip before loses it.
    data : Dataset, optional
        From `colorful_data`; left out where the source has its `readings` already.
    """
    if data is not None:
        renderer.data_source.data = dict(renderer.data_source.data) | readings(data)
    tool = figure.select_one({"type": HoverTool, "name": _NAME})
    if tool is None:
        tool = HoverTool(
            name=_NAME,
            tooltips=[(row, f"{field}{{custom}}") for row, (field, _) in _ROWS.items()],
            formatters={field: CustomJSHover(code=_CELL + code) for field, code in _ROWS.values()},
        )
        figure.add_tools(tool)
    tool.renderers = [renderer]
    for formatter in tool.formatters.values():
        formatter.args = {"source": renderer.data_source}


def point_hover(figure: Any, renderers: list[Any], rows: list[tuple[str, str]]) -> None:
    """Let hovering over glyphs say columns of their source, as text.

    Parameters
    ----------
    figure : bokeh figure
    renderers : list of bokeh GlyphRenderer
    rows : list of (name, column)
    """
    tooltips = [(name, f"@{column}") for name, column in rows]
    figure.add_tools(HoverTool(tooltips=tooltips, renderers=renderers))
