"""What findings mark on a picture: stretches of batches, by rule and severity.

Imports NumPy and xarray; draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.findings.finding import SEVERITIES, Finding

__all__ = ["Mark", "epoch_marks", "in_view", "in_words", "marks_of"]

#: Finding -> what it marks of an axis.
Where: TypeAlias = Callable[[Finding], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """What one rule found in a layer.

    Attributes
    ----------
    rule : str
    severity : {"error", "warning", "info"}
        The gravest of its findings.
    spans : tuple of (first, stop)
        Batches of the phase, ``first <= batch < stop``, or epochs and half of the way
        to their neighbours; rising and apart.
    what : str
        What was seen, in a sentence, and how much more there is.
    """

    rule: str
    severity: str
    spans: tuple[tuple[float, float], ...]
    what: str = ""


def marks_of(
    run: xr.DataTree, findings: Iterable[Finding], *, layer: str, phase: str
) -> tuple[Mark, ...]:
    """Return what findings mark on the picture of a layer, the gravest first.

    Parameters
    ----------
    run : DataTree
    findings : iterable of Finding
        As `actrace.diagnose` returns them; those of other layers and phases are left out.
    layer : str
        Name of the layer, or of the parameter.
    phase : str
        Phase drawn. A finding that names no phase belongs to each.

    Returns
    -------
    tuple of Mark
        One for each rule. A finding about no time marks the whole phase; one between
        two recorded batches marks the next.
    """
    batches = run.children[phase].dataset
    step, epoch = batches["step"].to_numpy(), batches["epoch"].to_numpy()
    mine = [f for f in findings if f.layer == layer and f.phase in ("", phase)]
    return _by_rule(mine, lambda finding: _span(finding, step, epoch))


def epoch_marks(
    findings: Iterable[Finding],
    *,
    layer: str,
    phases: Sequence[str],
    epochs: tuple[int, int],
    target_class: str = "",
) -> tuple[Mark, ...]:
    """Return what findings mark on a picture over epochs, the gravest first.

    Parameters
    ----------
    findings : iterable of Finding
    layer : str
    phases : sequence of str
        Those drawn. A finding that names no phase belongs to each.
    epochs : (first, last)
        Of the picture; a finding about no epoch marks them all, one outside none.
    target_class : str
        Name of the class drawn; "" for all together, which those of one class leave out.
    """
    first, last = epochs

    def span(finding: Finding) -> tuple[float, float]:
        if finding.first_epoch is None:
            return first - 0.5, last + 0.5
        end = finding.first_epoch if finding.last_epoch is None else finding.last_epoch
        return finding.first_epoch - 0.5, end + 0.5

    mine = [
        finding
        for finding in findings
        if finding.layer == layer
        and finding.phase in ("", *phases)
        and finding.target_class == target_class
        and span(finding)[0] < last + 0.5
        and span(finding)[1] > first - 0.5
    ]
    return _by_rule(mine, span)


def _by_rule(findings: Iterable[Finding], span: Where) -> tuple[Mark, ...]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.rule, []).append(finding)
    marks = [
        Mark(
            rule,
            min(some, key=lambda finding: finding.rank).severity,
            _joined([span(finding) for finding in some]),
            in_words(some),
        )
        for rule, some in found.items()
    ]
    return tuple(sorted(marks, key=lambda mark: SEVERITIES.index(mark.severity)))


def in_words(findings: Sequence[Finding]) -> str:
    """Return what findings of one rule say: the gravest, and how many more there are."""
    gravest = min(findings, key=lambda finding: finding.rank)
    more = len(findings) - 1
    return f"{gravest.what} (and {more} more)" if more else gravest.what


def in_view(marks: Iterable[Mark], across: tuple[float, float]) -> tuple[Mark, ...]:
    """Return the marks of which anything lies between two batches."""
    return tuple(
        mark
        for mark in marks
        if any(first < across[1] and stop > across[0] for first, stop in mark.spans)
    )


def _span(finding: Finding, step: NDArray[np.int64], epoch: NDArray[np.int32]) -> tuple[int, int]:
    """Return the batches that a finding is about."""
    n = len(step)
    for places, first, last in (
        (step, finding.first_step, finding.last_step),
        (epoch, finding.first_epoch, finding.last_epoch),
    ):
        if first is not None:
            end = first if last is None else last
            at = np.flatnonzero((places >= first) & (places <= end))
            if len(at):
                return int(at[0]), int(at[-1]) + 1
            later = np.flatnonzero(places > end)
            start = int(later[0]) if len(later) else max(n - 1, 0)
            return start, start + 1
    return 0, n


def _joined(spans: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the union of spans, rising and apart."""
    joined: list[tuple[float, float]] = []
    for first, stop in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return tuple(joined)
