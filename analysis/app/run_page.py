"""A run's page: what was recorded, and one of its sections; it follows a live run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

import panel as pn

from actrace.analysis.app.controls import button, choice, slider
from actrace.analysis.app.findings_list import ALL, chart_of
from actrace.analysis.app.judge import Judge
from actrace.analysis.app.markup import block, escaped, failure, heading, words
from actrace.analysis.app.names import layer_names, parameter_names
from actrace.analysis.app.part import Parts
from actrace.analysis.app.sections import Shown, parts_of
from actrace.analysis.app.tab import Tab
from actrace.analysis.app.view import EACH, SECTIONS, Ends, View
from actrace.analysis.findings.finding import Finding
from actrace.errors import ActraceError
from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean
from actrace.store.run import Run

__all__ = ["RunPage"]

#: Which widgets a section has.
_CHOICES: Final = {
    "overview": ("phase", "each", "mark"),
    "layer": ("phase", "layer", "mark"),
    "peaks": ("along", "each", "phase", "epoch", "mark"),
    "classes": ("phase", "epoch", "mark"),
    "rates": ("phase", "by", "epoch", "mark"),
    "divergence": ("mark",),
    "gradients": ("phase", "parameter", "mark"),
    "findings": (),
}
#: Section -> what the switch of `EACH` says there.
_EACH: Final = {
    "overview": (
        "A tile is",
        {"a layer": "", "a class of the output": "class", "a unit of the output": "unit"},
    ),
    "peaks": ("Of the output", {text: name for name, text in EACH.items()}),
}
#: A live run's picture is drawn again after this many times what drawing it took,
#: so that following costs a fifth of one core at most.
_REST: Final = 4.0


class RunPage:
    """One run.

    Parameters
    ----------
    tab : Tab
    view : View
        Of page ``"run"``.
    """

    def __init__(self, tab: Tab, view: View) -> None:
        self._tab, self.view = tab, view
        self.run: Run | None = None
        self._known: tuple[str, dict[str, int]] | None = None
        self._judge: Judge | None = None
        self._draw_next = 0.0
        self._settling = False
        self.back = button("All runs", width=100)
        self.back.on_click(lambda _: tab.go(View()))
        self.buttons = {name: button(text, min_width=90) for name, text in SECTIONS.items()}
        for name, opens in self.buttons.items():
            opens.on_click(lambda _, name=name: self.show(section=name))
        self.sections = pn.FlexBox(*self.buttons.values())
        self.phase = choice("Phase", options=[], width=130)
        self.layer = choice("Layer", options={}, width=380)
        self.parameter = choice("Parameter", options={}, width=380)
        self.by = choice(
            "A column is", options={"a batch": "batch", "an epoch": "epoch"}, width=130
        )
        self.each = choice("", options={"": ""}, width=190)
        self.along = choice(
            "Epochs", options={"one at a time": "", "along time": "time"}, width=155
        )
        self.mark = choice("Findings marked", options={}, width=210)
        self.epoch = slider("Epoch", options=[0], width=360)
        self.widgets = {
            name: getattr(self, name)
            for name in ("phase", "layer", "parameter", "by", "each", "along", "mark", "epoch")
        }
        for name, widget in self.widgets.items():
            widget.param.watch(
                lambda event, name=name: self._chosen(**{name: event.new}),
                "value_throttled" if name == "epoch" else "value",
            )
        self.choices = pn.FlexBox(align_items="end")
        self.about = pn.Column(words("opening the run ..."), sizing_mode="stretch_width")
        self.parts = Parts(tab.workers)
        self.body = pn.Column(
            pn.Row(self.back, heading(view.run), sizing_mode="stretch_width"),
            self.about,
            self.sections,
            self.choices,
            self.parts.area,
            sizing_mode="stretch_width",
        )

    async def start(self) -> None:
        """Open the run and show the section that the view asks for."""
        self.about.loading = True
        try:
            summary = await self._tab.workers.read(lambda: self._tab.folder.summary(self.view.run))
            await self._open(summary)
        except (ActraceError, OSError) as error:
            self.about[:] = [failure(error)]
            self.sections.visible = False
            return
        finally:
            self.about.loading = False
        await self._draw()

    async def follow(self) -> None:
        """Look whether a run that was being recorded has grown, and show what is new."""
        if self._known is None or self._known[0] != "recording":
            return
        try:
            summary = await self._tab.workers.read(lambda: self._tab.folder.summary(self.view.run))
            if (summary.status, summary.batches) == self._known:
                return
            # The last state is drawn whenever it comes.
            if summary.status == "recording" and time.monotonic() < self._draw_next:
                return
            await self._open(summary)
        except (ActraceError, OSError) as error:
            self.about[:] = [failure(error)]
            return
        await self._draw(quiet=True)

    async def redraw(self) -> None:
        """Draw anew what depends on the page's colours."""
        await self._draw()

    def show(self, **changes: Any) -> None:
        """Show another section, phase, layer or epoch.

        Parameters
        ----------
        **changes
            Fields of `View`.
        """
        # Of other batches, or another layer's values, what was in view says nothing.
        if "section" in changes or "phase" in changes:
            changes = {"batches": None, "values": None} | changes
        elif "layer" in changes:
            changes = {"values": None} | changes
        self.view = replace(self.view, **changes)
        self._tab.noted(self.view)
        self._settle()
        pn.state.execute(self._draw)

    def show_finding(self, finding: Finding) -> None:
        """Show the chart that a finding is about, with the finding marked."""
        if self.run is not None:
            self.show(**chart_of(finding, self.run))

    def _seen(self, batches: Ends | None, values: Ends | None) -> None:
        """Keep what is in view of the large chart, to share it and for when it is drawn again."""
        self.view = replace(self.view, batches=batches, values=values)
        self._tab.noted(self.view)

    async def _open(self, summary: RunSummary) -> None:
        def opened() -> tuple[Run, str, dict[str, list[int]]]:
            run = self._tab.folder.open(self.view.run)
            return run, run._repr_html_(), {p: run.epochs(p).tolist() for p in run.phases}

        run, markup, epochs = await self._tab.workers.read(opened)
        self.run, self._judge = run, Judge(run)
        self._known = (summary.status, summary.batches)
        said = ", ".join(f"{phase} {n:,} batches" for phase, n in summary.batches.items())
        line = f"{summary.status}: {said or 'no batch yet'}"
        self.about[:] = [block(f"<details><summary>{escaped(line)}</summary>{markup}</details>")]
        self._epochs = sorted({epoch for some in epochs.values() for epoch in some})
        self._settle()

    def _chosen(self, **changes: Any) -> None:
        if not self._settling:
            self.show(**changes)

    def _settle(self) -> None:
        """Set the widgets to what the view asks for, as far as the run has it."""
        run = self.run
        if run is None:
            return
        self._settling = True
        try:
            self._settle_on(run)
        finally:
            self._settling = False
        shown = [self.widgets[name] for name in _choices(self.view)]
        few = (self.epoch, self.phase, self.parameter)
        self.choices[:] = [w for w in shown if w not in few or len(w.options) > 1]
        for name, opens in self.buttons.items():
            opens.color = "primary" if name == self.view.section else "default"

    def _settle_on(self, run: Run) -> None:
        view, names = self.view, list(run.phases)
        first = "valid" if view.section in ("classes", "peaks") else "train"
        phase = next((n for n in (view.phase, first) if n in names), (names or [""])[0])
        _settle(self.phase, names, phase)
        layers = layer_names(run)
        _settle(self.layer, layers, view.layer if view.layer in layers else (layers or [""])[-1])
        parameters = parameter_names(run, phase)
        held = view.parameter if view.parameter in parameters else (parameters or [""])[0]
        _settle(self.parameter, parameters, held)
        self.by.value, self.along.value = view.by, view.along
        label, each = _EACH.get(view.section, _EACH["peaks"])
        self.each.param.update(label=label, options=each, value=view.each)
        rules = [] if self._judge is None else self._judge.rules()
        marks = dict.fromkeys([*rules, view.mark]) if view.mark not in ("", ALL) else rules
        options = {"none": "", "all": ALL} | {clean(rule, 60): rule for rule in marks}
        self.mark.param.update(options=options, value=view.mark)
        epochs = self._epochs or [0]
        epoch = view.epoch if view.epoch in epochs else epochs[-1]
        self.epoch.param.update(options=epochs, value=epoch)

    async def _draw(self, *, quiet: bool = False) -> None:
        if self.run is None or self._judge is None:
            return
        chosen: dict[str, Any] = {n: widget.value or "" for n, widget in self.widgets.items()}
        chosen["epoch"] = self.epoch.value
        shown = Shown(
            run=self.run,
            view=replace(self.view, **chosen),
            dark=self._tab.dark(),
            state=self._judge,
            judge=self._judge.found,
            show=self.show_finding,
            ends=lambda: (self.view.batches, self.view.values),
            seen=self._seen,
        )
        begun = time.monotonic()
        await self.parts.show(parts_of(shown), quiet=quiet)
        now = time.monotonic()
        self._draw_next = now + _REST * (now - begun)


def _choices(view: View) -> list[str]:
    """Return the names of the widgets that change what a view shows."""
    idle = set()
    if view.section == "overview" and view.each:
        idle.add("mark")
    if view.section == "peaks":
        idle |= {"epoch"} if view.along else set()
        # All phases stand together where no class has a colour of its own.
        idle |= set() if view.each else {"phase"}
    return [name for name in _CHOICES[view.section] if name not in idle]


def _settle(widget: Any, names: list[str], value: str) -> None:
    """Give a list its entries, cleaned of control characters, and choose one."""
    widget.param.update(options={clean(n, 90): n for n in names}, value=value if names else None)
