"""What `diagnose` found, in words, and the chart that each finding concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn

from actrace.analysis.app.controls import button
from actrace.analysis.app.markup import block, escaped
from actrace.analysis.app.names import layer_names, parameter_names
from actrace.analysis.findings.finding import Finding
from actrace.analysis.findings.findings import Findings, measure, where
from actrace.store.run import Run

__all__ = ["ALL", "chart_of", "chosen", "findings_column", "marked_markup"]

#: Marks all findings, whatever the rule.
ALL: Final = "all"
#: Findings of a kind that are written out; `actrace diagnose` has all.
_MOST_ALIKE: Final = 12
_MOST_MARKED: Final = 4
#: Rule -> the section whose charts show what it is about; of the others, that of the layer.
_SECTIONS: Final = {
    "class-imbalance": "classes",
    "lagging-class": "classes",
    "no-peaks": "peaks",
    "overfit": "divergence",
    "phases-unlike-from-start": "divergence",
}


def chosen(found: Findings, mark: str) -> tuple[Finding, ...]:
    """Return the findings that a view's ``mark`` is about."""
    return found.found if mark == ALL else found.of(mark)


def chart_of(finding: Finding, run: Run) -> dict[str, Any]:
    """Return the fields of the view that shows what a finding is about, marked.

    Empty where no chart shows it.

    Parameters
    ----------
    finding : Finding
    run : Run
    """
    phase = finding.phase if finding.phase in run.phases else ""
    # By class, or along time, the peaks carry no marks.
    view: dict[str, Any] = {"mark": finding.rule, "phase": phase, "each": "", "along": ""}
    if finding.rule in _SECTIONS:
        last = finding.last_epoch if finding.last_epoch is not None else finding.first_epoch
        return {**view, "section": _SECTIONS[finding.rule], "epoch": last}
    if finding.layer in layer_names(run):
        return {**view, "section": "layer", "layer": finding.layer}
    if finding.layer in parameter_names(run, phase or "train"):
        return {**view, "section": "gradients", "parameter": finding.layer}
    return {}


def findings_column(found: Findings, run: Run, show: Callable[[Finding], Any]) -> pn.Column:
    """Return the findings by rule, the gravest first, with a button to the chart of each."""
    rows: list[Any] = [block(f"<p>{escaped(repr(found).splitlines()[0])}</p>")]
    for alike in _kinds(found):
        rows.append(block(_kind_markup(alike)))
        rows += [_row(finding, run, show) for finding in alike[:_MOST_ALIKE]]
        if len(alike) > _MOST_ALIKE:
            more = f"and {len(alike) - _MOST_ALIKE} more: see actrace diagnose"
            rows.append(block(f"<p class='note'>{more}</p>"))
    if found.unjudged:
        said = "".join(
            f"<li>{escaped(one.rule)}: {escaped(one.why)}</li>" for one in found.unjudged
        )
        rows.append(block(f"<details><summary>not judged</summary><ul>{said}</ul></details>"))
    return pn.Column(*rows, sizing_mode="stretch_width")


def _kinds(found: Findings) -> list[list[Finding]]:
    """Return the findings of one rule and severity together, in the order of their first."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        kinds.setdefault((finding.severity, finding.rule), []).append(finding)
    return list(kinds.values())


def _kind_markup(alike: list[Finding]) -> str:
    """Return what findings of one rule have in common."""
    first = alike[0]
    severity = escaped(first.severity)
    threshold = measure(first)[1]
    limit = f"<p class='note'>Limit: {escaped(threshold, 600)}</p>" if threshold else ""
    return (
        f"<h2><b class='grave-{severity}'>{severity}</b> {escaped(first.rule)}</h2>"
        f"<p>Means: {escaped(first.meaning, 1000)}</p>"
        f"<p>Try: {escaped(first.remedy, 1000)}</p>{limit}"
    )


def _row(finding: Finding, run: Run, show: Callable[[Finding], Any]) -> pn.Row:
    """Return where a finding is and what was seen there."""
    place = "; ".join(part for part in (where(finding), finding.when) if part)
    said = f"<b>{escaped(place)}</b>: " if place else ""
    value = escaped(measure(finding)[0], 200)
    words = block(f"<p>{said}{escaped(finding.what, 1000)} <em>({value})</em></p>")
    if not chart_of(finding, run):
        return pn.Row(pn.Spacer(width=110), words, sizing_mode="stretch_width")
    opens = button("Show me", width=90)
    opens.on_click(lambda _: show(finding))
    return pn.Row(opens, words, sizing_mode="stretch_width")


def marked_markup(found: Findings, mark: str, place: str) -> str:
    """Return the findings that are marked on a chart, in a line each.

    Parameters
    ----------
    found : Findings
    mark : str
        As in the view.
    place : str
        Layer or parameter of the chart; "" for all.
    """
    some = [one for one in chosen(found, mark) if not place or one.layer == place]
    if not some:
        at = f" in {place}" if place else ""
        return f"<p class='mark'>{escaped(f'Nothing found{at} to mark.')}</p>"
    lines = [f"<p class='mark'>{_head(one)}: {escaped(one.what, 600)}</p>" for one in some]
    more = len(some) - _MOST_MARKED
    rest = f"<p class='note'>and {more} more, see Findings</p>" if more > 0 else ""
    return "".join(lines[:_MOST_MARKED]) + rest


def _head(finding: Finding) -> str:
    place = "; ".join(part for part in (where(finding), finding.when) if part)
    severity = escaped(finding.severity)
    return (
        f"<b class='grave-{severity}'>{severity}</b> <b>{escaped(finding.rule)}</b>"
        f"{' at ' + escaped(place) if place else ''}"
    )
