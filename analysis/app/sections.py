"""What a run's page shows in each of its sections: which charts and tables, of what.

Only the section that is open is computed, from its first part to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from actrace.analysis.app.class_tables import class_markup
from actrace.analysis.app.drawing import png, zoomable
from actrace.analysis.app.findings_list import chosen, findings_column, marked_markup
from actrace.analysis.app.live import zoomed
from actrace.analysis.app.markup import block, picture
from actrace.analysis.app.names import has_units
from actrace.analysis.app.part import Part
from actrace.analysis.app.rate_tables import rates_markup
from actrace.analysis.app.view import EACH, Ends, View
from actrace.analysis.charts.activity.rates import rates_chart
from actrace.analysis.charts.activity.units import units_chart
from actrace.analysis.charts.activity.warning import warning_chart
from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.differing.divergence import divergence_chart
from actrace.analysis.charts.gradients.gradients import gradients_chart
from actrace.analysis.charts.grammar.frame import run_name
from actrace.analysis.charts.peaks.class_peaks import class_peaks_chart
from actrace.analysis.charts.peaks.separation import separation_chart
from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart
from actrace.analysis.findings.finding import Finding
from actrace.analysis.findings.findings import Findings
from actrace.store.run import Run

__all__ = ["Shown", "parts_of"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as it is looked at.

    Attributes
    ----------
    run : Run
    view : View
        With the phase, layer, parameter and epoch that the page settled on.
    dark : bool
        Whether charts are drawn for a dark page.
    state : hashable
        Changes when the run has grown.
    judge : callable
        Returns the run's findings; takes its time when first asked.
    show : callable
        Takes a finding to the chart that it concerns.
    ends : callable
        Returns the batches and values that are in view of a large chart, None for all.
    seen : callable
        Takes them when others come into view.
    """

    run: Run
    view: View
    dark: bool
    state: Any
    judge: Callable[[], Findings]
    show: Callable[[Finding], Any]
    ends: Callable[[], tuple[Ends | None, Ends | None]]
    seen: Callable[[Ends | None, Ends | None], Any]

    @property
    def phase(self) -> str:
        """The phase looked at."""
        return self.view.phase or "train"

    def marked(self) -> tuple[Finding, ...]:
        """Return the findings that the view marks."""
        return chosen(self.judge(), self.view.mark) if self.view.mark else ()


def parts_of(shown: Shown) -> list[Part]:
    """Return the parts of the section that a view asks for."""
    parts = _SECTIONS[shown.view.section](shown)
    view = shown.view
    if not view.mark or view.section == "findings" or (view.section == "overview" and view.each):
        return parts
    output = str(shown.run.attrs.get("output_layer", ""))
    places = {
        "layer": view.layer, "gradients": view.parameter, "peaks": output, "classes": output,
    }  # fmt: skip
    place = places.get(view.section, "")
    said = Part(
        "marked",
        "",
        "looking for what went wrong",
        block,
        read=lambda: marked_markup(shown.judge(), view.mark, place),
        depends=(shown.state, view.mark, view.section, place),
    )
    return [said, *parts]


def _chart(
    shown: Shown,
    name: str,
    title: str,
    make: Callable[[Iterable[Finding]], Any],
    *depends: Any,
    marks: bool = False,
    closer: bool = False,
    note: str = "",
) -> Part:
    """Return a chart: a picture, or one to zoom and read values in.

    Parameters
    ----------
    shown : Shown
    name, title, note : str
    make : callable
        Takes the findings to mark and returns a HoloViews object.
    *depends
        What of the view it shows.
    marks : bool
        Whether findings are marked on it.
    closer : bool
        Whether it is one to look closer at.
    """
    says = f"{title}: {run_name(shown.run)}"

    def draw(found: Sequence[Finding] | None) -> Any:
        chart = make(found or ())
        if closer:
            return zoomable(chart, dark=shown.dark, ends=shown.ends())
        return png(chart, dark=shown.dark)

    def place(drawn: Any) -> Any:
        if closer:
            model, zoom = drawn
            return zoomed(model, zoom, shown.seen)
        return picture(drawn, says)

    return Part(
        name,
        title,
        f"drawing: {title}",
        place,
        read=shown.marked if marks else None,
        draw=draw,
        depends=(shown.state, shown.dark, shown.view.mark if marks else "", *depends),
        note=note,
    )


def _overview(shown: Shown) -> list[Part]:
    run, phase, each = shown.run, shown.phase, shown.view.each
    if each:
        return [
            _chart(
                shown, "outputs", f"The colorful dimension of {EACH[each]}, {phase}",
                lambda _: colorful_chart(run, phase=phase, by=each), phase, each,
            )
        ]  # fmt: skip
    return [
        _chart(
            shown, "layers", f"The colorful dimension of every layer, {phase}",
            lambda found: colorful_chart(run, phase=phase, findings=found, progress=False),
            phase, marks=True,
        )
    ]  # fmt: skip


def _layer(shown: Shown) -> list[Part]:
    run, phase, layer = shown.run, shown.phase, shown.view.layer
    parts = [
        _chart(
            shown, "layer", "The colorful dimension of the layer",
            lambda found: colorful_chart(run, layer=layer, phase=phase, findings=found),
            phase, layer, marks=True, closer=True,
        )
    ]  # fmt: skip
    if has_units(run, phase, layer):
        parts.append(
            _chart(
                shown, "units", "Its units: which are active, which are dead, since when",
                lambda found: units_chart(
                    run, layer=layer, phase=phase, findings=found, progress=False
                ),
                phase, layer, marks=True,
            )
        )  # fmt: skip
    return parts


def _peaks(shown: Shown) -> list[Part]:
    run, view, phase = shown.run, shown.view, shown.phase
    epoch, each = view.epoch, view.each or None
    of, whose = (f" of {EACH[view.each]}", f", {phase}") if each else ("", "")
    # All phases stand together, unless each class has a colour already.
    phases = phase if each else None
    if view.along:
        peaks = _chart(
            shown, "stacked", f"YES and NO{of} along time{whose}",
            lambda _: twin_peaks_chart(run, view="stacked", by=each, phases=phases), each, phases,
        )  # fmt: skip
    elif each:
        peaks = _chart(
            shown, "each", f"YES and NO{of} in one epoch{whose}",
            lambda _: twin_peaks_chart(run, epochs=epoch, by=each, phases=phases),
            epoch, each, phases, closer=True,
        )  # fmt: skip
    else:
        peaks = _chart(
            shown, "peaks", "YES and NO in one epoch",
            lambda found: twin_peaks_chart(run, epochs=epoch, findings=found),
            epoch, marks=True, closer=True,
        )  # fmt: skip
    by, each_one = ("class", ", class by class") if each == "class" else (None, "")
    separation = _chart(
        shown, "separation", f"How far they are apart{each_one}, epoch by epoch",
        lambda found: separation_chart(run, by=by, findings=found), by, marks=True,
    )  # fmt: skip
    return [peaks, separation]


def _classes(shown: Shown) -> list[Part]:
    run, view, phase = shown.run, shown.view, shown.phase
    return [
        Part(
            "report", "How each class fares", "computing what each class does", block,
            read=lambda: class_markup(run, phase, view.epoch),
            depends=(shown.state, phase, view.epoch),
        ),
        _chart(
            shown, "class-peaks", "YES and NO of each class",
            lambda _: class_peaks_chart(run, epoch=view.epoch), view.epoch,
        ),
        _chart(
            shown, "class-separation", "How far YES and NO of each class are apart",
            lambda found: separation_chart(run, by="class", findings=found), marks=True,
        ),
    ]  # fmt: skip


def _rates(shown: Shown) -> list[Part]:
    run, view, phase = shown.run, shown.view, shown.phase
    return [
        _chart(
            shown, "warning", "The least active and the most dead layer",
            lambda _: warning_chart(run, phase=phase, by=view.by), phase, view.by,
        ),
        _chart(
            shown, "rates", "How much of each layer is active and dead",
            lambda found: rates_chart(run, phase=phase, by=view.by, findings=found),
            phase, view.by, marks=True,
        ),
        Part(
            "table", "The same as numbers", "computing the rates", block,
            read=lambda: rates_markup(run, view.epoch), depends=(shown.state, view.epoch),
        ),
    ]  # fmt: skip


def _divergence(shown: Shown) -> list[Part]:
    run = shown.run
    return [
        _chart(
            shown, "divergence", "Where validation differs from training, layer by layer",
            lambda found: divergence_chart(run, findings=found), marks=True,
        ),
        _chart(
            shown, "class-divergence", "The same of the outputs, class by class",
            lambda found: divergence_chart(run, by="class", findings=found), marks=True,
        ),
    ]  # fmt: skip


def _gradients(shown: Shown) -> list[Part]:
    run, phase, parameter = shown.run, shown.phase, shown.view.parameter
    parts = [
        _chart(
            shown, "gradients", "How large each parameter's gradient is",
            lambda found: gradients_chart(run, phase=phase, findings=found, progress=False),
            phase, marks=True,
        )
    ]  # fmt: skip
    if parameter:
        parts.append(
            _chart(
                shown, "gradient", "The gradient of one parameter",
                lambda found: gradients_chart(
                    run, parameter=parameter, phase=phase, findings=found, progress=False
                ),
                phase, parameter, marks=True, closer=True,
            )
        )  # fmt: skip
    return parts


def _findings(shown: Shown) -> list[Part]:
    return [
        Part(
            "findings", "", "looking for what went wrong",
            lambda found: findings_column(found, shown.run, shown.show),
            read=shown.judge, depends=(shown.state,),
        )
    ]  # fmt: skip


_SECTIONS: Final[dict[str, Callable[[Shown], list[Part]]]] = {
    "overview": _overview,
    "layer": _layer,
    "peaks": _peaks,
    "classes": _classes,
    "rates": _rates,
    "divergence": _divergence,
    "gradients": _gradients,
    "findings": _findings,
}
