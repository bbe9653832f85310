"""The sharp part of a large chart: drawn over the overview, in bokeh, again and again.

The overview stays below as it is, so a pan or a zoom out shows it at once, coarse, until
the sharp part is there. Imports bokeh; reads nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    GlyphRenderer,
    Image,
    LogColorMapper,
    Title,
)

from actrace.analysis.charts.colorful.marks import line_places, outside
from actrace.analysis.charts.colorful.read_off import add_hover, point_hover, readings
from actrace.analysis.charts.findings.marked import SAID, Lane, lane_boxes, said
from actrace.analysis.charts.grammar.bar import BAR_TITLE
from actrace.analysis.charts.grammar.style import LINES, NIGHT, STRIP, Line

__all__ = ["SHARP", "SharpLayer", "Sight", "sharp_image"]

#: Name of what draws the image, for who looks for it in a page.
SHARP: Final = "sharp"
#: Of the numbers of epochs, and of rules.
_PALE: Final = "#c9d1dc"


def sharp_image(data: xr.Dataset) -> dict[str, Any]:
    """Return the columns of an image's source: the picture, its place and its `readings`.

    Parameters
    ----------
    data : Dataset
        From `Lens.look`.

    Returns
    -------
    dict
        ``image``: float32, which is half the way to the browser and still tells counts
        to seven digits, NaN where nothing was counted; ``x``, ``y``, ``dw``, ``dh``.
    """
    shown = data["shown"].values.astype(np.float32)
    edge = data["position_edge"].values
    return {
        "image": [np.where(shown > 0, shown, np.float32("nan"))],
        "x": [float(data["first_batch"].values[0])],
        "y": [float(edge[0])],
        "dw": [float(data.attrs["batches_per_column"] * data.sizes["column"])],
        "dh": [float(edge[-1] - edge[0])],
        **readings(data),
    }


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to draw of a view.

    Attributes
    ----------
    title : str
    data : Dataset
        From `Lens.look`.
    names : list of (batch, place along the value axis, text)
        Of the epochs.
    lanes : list of Lane
        Of what was found.
    """

    title: str
    data: xr.Dataset
    names: list[tuple[float, float, str]]
    lanes: list[Lane]


class SharpLayer:
    """What is drawn over one rendering of a large chart.

    Parameters
    ----------
    picture : bokeh figure
        The frame of the picture.
    """

    def __init__(self, picture: Any) -> None:
        self.picture = picture
        self._below: dict[str, Any] = {}
        self._sources: dict[str, ColumnDataSource] = {}

    def add(self, what: str, figure: Any) -> None:
        """Take note of a frame below the picture: ``"findings"`` or ``"outside"``."""
        self._below[what] = figure

    def turn(
        self, across: tuple[float, float], up: tuple[float, float], whole: Sequence[Any]
    ) -> None:
        """Let a view be the one that is open first; Reset still leads to the whole.

        Parameters
        ----------
        across : (first, stop)
            Batches.
        up : (low, high)
            Along the drawn value axis.
        whole : (across, up)
        """
        ranges = (self.picture.x_range, self.picture.y_range)
        for ends, (start, end), (first, last) in zip(ranges, (across, up), whole, strict=True):
            ends.update(start=start, end=end, reset_start=first, reset_end=last)

    def show(self, sight: Sight) -> None:
        """Draw a view."""
        if self._sources:
            self._sources["image"].data = sharp_image(sight.data)
        else:
            self._begin(sight.data)
        self.picture.title.text = sight.title
        for bar in self.picture.select({"type": Title, "name": BAR_TITLE}):
            bar.text = str(sight.data["shown"].attrs["long_name"])
        for name, (x, y) in line_places(sight.data).items():
            self._sources[name].data = {"x": x, "y": y}
        self._sources["epochs"].data = {
            name: [row[i] for row in sight.names] for i, name in enumerate(("x", "y", "text"))
        }
        if "outside" in self._below:
            self._show_outside(self._below["outside"], sight.data)
        if "findings" in self._below:
            self._sources["bars"].data = bars(sight.lanes)
            self._sources["rules"].data = rules(sight.lanes)

    def _begin(self, data: xr.Dataset) -> None:
        """Hide all of the overview but its image, and put the sharp one and lines over it."""
        image = None
        for renderer in self.picture.renderers:
            if isinstance(renderer, GlyphRenderer) and isinstance(renderer.glyph, Image):
                image = renderer
            else:
                renderer.visible = False
        # With all that hovering reads, which may come at any time.
        self._sources["image"] = source = ColumnDataSource(sharp_image(data))
        # Nothing counted is the night itself here, or the overview would shine through.
        mapper = image.glyph.color_mapper if image is not None else LogColorMapper()
        sharp = self.picture.image(
            image="image", x="x", y="y", dw="dw", dh="dh", source=source,
            color_mapper=mapper.clone(nan_color=NIGHT), name=SHARP,
        )  # fmt: skip
        add_hover(self.picture, sharp)
        for name, line in LINES.items():
            self._sources[name] = _line(self.picture, line)
        self._sources["epochs"] = source = _empty("x", "y", "text")
        self.picture.text(
            "x", "y", "text", source=source, text_color=_PALE, text_font_size="7pt",
            text_baseline="middle",
        )  # fmt: skip
        for figure in self._below.values():
            for renderer in figure.renderers:
                renderer.visible = False
        if "outside" in self._below:
            for name, colour in STRIP.items():
                self._sources[name] = _line(self._below["outside"], Line(colour, 1.2))
        if "findings" in self._below:
            self._begin_findings(self._below["findings"])

    def _begin_findings(self, figure: Any) -> None:
        self._sources["bars"] = source = _empty(
            "left", "right", "bottom", "top", "colour", *SAID.values()
        )
        quads = figure.quad(
            "left", "right", "top", "bottom", source=source, color="colour", line_width=0
        )
        point_hover(figure, [quads], [*SAID.items()])
        self._sources["rules"] = source = _empty("x", "y", "text", "colour", "align")
        figure.text(
            "x", "y", "text", source=source, text_color="colour", text_align="align",
            text_font_size="8pt", text_baseline="middle",
        )  # fmt: skip

    def _show_outside(self, figure: Any, data: xr.Dataset) -> None:
        shares = outside(data)
        x = data["first_batch"].values + data["batches"].values / 2
        for name in STRIP:
            share = shares.get(name)
            y = np.zeros(0) if share is None else 100 * share
            self._sources[name].data = {"x": x[: len(y)], "y": y}
        top = max([float(np.nanmax(share)) for share in shares.values()], default=0.0) * 100
        axis = figure.yaxis[0]
        axis.ticker = FixedTicker(ticks=[0.0, top] if top else [0.0])
        axis.major_label_overrides = {0.0: "0", top: f"{top:.2g}"} if top else {0.0: "0"}
        figure.y_range.end = (top or 1.0) * 1.12


def bars(lanes: Sequence[Lane]) -> dict[str, list[Any]]:
    """Return the bars of lanes as columns of a source, the gravest topmost."""
    rows = [
        (*box, lane.colour, *said(lane.mark))
        for at, lane in enumerate(lanes)
        for box in lane_boxes(lane, float(len(lanes) - 1 - at), 1.0)
    ]
    names = ("left", "bottom", "right", "top", "colour", *SAID.values())
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def rules(lanes: Sequence[Lane]) -> dict[str, list[Any]]:
    """Return the names of lanes as columns of a source."""
    return {
        "x": [lane.place for lane in lanes],
        "y": [len(lanes) - 0.5 - at for at in range(len(lanes))],
        "text": [lane.text for lane in lanes],
        "colour": [lane.ink for lane in lanes],
        "align": [lane.align for lane in lanes],
    }


def _empty(*names: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in names})


def _line(figure: Any, line: Line) -> ColumnDataSource:
    source = _empty("x", "y")
    figure.line("x", "y", source=source, **line.options()[1])
    return source
