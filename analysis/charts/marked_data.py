"""What findings mark on a picture: stretches of batches, by rule and severity.

Imports NumPy and xarray; draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.findings.finding import SEVERITIES, Finding

__all__ = ["Mark", "in_view", "in_words", "marks_of"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What one rule found in a layer.

    Attributes
    ----------
    rule : str
    severity : {"error", "warning", "info"}
        The gravest of its findings.
    spans : tuple of (first, stop)
        Batches of the phase, ``first <= batch < stop``, rising and apart.
    what : str
        What was seen, in a sentence, and how much more there is.
    """

    rule: str
    severity: str
    spans: tuple[tuple[int, int], ...]
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
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.layer == layer and finding.phase in ("", phase):
            found.setdefault(finding.rule, []).append(finding)
    marks = [
        Mark(
            rule,
            min(some, key=lambda finding: finding.rank).severity,
            _joined([_span(finding, step, epoch) for finding in some]),
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


def _joined(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the union of spans, rising and apart."""
    joined: list[tuple[int, int]] = []
    for first, stop in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return tuple(joined)
