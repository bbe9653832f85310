"""A run's page: what was recorded, and one of its sections; it follows a live run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import panel as pn

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.markup import block, escaped, failure, heading
from actrace.analysis.app.sections import layer_names, section
from actrace.analysis.app.slot import Slot
from actrace.analysis.app.view import SECTIONS, View
from actrace.analysis.app.workers import Workers
from actrace.analysis.findings.finding import Finding
from actrace.errors import ActraceError
from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean
from actrace.store.run import Run

__all__ = ["RunPage"]

#: Which widgets a section has.
_CHOICES: Final = {
    "overview": ("phase",),
    "layer": ("phase", "layer"),
    "peaks": ("epoch",),
    "rates": ("epoch",),
    "findings": (),
}
#: A live run's picture is drawn again after this many times what drawing it took,
#: so that following costs a fifth of one core at most.
_REST: Final = 4.0


class RunPage:
    """One run.

    Parameters
    ----------
    folder : RunFolder
    workers : Workers
    view : View
        Of page ``"run"``.
    go, noted : callable
        As for `CataloguePage`.
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
        self._folder, self._workers, self._noted = folder, workers, noted
        self.view = view
        self.run: Run | None = None
        self._known: tuple[str, dict[str, int]] | None = None
        self._draw_next = 0.0
        self._settling = False
        self.back = pn.widgets.Button(label="All runs", width=100)
        self.back.on_click(lambda _: go(View()))
        self.buttons = {
            name: pn.widgets.Button(label=text, width=115) for name, text in SECTIONS.items()
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.show(section=name))
        self.phase = pn.widgets.Select(label="Phase", options=[], width=150)
        self.layer = pn.widgets.Select(label="Layer", options={}, width=420)
        self.epoch = pn.widgets.DiscreteSlider(label="Epoch", options=[0], width=420)
        self.phase.param.watch(lambda event: self._chosen(phase=event.new), "value")
        self.layer.param.watch(lambda event: self._chosen(layer=event.new), "value")
        self.epoch.param.watch(lambda event: self._chosen(epoch=event.new), "value_throttled")
        self.choices = pn.Row()
        self.about = pn.Column(sizing_mode="stretch_width")
        self.slot = Slot(workers.draw)
        self.body = pn.Column(
            pn.Row(self.back, heading(view.run), sizing_mode="stretch_width"),
            self.about,
            pn.Row(*self.buttons.values()),
            self.choices,
            self.slot.area,
            sizing_mode="stretch_width",
        )

    async def start(self) -> None:
        """Open the run and show the section that the view asks for."""
        self.about.loading = True
        try:
            summary = await self._workers.read(lambda: self._folder.summary(self.view.run))
            await self._open(summary)
        except (ActraceError, OSError) as error:
            self.about[:] = [failure(error)]
            return
        finally:
            self.about.loading = False
        await self._draw()

    async def follow(self) -> None:
        """Look whether a run that was being recorded has grown, and show what is new."""
        if self._known is None or self._known[0] != "recording":
            return
        try:
            summary = await self._workers.read(lambda: self._folder.summary(self.view.run))
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

    def show(self, **changes: Any) -> None:
        """Show another section, phase, layer or epoch.

        Parameters
        ----------
        **changes
            Fields of `View`.
        """
        self.view = replace(self.view, **changes)
        self._noted(self.view)
        self._settle()
        pn.state.execute(self._draw)

    def show_finding(self, finding: Finding) -> None:
        """Show the layer that a finding is about."""
        phases = self.run.phases if self.run is not None else ()
        phase = finding.phase if finding.phase in phases else self.view.phase
        self.show(section="layer", layer=finding.layer, phase=phase)

    async def _open(self, summary: RunSummary) -> None:
        def opened() -> tuple[Run, str, dict[str, list[int]]]:
            run = self._folder.open(self.view.run)
            return run, run._repr_html_(), {p: run.epochs(p).tolist() for p in run.phases}

        self.run, markup, epochs = await self._workers.read(opened)
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
            names, layers = list(run.phases), layer_names(run)
            phase = self.view.phase
            if phase not in names:
                phase = "train" if "train" in names else (names or [""])[0]
            self.phase.param.update(options={clean(n, 60): n for n in names}, value=phase or None)
            layer = self.view.layer if self.view.layer in layers else (layers or [""])[-1]
            self.layer.param.update(
                options={clean(n, 90): n for n in layers}, value=layer if layers else None
            )
            epochs = self._epochs or [0]
            epoch = self.view.epoch if self.view.epoch in epochs else epochs[-1]
            self.epoch.param.update(options=epochs, value=epoch)
        finally:
            self._settling = False
        widgets = {"phase": self.phase, "layer": self.layer, "epoch": self.epoch}
        shown = [widgets[name] for name in _CHOICES[self.view.section]]
        self.choices[:] = [w for w in shown if w is not self.epoch or len(epochs) > 1]
        for name, button in self.buttons.items():
            button.color = "primary" if name == self.view.section else "default"

    async def _draw(self, *, quiet: bool = False) -> None:
        if self.run is None:
            return
        chosen = replace(
            self.view, phase=self.phase.value, layer=self.layer.value, epoch=self.epoch.value
        )
        made = section(self.run, chosen, self.show_finding)
        begun = time.monotonic()
        await self.slot.show(made.work, made.place, doing=made.doing, quiet=quiet)
        now = time.monotonic()
        self._draw_next = now + _REST * (now - begun)
