"""The comparison page: where runs part from the first of them, and the layer there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import panel as pn

from actrace.analysis.app.controls import button, choice
from actrace.analysis.app.drawing import png
from actrace.analysis.app.markup import block, escaped, heading, picture, table
from actrace.analysis.app.names import layer_names
from actrace.analysis.app.part import Part, Parts
from actrace.analysis.app.slot import Slot
from actrace.analysis.app.tab import Tab
from actrace.analysis.app.view import View
from actrace.analysis.charts.differing.comparison import comparison_chart
from actrace.analysis.charts.differing.difference import difference_chart
from actrace.analysis.comparison.compare import compare
from actrace.analysis.comparison.comparison import Comparison
from actrace.errors import ComparisonError
from actrace.store.describe import clean
from actrace.store.run import Run

__all__ = ["ComparisonPage", "comparison_markup"]

_DOING: Final = "comparing the runs"
#: A git commit, of which its beginning tells it from others.
_COMMIT: Final = re.compile("[0-9a-f]{40}")
#: Column of the differences -> what a reader takes it for at once.
_WORDS: Final = {
    "parts_at": "parts at step",
    "parts_in": "parts in layer",
    "duration": "duration, s",
}


def comparison_markup(found: Comparison) -> str:
    """Return where each run parts, what to know of it, and what the runs differ in."""
    said = "".join(f"<p>{escaped(part.sentence(found.baseline))}</p>" for part in found.parts)
    notes = "".join(f"<li>{escaped(remark, 600)}</li>" for remark in found.remarks)
    differences = found.differences
    columns = [("run", "left")]
    columns += [(_head(str(name)), "right") for name in differences.columns]
    rows = [
        [name, *map(_cell, values)]
        for name, values in zip(differences.index, differences.itertuples(index=False), strict=True)
    ]
    return f"{said}{f'<ul>{notes}</ul>' if notes else ''}{table(columns, rows)}"


def _head(name: str) -> str:
    """Return what a column is called: settings by their own names, the rest in words."""
    if name.startswith("config."):
        return name
    word = name.removeprefix("outcome.").removeprefix("environment.")
    return _WORDS.get(word, word.replace("_", " "))


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) and _COMMIT.fullmatch(value):
        return value[:10]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class ComparisonPage:
    """Several runs beside the first of them.

    Parameters
    ----------
    tab : Tab
    view : View
        Of page ``"compare"``.
    """

    def __init__(self, tab: Tab, view: View) -> None:
        self._tab, self.view = tab, view
        self._settling = False
        self._runs: dict[str, Run] = {}
        self._found: Comparison | None = None
        self._round = 0
        self.back = button("All runs", width=100)
        self.back.on_click(lambda _: tab.go(View()))
        self.links = [button(clean(name, 60)) for name in view.runs]
        for name, link in zip(view.runs, self.links, strict=True):
            link.on_click(lambda _, name=name: tab.go(View("run", run=name)))
        self.phase = choice("Phase", options={}, width=130, visible=False)
        self.phase.param.watch(self._rephased, "value")
        self.layer = choice("Layer", options={}, width=420, visible=False)
        self.layer.param.watch(self._chosen, "value")
        self.found = Slot(tab.workers)
        self.found.wait(_DOING)
        self.parts = Parts(tab.workers)
        self.body = pn.Column(
            pn.Row(self.back, heading(f"{len(view.runs)} runs compared")),
            pn.FlexBox(*self.links),
            self.found.area,
            pn.Row(self.phase, self.layer),
            self.parts.area,
            sizing_mode="stretch_width",
        )

    async def start(self) -> None:
        """Compare the runs, then draw where they part, and the layer that parts first."""
        self._found = None
        await self.found.show(self._told, doing=_DOING, read=self._compared)
        await self.redraw()

    async def redraw(self) -> None:
        """Draw what was compared."""
        if self._found is not None:
            await self.parts.show([self._map(self._found), *self._pairs(self._found)])

    def _compared(self) -> Comparison:
        if len(self.view.runs) < 2:
            raise ComparisonError(
                "a comparison needs two runs or more; pick them in the table of runs"
            )
        self._runs = {name: self._tab.folder.open(name) for name in self.view.runs}
        found = compare(self._runs, phase=self.view.phase or "train")
        found.load(progress=False)
        return found

    def _told(self, found: Comparison) -> Any:
        self._found, self._round = found, self._round + 1
        parted = [part.layer for part in found.parts if part.parted]
        layers = layer_names(self._runs[found.baseline])
        phases = list(self._runs[found.baseline].phases)
        self._settling = True
        try:
            wanted = self.view.layer if self.view.layer in layers else ""
            self.layer.param.update(
                options={clean(name, 90): name for name in layers},
                value=wanted or next(iter([*parted, *layers[-1:]]), None),
                visible=True,
            )
            self.phase.param.update(
                options={clean(name, 60): name for name in phases},
                value=self.view.phase or "train",
                visible=len(phases) > 1,
            )
        finally:
            self._settling = False
        return block(comparison_markup(found))

    def _map(self, found: Comparison) -> Part:
        dark = self._tab.dark()
        return Part(
            "map",
            "Which layer parts, when",
            "drawing where the runs part",
            lambda data: picture(data, f"Distances from {found.baseline}, by layer and step"),
            draw=lambda _: png(comparison_chart(found), dark=dark),
            depends=(self._round, dark),
        )

    def _pairs(self, found: Comparison) -> Iterator[Part]:
        """Yield a part for each run beside the first: the layer in both, and what differs."""
        layer, phase, dark = self.layer.value, self.view.phase or "train", self._tab.dark()
        if layer is None:
            return
        first = self._runs[found.baseline]
        for name in found.runs:
            if name == found.baseline:
                continue
            title = f"The layer in {found.baseline} and in {name}"

            def draw(_: Any, run: Run = self._runs[name]) -> bytes:
                return png(difference_chart(first, run, layer=layer, phase=phase), dark=dark)

            def place(data: bytes, title: str = title) -> Any:
                return picture(data, title)

            yield Part(
                f"pair {name}",
                title,
                "drawing the layer of both runs",
                place,
                draw=draw,
                depends=(self._round, layer, dark),
            )

    def _rephased(self, event: Any) -> None:
        if not self._settling:
            self.view = replace(self.view, phase=event.new)
            self._tab.noted(self.view)
            pn.state.execute(self.start)

    def _chosen(self, event: Any) -> None:
        if not self._settling:
            self.view = replace(self.view, layer=event.new)
            self._tab.noted(self.view)
            pn.state.execute(self.redraw)
