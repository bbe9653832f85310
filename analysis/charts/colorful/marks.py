"""The parts of a colorful-dimension picture: image, lines, strips, colour bar.

Turns one `colorful_data` Dataset into HoloViews elements. Computes nothing but
limits of colours and places of marks.
"""

from __future__ import annotations

from typing import Any, Final

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.colorful.data import to_position
from actrace.analysis.charts.colorful.read_off import add_hover
from actrace.analysis.charts.grammar.bar import colour_bar
from actrace.analysis.charts.grammar.frame import Frame
from actrace.analysis.charts.grammar.style import FIRE, LINES, NIGHT, STRIP, Line, mixed, styled

__all__ = [
    "LEAST_SHARE",
    "MOST_NAMES",
    "RIM",
    "colour_limits",
    "epoch_step",
    "epoch_words",
    "line_places",
    "lines",
    "outside",
    "picture",
    "ramp",
    "seen_epochs",
    "strip_places",
    "strips",
]

#: Share of elements that a strip shows in its darkest colour.
LEAST_SHARE: Final = 1e-4
#: Decades of counts told apart by colour; whatever is fewer is the darkest.
_DECADES: Final = 6
#: Most uprights at beginnings of epochs, and most of their names.
_MOST_EPOCHS: Final = 40
MOST_NAMES: Final = 16
#: Width of the line between a strip and the picture, points.
RIM: Final = 0.6
#: Height of a strip as a share of the picture.
_STRIP: Final = 0.055


def colour_limits(data: xr.Dataset) -> tuple[float, float]:
    """Return the counts at the two ends of the colour bar.

    From one element a cell where counts reach far above it, else from the
    smallest; never more than six decades.
    """
    shown = data["shown"].values
    held = shown[shown > 0]
    if not held.size:
        return 1.0, 10.0
    low, high = float(held.min()), float(held.max())
    if data.attrs["scale"] == "linear" and high > 10.0:
        low = max(low, 1.0)
    low = max(low, high * 10.0**-_DECADES)
    return (low, high) if high > low * 2 else (low / 3.0, low * 3.0)


def picture(
    data: xr.Dataset,
    y: hv.Dimension,
    frame: Frame,
    *,
    bar: float,
    label: str,
    points: float,
    clim: tuple[float, float] | None = None,
) -> Any:
    """Return the image of a layer.

    Parameters
    ----------
    data : Dataset
        From `colorful_data`.
    y : Dimension
        The drawn value axis.
    frame : Frame
        What it stands in.
    bar : float
        Width of the colour bar as a share of the frame.
    label : str
        Words beside the colour bar, "" for none.
    points : float
        Size of its numbers.
    clim : (low, high), optional
        Counts at the ends of the colour bar; the picture's own if left out.
    """
    low, high = colour_limits(data) if clim is None else clim
    shown = data["shown"].values.astype(np.float32)
    if not (shown > 0).any():
        # Neither colours nor a bar for them; a line in the ground's colour holds
        # the frame.
        edge = data["position_edge"].values
        ends = [float(data["first_batch"].values[0]), _stop(data)]
        return _curve(ends, [float(edge[0])] * 2, y, Line(NIGHT, 0.1), 1.0)
    image = _image(
        # Nothing counted has no colour, so that the night shows through.
        np.where(shown > 0, shown, np.float32("nan")),
        data,
        float(data["position_edge"].values[0]),
        float(data["position_edge"].values[-1]),
        y,
        hv.Dimension("shown", label=label or "elements"),
    )

    def hover(plot: Any, _element: Any) -> None:
        add_hover(plot.state, plot.handles["glyph_renderer"], data)

    mpl, bokeh = colour_bar(frame, (low, high), bar=bar, label=label, points=points, log=True)
    return styled(
        image,
        {**mpl, "cmap": FIRE, "interpolation": "nearest"},
        {
            **bokeh,
            "cmap": FIRE,
            "clipping_colors": {"NaN": "rgba(0,0,0,0)"},
            "hooks": [*bokeh["hooks"], hover],
        },
    )


def lines(data: xr.Dataset, y: hv.Dimension, *, weight: float = 1.0) -> list[Any]:
    """Return epochs, zero, extremes, spread and mean, lowest first.

    Parameters
    ----------
    data : Dataset
    y : Dimension
    weight : float, default 1
        Thickness of the lines against those of a large chart.
    """
    return [
        _curve(x, place, y, LINES[name], weight)
        for name, (x, place) in line_places(data).items()
        if len(x)
    ]


def line_places(
    data: xr.Dataset,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return where each line over a picture runs: batches, and places along its axis.

    Names are those of `LINES`, the lowest line first; one that is not in the picture is
    empty. Two lines that look alike are one broken line, which halves the drawing. A
    gradient has no line for its mean, which would only tell that it is near zero.
    """
    edge = data["position_edge"].values
    low, high = float(edge[0]), float(edge[-1])
    start, stop = float(data["first_batch"].values[0]), _stop(data)
    epochs = data["epoch_start"].values[seen_epochs(data)].astype(np.float64)
    none = np.zeros(0), np.zeros(0)
    zero = (np.array([start, stop]), np.zeros(2)) if low <= 0.0 <= high else none
    found = {"epoch": _uprights(epochs, low, high), "zero": zero}
    x = data["first_batch"].values + data["batches"].values / 2
    mean, std = data["mean"].values, data["std"].values
    for name, pair in (
        ("extreme", (data["min"].values, data["max"].values)),
        ("spread", (mean - std, mean + std)),
        ("mean", () if data.attrs["quantity"] == "gradient" else (mean,)),
    ):
        xs: list[Any] = []
        ys: list[Any] = []
        for values in pair:
            place = _place(values, data)
            if np.isfinite(place).any():
                across, up = _step_of_one(x, place, start, stop)
                xs += [across, [np.nan]]
                ys += [up, [np.nan]]
        found[name] = (np.concatenate(xs[:-1]), np.concatenate(ys[:-1])) if xs else none
    return found


def epoch_step(epochs: NDArray[np.int64], most: int) -> int:
    """Return the step of 1, 2, 5, 10, 20, ... that leaves at most so many of these epochs."""
    step = 1
    while int((epochs % step == 0).sum()) > most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def seen_epochs(data: xr.Dataset) -> NDArray[np.intp]:
    """Return which epochs have an upright at their beginning: of very many every tenth or so.

    Hundreds of lines would lie over the picture like a veil. The first begins at the frame
    itself and has none. Of very many, those have one that may have a name.
    """
    epochs = data["epoch"].values[1:].astype(np.int64)
    return np.flatnonzero(epochs % _step_between(epochs) == 0) + 1


def epoch_words(data: xr.Dataset) -> str:
    """Return what the key says of these uprights."""
    step = _step_between(data["epoch"].values[1:].astype(np.int64))
    return "epoch begins" if step == 1 else f"every {step}{'nd' if step == 2 else 'th'} epoch"


def _step_between(epochs: NDArray[np.int64]) -> int:
    return 1 if len(epochs) <= _MOST_EPOCHS else epoch_step(epochs, MOST_NAMES)


def outside(data: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Return the shares of elements above, below and NaN by column, between 0 and 1.

    Only those that are anywhere above 0; NaN where a column has no element.
    """
    total = data["elements"].values
    shares = {}
    for name in ("above", "below", "nan"):
        share = np.divide(
            data[name].values, total, out=np.full(len(total), np.nan), where=total > 0
        )
        if np.nansum(share) > 0:
            shares[name] = share
    return shares


def strip_places(
    data: xr.Dataset,
) -> tuple[list[tuple[str, NDArray[np.float64], float, float]], tuple[float, float]]:
    """Return where the overflow strips stand along a picture's edges, and the axis' ends.

    Above the picture the share of elements over it, below it those under it, and
    below that those that are no number.

    Returns
    -------
    strips : list of (name, shares, bottom, top)
        Shares by column, NaN where there is none at all.
    limits : (low, high)
        Ends of the drawn axis with them.
    """
    edge = data["position_edge"].values
    low, high = float(edge[0]), float(edge[-1])
    height = _STRIP * (high - low)
    found = []
    for name, share in outside(data).items():
        # A column with none at all stays dark.
        seen = np.where(share > 0, share, np.nan)
        if name == "above":
            found.append((name, seen, high, high + height))
            high += height
        else:
            found.append((name, seen, low - height, low))
            low -= height
    return found, (low, high)


def strips(data: xr.Dataset, y: hv.Dimension) -> tuple[list[Any], tuple[float, float]]:
    """Return the strips of `strip_places` as elements, and the ends of the axis.

    The log of the share from dark to bright.
    """
    places, limits = strip_places(data)
    drawn = []
    for name, share, bottom, top in places:
        seen = np.log10(np.clip(share, LEAST_SHARE, 1.0))
        image = _image(
            seen[None, :].astype(np.float32), data, bottom, top, y, hv.Dimension(f"log_{name}")
        )
        both = {
            "cmap": ramp(STRIP[name]),
            "clim": (float(np.log10(LEAST_SHARE)), 0.0),
            "colorbar": False,
        }
        drawn.append(
            styled(
                image,
                {**both, "interpolation": "nearest"},
                {**both, "clipping_colors": {"NaN": "rgba(0,0,0,0)"}},
            )
        )
        rim = bottom if name == "above" else top
        ends = [float(data["first_batch"].values[0]), _stop(data)]
        drawn.append(_curve(ends, [rim, rim], y, Line(STRIP[name], RIM), 1.0))
    return drawn, limits


def _image(
    values: NDArray[np.float32],
    data: xr.Dataset,
    bottom: float,
    top: float,
    y: hv.Dimension,
    vdim: hv.Dimension,
) -> Any:
    # An array with bounds: rows from top to bottom, and no sampling to be guessed,
    # which one column alone does not have.
    start = float(data["first_batch"].values[0])
    end = start + data.attrs["batches_per_column"] * data.sizes["column"]
    return hv.Image(
        values[::-1], bounds=(start, bottom, end, top), kdims=["batch", y], vdims=[vdim]
    )


def _curve(x: Any, y: Any, dim: hv.Dimension, line: Line, weight: float) -> Any:
    return styled(hv.Curve((np.asarray(x), np.asarray(y)), "batch", dim), *line.options(weight))


def _uprights(
    x: NDArray[np.float64], low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one broken line that stands upright at each x."""
    gap = np.full_like(x, np.nan)
    xs = np.stack([x, x, gap], axis=1).ravel()
    ys = np.tile([low, high, np.nan], len(x))
    return xs, ys


def _place(values: NDArray[np.float64], data: xr.Dataset) -> NDArray[np.float64]:
    """Return where values stand along the drawn axis, NaN outside the picture."""
    place = np.asarray(
        to_position(values, data.attrs["scale"], data.attrs["linear_width"]), np.float64
    )
    edge = data["position_edge"].values
    return np.where((place >= edge[0]) & (place <= edge[-1]), place, np.nan)


def _step_of_one(
    x: NDArray[np.float64], y: NDArray[np.float64], start: float, stop: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the line, drawn across the frame where there is but one column."""
    if len(x) == 1:
        return np.array([start, stop]), np.array([y[0], y[0]])
    return x, y


def _stop(data: xr.Dataset) -> float:
    return float(data["first_batch"].values[-1] + data["batches"].values[-1])


def ramp(colour: str) -> list[str]:
    """Return 64 colours from the night to a colour, its first step well apart."""
    return [mixed(NIGHT, colour, float(share)) for share in np.linspace(0.3, 1.0, 64)]
