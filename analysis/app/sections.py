"""What a run's page shows in each of its sections: work for a worker, and its place.

Each function is a pair: `work` reads and draws, on a worker's thread, and knows
nothing of a page; `place` makes of it what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import panel as pn

from actrace.analysis.app.drawing import bokeh, png, zoomable
from actrace.analysis.app.live import zoomed
from actrace.analysis.app.markup import block, escaped, picture, table
from actrace.analysis.app.view import View
from actrace.analysis.charts.colorful import colorful_chart
from actrace.analysis.charts.frame import run_name
from actrace.analysis.charts.twin_peaks import twin_peaks_chart
from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.finding import Finding
from actrace.analysis.findings.findings import Findings, measure, where
from actrace.analysis.rates import rates
from actrace.store.run import Run

__all__ = ["Section", "layer_names", "section"]

#: Findings that are written out; the table of the command line has all.
_MOST_FINDINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    doing : str
        What the busy sign says.
    work : callable
        Does what takes time.
    place : callable
        Makes a pane of what `work` returned.
    """

    doing: str
    work: Callable[[], Any]
    place: Callable[[Any], Any]


def layer_names(run: Run) -> list[str]:
    """Return the names of a run's layers, none of a run that has not declared them."""
    if "layer" not in run.coords:
        return []
    return [str(name) for name in run.coords["layer"].to_numpy().tolist()]


def section(run: Run, view: View, show: Callable[[Finding], Any]) -> Section:
    """Return the section that a view asks for.

    Parameters
    ----------
    run : Run
    view : View
        With the phase, layer and epoch that the page settled on.
    show : callable
        Takes a finding to its layer.
    """
    phase = view.phase or "train"
    if view.section == "layer":
        return Section(
            "drawing the layer",
            lambda: zoomable(colorful_chart(run, layer=view.layer, phase=phase)),
            lambda drawn: zoomed(*drawn),
        )
    if view.section == "peaks":
        return Section("drawing the twin peaks", lambda: bokeh(peaks(run, view)), pn.pane.Bokeh)
    if view.section == "rates":
        return Section("computing the rates", lambda: rates_markup(run, view.epoch), block)
    if view.section == "findings":
        return Section(
            "looking for what went wrong",
            lambda: diagnose(run, progress=False),
            lambda found: findings_column(found, set(layer_names(run)), show),
        )
    says = f"The colorful dimension of every layer of {run_name(run)}, phase {phase}"
    return Section(
        "drawing every layer",
        lambda: png(colorful_chart(run, phase=phase, progress=False)),
        lambda found: picture(found, says),
    )


def peaks(run: Run, view: View) -> Any:
    """Return the twin peaks of one epoch."""
    return twin_peaks_chart(run, epochs=view.epoch)


def rates_markup(run: Run, epoch: int | None) -> str:
    """Return the rates of all layers in one epoch, and the extremes of every epoch."""
    found = rates(run, by="epoch").load()
    epochs = [int(one) for one in found["epoch"].to_numpy()]
    phases = [str(phase) for phase in found["phase"].to_numpy()]
    at = epoch if epoch in epochs else epochs[-1]
    one = found.sel(epoch=at)
    columns = [("layer", "left")]
    columns += [(f"{what}, {phase}", "right") for phase in phases for what in ("active", "dead")]
    rows = [
        [
            layer,
            *(
                percent(float(one[name].sel(phase=phase)[i]))
                for phase in phases
                for name in ("activation_rate", "death_rate")
            ),
        ]
        for i, layer in enumerate(str(name) for name in found["layer"].to_numpy())
    ]
    extremes = [
        [
            number,
            phase,
            percent(float(cell["lowest_activation_rate"])),
            str(cell["lowest_activation_layer"].item()),
            percent(float(cell["highest_death_rate"])),
            str(cell["highest_death_layer"].item()),
        ]
        for number in epochs
        for phase in phases
        for cell in (found.sel(phase=phase, epoch=number),)
    ]
    heads = [
        ("epoch", "right"),
        ("phase", "left"),
        ("lowest activation", "right"),
        ("layer", "left"),
        ("highest death", "right"),
        ("layer", "left"),
    ]
    return (
        f"<h2>Epoch {at}, every layer</h2>"
        "<p>Active: mean over units of the share of active elements. "
        "Dead: share of units with no active element in the epoch.</p>"
        f"{table(columns, rows)}"
        "<h2>Every epoch, the worst layer (those silent by design left out)</h2>"
        f"{table(heads, extremes)}"
    )


def percent(value: float) -> str:
    """Return a share as a percentage, ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def findings_column(found: Findings, layers: set[str], show: Callable[[Finding], Any]) -> pn.Column:
    """Return the findings, the gravest first, with a button to each one's layer."""
    rows = [block(f"<p>{escaped(repr(found).splitlines()[0])}</p>")]
    for finding in found[:_MOST_FINDINGS]:
        cells: list[Any] = [block(finding_markup(finding))]
        if finding.layer in layers:
            button = pn.widgets.Button(label="Show me", width=90)
            button.on_click(lambda _, finding=finding: show(finding))
            cells.insert(0, button)
        else:
            cells.insert(0, pn.Spacer(width=90))
        rows.append(pn.Row(*cells, sizing_mode="stretch_width"))
    if len(found) > _MOST_FINDINGS:
        rows.append(block(f"<p>and {len(found) - _MOST_FINDINGS} more: see actrace diagnose</p>"))
    if found.unjudged:
        said = "".join(
            f"<li>{escaped(one.rule)}: {escaped(one.why)}</li>" for one in found.unjudged
        )
        rows.append(block(f"<details><summary>not judged</summary><ul>{said}</ul></details>"))
    return pn.Column(*rows, sizing_mode="stretch_width")


def finding_markup(finding: Finding) -> str:
    """Return one finding in words."""
    place = "; ".join(part for part in (where(finding), finding.when) if part)
    value, threshold = measure(finding)
    held = f"{value}, threshold {threshold}" if threshold else value
    return (
        f"<p><b class='{escaped(finding.severity)}'>{escaped(finding.severity)}</b> "
        f"<b>{escaped(finding.rule)}</b>{' at ' + escaped(place) if place else ''}</p>"
        f"<p>{escaped(finding.what, 1000)}</p><p>{escaped(held, 600)}</p>"
        f"<p>Means: {escaped(finding.meaning, 1000)}</p><p>Try: {escaped(finding.remedy, 1000)}</p>"
    )
