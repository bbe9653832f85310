"""The findings of a run together: as a table, HTML, JSON, data frame.

Names come from a model or a stranger: control characters are escaped in text and
everything in HTML. May import NumPy through a finding's values; pandas when asked.
"""

from __future__ import annotations

import html
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, overload

from actrace.analysis.findings.finding import SEVERITIES, Finding, Unjudged
from actrace.store.describe import clean

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings"]

#: Findings of one kind that are written out by `repr`; there may be many more.
_SHOWN: Final = 5
_WIDTH: Final = 100
_COLOURS: Final = {"error": "#b3261e", "warning": "#9a5b00", "info": "#35618e"}
_PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; }}</style>
</head><body><h1>{title}</h1>{body}</body></html>
"""


@dataclass(frozen=True, slots=True, repr=False)
class Findings(Sequence[Finding]):
    """What `actrace.diagnose` found, the gravest first.

    Attributes
    ----------
    found : tuple of Finding
        By severity, then layer order, then step.
    unjudged : tuple of Unjudged
        What could not be judged, and why.
    rules : tuple of str
        The rules that were run.
    name : str
        The run's.
    """

    found: tuple[Finding, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()
    rules: tuple[str, ...] = ()
    name: str = ""

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    @overload
    def __getitem__(self, at: int) -> Finding: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, at: int | slice) -> Finding | tuple[Finding, ...]:
        return self.found[at]

    def at_least(self, severity: str) -> Findings:
        """Return the findings of a severity or a graver one.

        Parameters
        ----------
        severity : {"error", "warning", "info"}

        Raises
        ------
        ValueError
            Another severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {SEVERITIES}, got {severity!r}")
        kept = tuple(f for f in self.found if f.rank <= SEVERITIES.index(severity))
        return Findings(kept, self.unjudged, self.rules, self.name)

    def of(self, rule: str) -> tuple[Finding, ...]:
        """Return the findings of one rule."""
        return tuple(finding for finding in self.found if finding.rule == rule)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a finding, a column a field."""
        import pandas as pd

        names = [field.name for field in fields(Finding)]
        rows = [[getattr(finding, name) for name in names] for finding in self.found]
        frame: pd.DataFrame = pd.DataFrame(rows, columns=names)
        whole = ["first_step", "last_step", "first_epoch", "last_epoch"]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the findings as JSON: ``name``, ``rules``, ``findings``, ``unjudged``.

        A number that JSON cannot hold stands as text, one that is missing as null.
        """
        document = {
            "name": self.name,
            "rules": list(self.rules),
            "findings": [
                {key: _plain(value) for key, value in asdict(finding).items()}
                for finding in self.found
            ],
            "unjudged": [asdict(unjudged) for unjudged in self.unjudged],
        }
        return json.dumps(document, indent=indent, allow_nan=False)

    def to_html(self) -> str:
        """Return the findings as a page of their own."""
        title = html.escape(f"Findings in {self.name or 'a run'}")
        return _PAGE.format(title=title, body=self._repr_html_())

    def __repr__(self) -> str:
        lines = [self._headline()]
        for alike in _by_kind(self.found):
            lines += ["", *_as_text(alike)]
        if self.unjudged:
            lines += ["", "not judged:"]
            for unjudged in self.unjudged:
                lines += _wrapped(clean(f"{_about(unjudged)}: {unjudged.why}", 500), "  ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self._headline())}</p>"]
        if self.found:
            heads = ("", "rule", "where", "when", "what", "measured", "threshold", "what to try")
            cells = "".join(f"<th style='text-align:left'>{head}</th>" for head in heads)
            rows = "".join(_as_row(finding) for finding in self.found)
            parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>")
        if self.unjudged:
            items = "".join(
                f"<li>{html.escape(_about(u))}: {html.escape(u.why)}</li>" for u in self.unjudged
            )
            parts.append(f"<details><summary>not judged</summary><ul>{items}</ul></details>")
        return "".join(parts)

    def _headline(self) -> str:
        of = f" in {clean(self.name, 80)}" if self.name else ""
        run = f"{len(self.rules)} rule{'s' * (len(self.rules) != 1)}"
        if not self.found:
            return f"nothing found{of} by {run}"
        counts = {s: sum(f.severity == s for f in self.found) for s in SEVERITIES}
        words = {"error": "error", "warning": "warning", "info": "remark"}
        said = [f"{n} {words[s]}{'s' * (n != 1)}" for s, n in counts.items() if n]
        return f"{', '.join(said)}{of}, by {run}"


def measure(finding: Finding) -> tuple[str, str]:
    """Return a finding's value with its name and units, and its threshold, in words."""
    units = "" if finding.units == "1" else f" {finding.units}"
    value = f"{finding.measured} {finding.value:.3g}{units}"
    threshold = f"{finding.threshold:.3g}{units} ({finding.parameter}: {finding.source})"
    return value, threshold if finding.parameter else ""


def where(finding: Finding) -> str:
    """Return the layer, unit, class and phase of a finding, in words."""
    named = (
        ("", finding.layer),
        ("unit ", finding.unit),
        ("class ", finding.target_class),
        ("in ", finding.phase),
    )
    return ", ".join(f"{word}{clean(name, 80)}" for word, name in named if name)


def _about(unjudged: Unjudged) -> str:
    return unjudged.rule + (f" ({unjudged.part})" if unjudged.part else "")


def _by_kind(found: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Yield the findings that mean the same together, in the order of their first."""
    kinds: dict[tuple[Any, ...], list[Finding]] = {}
    for one in found:
        kind = (one.rank, one.rule, one.parameter, one.threshold, one.meaning, one.remedy)
        kinds.setdefault(kind, []).append(one)
    yield from kinds.values()


def _as_text(alike: Sequence[Finding]) -> list[str]:
    """Return the lines of findings of one kind: each of them, then what is said once."""
    first = alike[0]
    lines = [f"{first.severity}: {first.rule}"]
    for finding in alike[:_SHOWN]:
        place = "; ".join(part for part in (where(finding), finding.when) if part)
        said = clean(f"{place}: {finding.what}" if place else finding.what, 500)
        lines += _wrapped(f"{said} ({measure(finding)[0]})", "  - ")
    if len(alike) > _SHOWN:
        lines.append(f"  - and {len(alike) - _SHOWN} more")
    threshold = measure(first)[1]
    for word, text in (("limit", threshold), ("means", first.meaning), ("try", first.remedy)):
        if text:
            lines += _wrapped(clean(text, 600), f"  {word:<7}")
    return lines


def _as_row(finding: Finding) -> str:
    colour = _COLOURS[finding.severity]
    value, threshold = measure(finding)
    what = f"{html.escape(finding.what)}<br><em>{html.escape(finding.meaning)}</em>"
    cells = [
        f"<b style='color:{colour}'>{finding.severity}</b>",
        html.escape(finding.rule),
        html.escape(where(finding)),
        html.escape(finding.when),
        what,
        html.escape(value),
        html.escape(threshold),
        html.escape(finding.remedy),
    ]
    style = " style='text-align:left;vertical-align:top'"
    return "<tr>" + "".join(f"<td{style}>{cell}</td>" for cell in cells) + "</tr>"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent)
    ) or [indent]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
