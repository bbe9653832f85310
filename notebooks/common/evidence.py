"""The last cell of a notebook: claims beside what was measured, shown and kept.

`evidence` shows the table; where ``ACTRACE_EVIDENCE`` names a file it is also written there,
for ``python -m notebooks.build`` to put into docs/evidence.md. Standard library alone.
"""

from __future__ import annotations

import html
import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from common.settings import QUICK

__all__ = ["VERDICTS", "Claim", "Evidence", "evidence", "over_seeds"]

VERDICTS: Final = ("confirmed", "in part", "refuted")
_HEADS: Final = ("claim (who)", "what we measured", "data, seeds", "verdict")


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody said, and what came out here.

    Attributes
    ----------
    claim : str
        In a sentence.
    who : str
    measured : str
        Numbers with their spread.
    data : str
        Data set, sizes and seeds.
    verdict : str
        One of `VERDICTS`, and perhaps why after a colon.

    Raises
    ------
    ValueError
        Another verdict.
    """

    claim: str
    who: str
    measured: str
    data: str
    verdict: str

    def __post_init__(self) -> None:
        if self.verdict.partition(":")[0] not in VERDICTS:
            raise ValueError(
                f"a verdict is one of {', '.join(VERDICTS)}, with a colon and the reason if need "
                f"be; got {self.verdict!r}"
            )


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """A table of claims, shown as HTML in a notebook."""

    claims: tuple[Claim, ...]

    def _repr_html_(self) -> str:
        heads = "".join(f"<th style='text-align:left'>{head}</th>" for head in _HEADS)
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left;vertical-align:top'>{html.escape(cell)}</td>"
                for cell in (f"{c.claim} ({c.who})", c.measured, c.data, c.verdict)
            )
            + "</tr>"
            for c in self.claims
        )
        quick = "<p>Quick settings: these figures only show that the notebook runs.</p>"
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        return quick * QUICK + table

    def __repr__(self) -> str:
        return "\n".join(f"{c.verdict}: {c.claim} ({c.who}): {c.measured}" for c in self.claims)


def evidence(*claims: Claim) -> Evidence:
    """Return the table of a notebook's claims, and keep it where it was asked for."""
    file = os.environ.get("ACTRACE_EVIDENCE")
    if file:
        Path(file).write_text(
            json.dumps([asdict(claim) for claim in claims], indent=1), encoding="utf-8"
        )
    return Evidence(claims)


def over_seeds(values: Iterable[float], form: str = ".3g", unit: str = "") -> str:
    """Return the mean of some seeds' values with the smallest and the largest, in words.

    Examples
    --------
    >>> over_seeds([0.031, 0.034, 0.037], ".1%")
    '3.4% (3.1% to 3.7%)'
    >>> over_seeds([12.0], ".1f", " bits")
    '12.0 bits'
    """
    found = list(values)
    unit = unit and f" {unit.strip()}"
    mean = f"{statistics.fmean(found):{form}}{unit}"
    return mean + f" ({min(found):{form}} to {max(found):{form}})" * (len(found) > 1)
