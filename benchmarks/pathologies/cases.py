"""The set: every fault in each of its places and every healthy training, in two halves.

Thresholds are chosen on the half "choose" and judged on the half "report". May import what
faults and trainings may.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.pathologies.faults import FAULTS, Fault
from benchmarks.pathologies.trainings import HEALTHY, PLACES, Training

__all__ = ["CASES", "HALVES", "Case", "find_cases"]

HALVES: Final = ("choose", "report")


@dataclass(frozen=True, slots=True)
class Case:
    """One training of the set.

    Attributes
    ----------
    name : str
        Of the run.
    training : Training
        With what the fault changes of it.
    half : {"choose", "report"}
    fault : Fault, optional
        None where it is healthy.
    reaches : float, optional
        Validation score that a healthy one must reach.
    """

    name: str
    training: Training
    half: str
    fault: Fault | None = None
    reaches: float | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules that must find something."""
        return () if self.fault is None else self.fault.rules

    @property
    def allowed(self) -> tuple[str, ...]:
        """Rules that may find something besides."""
        return () if self.fault is None else self.fault.allowed


def find_cases(patterns: Iterable[str]) -> tuple[Case, ...]:
    """Return the cases whose names match a pattern, in their order.

    Raises
    ------
    ValueError
        A pattern matches none.
    """
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter((case.name for case in CASES), pattern)
        if not matching:
            names = ", ".join(fault.name for fault in FAULTS)
            raise ValueError(
                f"no case matches {pattern!r}; a case is called healthy-<kind>-<place> or "
                f"<fault>-<place>, as in 'healthy-*' or '*-mlp-digits'; the faults are {names}"
            )
        found.update(matching)
    return tuple(case for case in CASES if case.name in found)


def _planted(at: int, fault: Fault) -> tuple[Case, ...]:
    # The first and the last place are one half, the two between the other; in turn.
    outer, inner = HALVES if at % 2 == 0 else HALVES[::-1]
    return tuple(
        Case(f"{fault.name}-{place}", replace(PLACES[place], **fault.changes), half, fault)
        for place, half in zip(fault.places, (outer, inner, inner, outer), strict=True)
    )


#: All of them: the healthy ones first.
CASES: Final = (
    *(
        Case(f"healthy-{h.name}-{h.training.place}", h.training, h.half, reaches=h.reaches)
        for h in HEALTHY
    ),
    *(case for at, fault in enumerate(FAULTS) for case in _planted(at, fault)),
)
