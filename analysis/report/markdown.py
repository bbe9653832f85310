"""A report as Markdown, short enough for a pull request.

Names come from a model or a stranger: they are escaped so that they neither become
marks nor HTML, nor call a person or an issue by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from actrace.analysis.report.beside import Beside
from actrace.analysis.report.content import Kind, RunContent, Table
from actrace.analysis.report.words import NONE, title_of

__all__ = ["as_markdown", "escaped"]

#: Every mark of GitHub Flavored Markdown, section 2.4 of its specification, but those
#: that mean nothing within a line of a table or a paragraph.
_MARKS: Final = re.compile(r"([\\`*_{}\[\]<>#!|~&$])")
#: What GitHub makes a link of: people and issues, and addresses.
_CALLS: Final = re.compile(r"([@#]|:(?=//)|(?i:www)(?=\.))")
_APART: Final = "\u200b"
#: Rules with a finding that are listed, a row each.
_MOST: Final = 20


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it stands.

    Examples
    --------
    >>> escaped("block1.*") , escaped("a|b")
    ('block1.\\*', 'a\\|b')
    """
    return _CALLS.sub(lambda found: found[1] + _APART, _MARKS.sub(r"\\\1", " ".join(text.split())))


def as_markdown(
    runs: Sequence[RunContent],
    beside: Beside | None,
    pictures: Sequence[Sequence[tuple[str, str, str]]] = (),
) -> str:
    """Return the report.

    Parameters
    ----------
    runs : sequence of RunContent
    beside : Beside, optional
        Where there are several.
    pictures : sequence of sequences of (title, alt, path), optional
        Of each run; the paths as they stand in the document.
    """
    lines = [f"## actrace: {escaped(title_of([run.name for run in runs]))}", ""]
    if beside is not None:
        lines += [f"**{escaped(sentence)}.**  " for sentence in beside.sentences]
        lines += ["", *(f"- {escaped(remark)}" for remark in beside.remarks), ""]
    lines += [*_key_numbers(runs), ""]
    if beside is not None and beside.differences.rows:
        lines += ["### Differences", "", *_table(beside.differences), ""]
    for at, run in enumerate(runs):
        lines += [f"### Findings: {escaped(run.name)}", "", f"{escaped(run.verdict)}.", ""]
        lines += _findings(run)
        for title, alt, path in pictures[at] if pictures else ():
            lines += [f"**{escaped(title)}**", "", f"![{escaped(alt)}](<{path}>)", ""]
    return "\n".join(lines).rstrip() + "\n"


def _key_numbers(runs: Sequence[RunContent]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name, _ in run.key_numbers))
    rows = [("status", *(run.status for run in runs))]
    rows += [("epochs", *(f"{len(run.rows):,}" for run in runs))]
    rows += [(name, *(dict(run.key_numbers).get(name, NONE) for run in runs)) for name in names]
    return _table(Table(("last epoch", *(run.name for run in runs)), tuple(rows)))


def _findings(run: RunContent) -> Iterable[str]:
    rows = [(kind.word, kind.rule, *_place(kind), kind.remedy) for kind in run.kinds[:_MOST]]
    if rows:
        yield from _table(Table(("", "rule", "where", "when", "what", "what to try"), tuple(rows)))
        yield ""
    if len(run.kinds) > _MOST:
        yield f"and {len(run.kinds) - _MOST} more"
        yield ""
    if run.unjudged:
        rules = ", ".join(dict.fromkeys(rule for rule, _ in run.unjudged))
        yield f"Not judged, for want of a recording: {escaped(rules)}."
        yield ""


def _place(kind: Kind) -> tuple[str, str, str]:
    """Return where, when and what of the first finding, and how many more there are."""
    where, when, what, *_ = kind.places.rows[0]
    more = kind.n_findings - 1
    return f"{where}; and {more:,} more" if more else where, when, what


def _table(table: Table) -> list[str]:
    def line(words: Iterable[str]) -> str:
        return f"| {' | '.join(escaped(word) for word in words)} |"

    return [line(table.headings), "|" + " --- |" * len(table.headings), *map(line, table.rows)]
