"""What a report says of one run, in words and tables: no picture, no format.

Every name that comes from a store is cleaned of control characters here; escaping
it for HTML or Markdown is left to `page` and `markdown`. May import xarray.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import xarray as xr

from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.finding import SEVERITIES, Finding
from actrace.analysis.findings.findings import Findings, measure, where
from actrace.analysis.report.words import NONE, cell, many, number, percent
from actrace.analysis.table import EpochRow, epoch_table
from actrace.store.catalogue.table import flat_config
from actrace.store.describe import clean, summary
from actrace.store.run import Run

__all__ = ["NO_TABLE", "Kind", "RunContent", "Table", "gather"]

#: Rows of epochs, settings and findings of a rule that are written out.
MOST_EPOCHS: Final = 60
_MOST_SETTINGS: Final = 200
_MOST_OF_A_RULE: Final = 12

#: Headings of a run's summary that say what is missing, and what they mean.
_GAPS: Final = {
    "silent": "layers that never fired",
    "unseen": "functions that no hook sees",
    "skipped": "layers that were skipped",
    "left out": "batches left out",
    "lost": "batches lost",
    "damaged": "damaged",
    "thinned": "thinned",
}
#: Root attribute -> what it is; where and by what the run was made.
_ENVIRONMENT: Final = {
    "actrace_version": "actrace",
    "torch_version": "torch",
    "python_version": "Python",
    "git_commit": "git commit",
    "active_threshold": "active above",
    "schedule": "schedule",
    "layer_schedule": "schedule of layers",
}
_WORDS: Final = {"error": "error", "warning": "warning", "info": "remark"}
#: Headings of the table by epoch, and the fields that it shows.
_EPOCH: Final = (
    ("epoch", "epoch"),
    ("train loss", "train_loss"),
    ("valid loss", "valid_loss"),
    ("train accuracy", "train_accuracy"),
    ("valid accuracy", "valid_accuracy"),
    ("understanding", "understanding"),
    ("d'", "d_prime"),
    ("overlap", "overlap"),
    ("divergence (bits)", "divergence"),
    ("lowest activation", "lowest_activation_rate"),
    ("highest death", "highest_death_rate"),
)
_SHARES: Final = ("train_accuracy", "valid_accuracy")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes
    ----------
    headings : tuple of str
    rows : tuple of tuples of str
    note : str
        What was left out, "" for nothing.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


NO_TABLE: Final = Table((), ())


@dataclass(frozen=True, slots=True)
class Kind:
    """Findings of one rule and severity: what it means, what to try, and where.

    Attributes
    ----------
    rule, severity, word : str
        `word` is what a person calls the severity.
    n_findings : int
        All of them; `places` may hold fewer.
    meaning, remedy : str
    places : Table
        Where, when, what was seen, and the number that said so.
    """

    rule: str
    severity: str
    word: str
    n_findings: int
    meaning: str
    remedy: str
    places: Table


@dataclass(frozen=True, slots=True)
class RunContent:
    """What a report says of one run.

    Attributes
    ----------
    name : str
    status : str
        One of `Run.status`.
    verdict : str
        How many findings of which severity, by how many rules.
    facts, key_numbers, gaps : tuple of (str, str)
        Heading and words: what the run is; its last epoch; what was not recorded.
    kinds : tuple of Kind
        The gravest first.
    unjudged : tuple of (str, str)
        Rule, and why it could not judge.
    epochs, config : Table
    rows : tuple of EpochRow
        The numbers of `epochs`, all of them.
    """

    name: str
    status: str
    verdict: str
    facts: tuple[tuple[str, str], ...]
    key_numbers: tuple[tuple[str, str], ...]
    gaps: tuple[tuple[str, str], ...]
    kinds: tuple[Kind, ...]
    unjudged: tuple[tuple[str, str], ...]
    epochs: Table
    config: Table
    rows: tuple[EpochRow, ...]


def gather(run: xr.DataTree, name: str, *, progress: bool | None = None) -> RunContent:
    """Return what a report says of a run.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it; empty and unfinished ones will do.
    name : str
        What to call it.
    progress : bool, optional
        As for `actrace.diagnose`.

    Examples
    --------
    >>> gather(run, "digits").key_numbers[0]
    ('train loss', '0.0547')
    """
    found = diagnose(run, progress=progress)
    rows = tuple(epoch_table(run))
    said = summary(run) if isinstance(run, Run) else {}
    return RunContent(
        name=clean(name, 80),
        status=str(run.attrs.get("status", "finished")),
        verdict=_verdict(found),
        facts=tuple((key, words) for key, words in said.items() if key not in (*_GAPS, "config")),
        key_numbers=_key_numbers(rows),
        gaps=tuple((_GAPS[key], words) for key, words in said.items() if key in _GAPS),
        kinds=tuple(_kinds(found)),
        unjudged=tuple((_about(u.rule, u.part), clean(u.why, 300)) for u in found.unjudged),
        epochs=_epochs(rows),
        config=_config(run.attrs),
        rows=rows,
    )


def evenly(n: int, most: int) -> list[int]:
    """Return at most `most` of n places, evenly spaced, first and last among them.

    Examples
    --------
    >>> evenly(3, 60), evenly(100, 4)
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return [int(at) for at in np.unique(np.linspace(0, n - 1, min(n, most)).round())] if n else []


def _verdict(found: Findings) -> str:
    counts = {s: sum(finding.severity == s for finding in found) for s in SEVERITIES}
    said = [many(n, _WORDS[severity]) for severity, n in counts.items() if n]
    by = f"by {many(len(found.rules), 'rule')}"
    if found.unjudged:
        by += f", {len({u.rule for u in found.unjudged})} of which lack something to judge by"
    return f"{', '.join(said) or 'nothing found'}, {by}"


def _kinds(found: Findings) -> Iterator[Kind]:
    def kind(finding: Finding) -> tuple[int, int]:
        # Rules of one severity in the order of the first thing that each found.
        return finding.rank, first[finding.severity, finding.rule]

    first: dict[tuple[str, str], int] = {}
    for at, finding in enumerate(found):
        first.setdefault((finding.severity, finding.rule), at)
    for _, group in groupby(sorted(found, key=kind), key=kind):
        same = list(group)
        yield Kind(
            rule=same[0].rule,
            severity=same[0].severity,
            word=_WORDS[same[0].severity],
            n_findings=len(same),
            meaning=same[0].meaning,
            remedy=same[0].remedy,
            places=_places(same),
        )


def _places(findings: Sequence[Finding]) -> Table:
    rows = []
    for finding in findings[:_MOST_OF_A_RULE]:
        value, threshold = measure(finding)
        rows.append(
            (
                where(finding) or "the run",
                finding.when or NONE,
                clean(finding.what, 400),
                clean(value, 120),
                clean(threshold, 200) or NONE,
            )
        )
    more = len(findings) - len(rows)
    return Table(
        ("where", "when", "what", "measured", "threshold"),
        tuple(rows),
        f"and {more:,} more: actrace diagnose lists all of them" if more else "",
    )


def _key_numbers(rows: Sequence[EpochRow]) -> tuple[tuple[str, str], ...]:
    """Return the last epoch's numbers, those that were recorded."""
    if not rows:
        return ()
    last = rows[-1]
    found = [
        ("train loss", number(last.train_loss)),
        ("valid loss", number(last.valid_loss)),
        ("train accuracy", percent(last.train_accuracy)),
        ("valid accuracy", percent(last.valid_accuracy)),
        ("understanding", number(last.understanding)),
        ("d'", number(last.d_prime)),
        ("overlap of the peaks", number(last.overlap)),
        ("highest death rate", percent(last.highest_death_rate)),
    ]
    return tuple((name, words) for name, words in found if words != NONE)


def _epochs(rows: Sequence[EpochRow]) -> Table:
    shown = [rows[at] for at in evenly(len(rows), MOST_EPOCHS)]
    fields = [
        (heading, name) for heading, name in _EPOCH if any(_known(getattr(r, name)) for r in rows)
    ]
    note = f"{len(shown)} of {len(rows):,} epochs, evenly spaced" if len(shown) < len(rows) else ""
    body = tuple(tuple(_epoch_cell(row, name) for _, name in fields) for row in shown)
    return Table(tuple(heading for heading, _ in fields), body, note)


def _known(value: float) -> bool:
    return not math.isnan(value)


def _epoch_cell(row: EpochRow, name: str) -> str:
    value = getattr(row, name)
    if name.endswith("_rate"):
        layer = getattr(row, name.removesuffix("_rate") + "_layer")
        return f"{percent(value)} {clean(layer, 60)}".rstrip()
    if name in _SHARES:
        return percent(value)
    return number(value)


def _config(attributes: Mapping[Any, Any]) -> Table:
    """Return the recorded settings, then what the run was made by."""
    config = attributes.get("config")
    flat = flat_config(config) if isinstance(config, Mapping) else {}
    shown = dict(list(flat.items())[:_MOST_SETTINGS])
    note = f"{len(shown)} of {len(flat):,} settings" if len(shown) < len(flat) else ""
    made = {
        words: attributes.get(name)
        for name, words in _ENVIRONMENT.items()
        if attributes.get(name) not in (None, "", {})
    }
    rows = [
        (kind, clean(key, 120), cell(value))
        for kind, some in (("config", shown), ("environment", made))
        for key, value in some.items()
    ]
    return Table(("", "setting", "value"), tuple(rows), note)


def _about(rule: str, part: str) -> str:
    return f"{rule} ({clean(part, 80)})" if part else rule
