"""The comparison page: where runs part from the first of them, and the layer there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import panel as pn

from actrace.analysis.app.drawing import png
from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.markup import block, escaped, heading, picture, table
from actrace.analysis.app.sections import layer_names
from actrace.analysis.app.slot import Slot
from actrace.analysis.app.view import View
from actrace.analysis.app.workers import Workers
from actrace.analysis.charts.colorful import colorful_chart
from actrace.analysis.comparison.compare import compare
from actrace.analysis.comparison.comparison import Comparison
from actrace.errors import ComparisonError
from actrace.store.describe import clean

__all__ = ["ComparisonPage", "comparison_markup"]


def comparison_markup(found: Comparison) -> str:
    """Return where each run parts, what to know of it, and what the runs differ in."""
    said = "".join(f"<p>{escaped(part.sentence(found.baseline))}</p>" for part in found.parts)
    notes = "".join(f"<li>{escaped(remark, 600)}</li>" for remark in found.remarks)
    differences = found.differences
    columns = [("run", "left")]
    columns += [(str(name).removeprefix("outcome."), "right") for name in differences.columns]
    rows = [
        [name, *map(_cell, values)]
        for name, values in zip(differences.index, differences.itertuples(index=False), strict=True)
    ]
    return f"{said}{f'<ul>{notes}</ul>' if notes else ''}{table(columns, rows)}"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class ComparisonPage:
    """Several runs beside the first of them.

    Parameters
    ----------
    folder, workers, view, go, noted
        As for `CataloguePage`, of a view of page ``"compare"``.
    """

    def __init__(
        self,
        folder: RunFolder,
        workers: Workers,
        view: View,
        *,
        go: Callable[[View], Any],
        noted: Callable[[View], Any],
    ) -> None:
        self._folder, self._noted, self.view = folder, noted, view
        self._settling = False
        self.back = pn.widgets.Button(label="All runs", width=100)
        self.back.on_click(lambda _: go(View()))
        self.links = [pn.widgets.Button(label=clean(name, 60)) for name in view.runs]
        for name, button in zip(view.runs, self.links, strict=True):
            button.on_click(lambda _, name=name: go(View("run", run=name)))
        self.layer = pn.widgets.Select(label="Layer", options={}, width=420, visible=False)
        self.layer.param.watch(self._chosen, "value")
        self.found = Slot(workers.read)
        self.pictures = Slot(workers.draw)
        self.body = pn.Column(
            pn.Row(self.back, heading(f"{len(view.runs)} runs compared")),
            pn.FlexBox(*self.links),
            self.found.area,
            self.layer,
            self.pictures.area,
            sizing_mode="stretch_width",
        )

    async def start(self) -> None:
        """Compare the runs, then draw the layer in which one first parts."""
        self._first_layer = ""
        await self.found.show(self._compared, self._told, doing="comparing the runs")
        if self.layer.options:
            await self._draw()

    def _compared(self) -> tuple[str, list[str], str]:
        if len(self.view.runs) < 2:
            raise ComparisonError(
                "a comparison needs two runs or more; pick them in the table of runs"
            )
        runs = {name: self._folder.open(name) for name in self.view.runs}
        found = compare(runs, phase=self.view.phase or "train")
        found.load(progress=False)
        parted = [part.layer for part in found.parts if part.parted]
        layers = layer_names(runs[found.baseline])
        return comparison_markup(found), layers, (parted or layers[-1:] or [""])[0]

    def _told(self, found: tuple[str, list[str], str]) -> Any:
        markup, layers, parted = found
        self._settling = True
        try:
            wanted = self.view.layer if self.view.layer in layers else parted
            self.layer.param.update(
                options={clean(name, 90): name for name in layers}, value=wanted, visible=True
            )
        finally:
            self._settling = False
        return block(markup)

    def _chosen(self, event: Any) -> None:
        if self._settling:
            return
        self.view = replace(self.view, layer=event.new)
        self._noted(self.view)
        pn.state.execute(self._draw)

    async def _draw(self) -> None:
        layer, phase = self.layer.value, self.view.phase or "train"

        def work() -> list[tuple[str, bytes]]:
            drawn = []
            for name in self.view.runs:
                run = self._folder.open(name)
                if layer in layer_names(run):
                    drawn.append((name, png(colorful_chart(run, layer=layer, phase=phase))))
            return drawn

        def place(drawn: list[tuple[str, bytes]]) -> Any:
            return pn.Column(
                *(picture(data, f"Layer {layer} of {name}") for name, data in drawn),
                sizing_mode="stretch_width",
            )

        await self.pictures.show(work, place, doing="drawing the layer of each run")
