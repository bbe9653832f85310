"""How well `actrace.diagnose` tells the recorded cases: recall and false alarms by rule and half.

A rule finds a fault if it says anything of severity "warning" or higher in the fault's run.
May import actrace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.pathologies.cases import HALVES, Case
from benchmarks.pathologies.record import Label, read_label
from benchmarks.pathologies.witness import WITNESSES

import actrace

__all__ = ["Judged", "RuleScore", "judge", "planted_lines", "score", "score_lines"]

#: Findings of this severity or a graver one count.
SEVERITY: Final = "warning"
ALARMS: Final = ("false alarms in healthy", "besides, in faulty")


@dataclass(frozen=True, slots=True)
class Judged:
    """What was planted in a run, and what was said of it.

    Attributes
    ----------
    name : str
    label : Label
    said : frozenset of str
        Rules that found something of severity "warning" or higher.
    """

    name: str
    label: Label
    said: frozenset[str]

    @property
    def counts(self) -> bool:
        """Whether the run is what its label says: its fault shows, or it is healthy."""
        return self.label.shows and self.label.healthy is not False


@dataclass(frozen=True, slots=True)
class RuleScore:
    """What one rule did in some runs.

    Attributes
    ----------
    rule : str
    planted, found : int
        Runs with a fault of the rule, and those of them in which it spoke.
    healthy, false_alarms : int
        Runs without a fault, and those of them in which it spoke.
    besides : int
        Runs with a fault in which it spoke though it neither must nor may, and though
        its witness does not show.
    """

    rule: str
    planted: int
    found: int
    healthy: int
    false_alarms: int
    besides: int

    @property
    def recall(self) -> float:
        """Share of the planted faults that were found; NaN where none was planted."""
        return self.found / self.planted if self.planted else float("nan")


def judge(case: Case, directory: Path) -> Judged:
    """Return what `actrace.diagnose` says of a recorded case."""
    with actrace.open(directory / case.name) as run:
        said = actrace.diagnose(run, progress=False).at_least(SEVERITY)
    return Judged(
        case.name, read_label(directory, case), frozenset(finding.rule for finding in said)
    )


def score(judged: Iterable[Judged]) -> tuple[RuleScore, ...]:
    """Return what each rule did in runs that are what they are called."""
    runs = [run for run in judged if run.counts]
    healthy = [run for run in runs if run.label.healthy]
    faulty = [run for run in runs if not run.label.healthy]

    def of(rule: str) -> RuleScore:
        planted = [run for run in faulty if rule in run.label.faults]
        free = [run for run in faulty if not _may(rule, run.label)]
        return RuleScore(
            rule,
            planted=len(planted),
            found=_speaking(rule, planted),
            healthy=len(healthy),
            false_alarms=_speaking(rule, healthy),
            besides=_speaking(rule, free),
        )

    return tuple(of(rule) for rule in WITNESSES)


def score_lines(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield a table for each half, in Markdown."""
    for half in HALVES:
        runs = [run for run in judged if run.label.half == half]
        if not runs:
            continue
        scores = score(runs)
        left_out = sorted(run.name for run in runs if not run.counts)
        n_healthy = scores[0].healthy
        n_faulty = sum(run.counts for run in runs) - n_healthy
        yield f"**The half to {half}**: {n_faulty} trainings with a fault, {n_healthy} without."
        if left_out:
            yield f"Not counted, because what was planted does not show: {', '.join(left_out)}."
        yield ""
        columns = ("rule", "planted in", "found in", "recall", *ALARMS)
        yield f"| {' | '.join(columns)} |"
        yield "|---" * len(columns) + "|"
        yield from (_line(one) for one in scores)
        total = RuleScore(
            "**all**",
            *(
                sum(getattr(one, name) for one in scores)
                for name in ("planted", "found", "healthy", "false_alarms", "besides")
            ),
        )
        yield _line(total)
        yield ""


def planted_lines(cases: Iterable[Case], label_of: Callable[[Case], Label]) -> Iterator[str]:
    """Yield a table of what was planted where, in Markdown.

    Parameters
    ----------
    cases : iterable of Case
    label_of : callable
        Returns the label of a case.
    """
    yield "| fault | what was planted | to be found by | where | how it shows |"
    yield "|---|---|---|---|---|"
    by_fault: dict[str, list[Case]] = {}
    for case in cases:
        if case.fault is not None:
            by_fault.setdefault(case.fault.name, []).append(case)
    for name, some in by_fault.items():
        fault, rule = some[0].fault, some[0].rules[0]
        found = [label_of(case).witnesses[rule] for case in some]
        values = sorted(value for value in found if value is not None)
        shows = f"{WITNESSES[rule].words}: {values[0]:.3g} to {values[-1]:.3g}"
        places = ", ".join(case.training.place for case in some)
        yield f"| {name} | {fault.words} | {', '.join(fault.rules)} | {places} | {shows} |"


def _may(rule: str, label: Label) -> bool:
    """Return whether a rule may speak: by the label, or because its witness does."""
    value = label.witnesses.get(rule)
    shows = value is not None and value >= WITNESSES[rule].bound
    return shows or rule in (*label.faults, *label.allowed)


def _speaking(rule: str, runs: Iterable[Judged]) -> int:
    return sum(rule in run.said for run in runs)


def _line(one: RuleScore) -> str:
    recall = f"{one.recall:.2f}" if one.planted else ""
    return (
        f"| {one.rule} | {one.planted} | {one.found} | {recall} | {one.false_alarms} "
        f"| {one.besides} |"
    )
