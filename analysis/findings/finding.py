"""A finding: what one rule saw, where, how much of it, and what to try. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["SEVERITIES", "Finding", "Unjudged"]

#: The gravest first.
SEVERITIES: Final = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found.

    Attributes
    ----------
    rule : str
        Name of the rule, as ``"dead-layer"``.
    severity : {"error", "warning", "info"}
    what : str
        What was seen, in a sentence.
    layer : str
        Name of the layer (or parameter, where `what` says so), empty for the whole run.
    unit, target_class : str
        Name of the unit or class, empty where none is meant.
    phase : str
        Empty where none is meant.
    first_step, last_step, first_epoch, last_epoch : int or None
        When; None where it is about no time.
    measured : str
        Name of the measured value.
    value : float
    units : str
        Of `value` and `threshold`.
    threshold : float
        What `value` was held against.
    parameter : str
        Name under which the rule takes the threshold.
    source : str
        Where the threshold comes from.
    meaning, remedy : str
        What it means, and what to try.
    order : int
        The layer's place in the first forward, for sorting; -1 for none.
    """

    rule: str
    severity: str
    what: str
    layer: str = ""
    unit: str = ""
    target_class: str = ""
    phase: str = ""
    first_step: int | None = None
    last_step: int | None = None
    first_epoch: int | None = None
    last_epoch: int | None = None
    measured: str = ""
    value: float = math.nan
    units: str = "1"
    threshold: float = math.nan
    parameter: str = ""
    source: str = ""
    meaning: str = ""
    remedy: str = ""
    order: int = -1

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {SEVERITIES}, got {self.severity!r}")

    @property
    def rank(self) -> int:
        """0 for an error, 1 for a warning, 2 for what is good to know."""
        return SEVERITIES.index(self.severity)

    @property
    def when(self) -> str:
        """When it was, in words: ``"steps 120 to 400, epochs 1 to 3"``."""
        spans = (
            ("step", self.first_step, self.last_step),
            ("epoch", self.first_epoch, self.last_epoch),
        )
        words = []
        for name, first, last in spans:
            if first is not None:
                same = last is None or first == last
                words.append(f"{name} {first}" if same else f"{name}s {first} to {last}")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Unjudged:
    """What a rule could not judge, and why.

    Attributes
    ----------
    rule : str
    why : str
        What the run did not record, and how to record it.
    part : str
        Which part of the rule; empty where it is all of it.
    """

    rule: str
    why: str
    part: str = ""
