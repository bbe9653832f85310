"""The rules by name: what each is given, what it yields, where its thresholds come from.

Imports NumPy through the evidence alone.
"""

from __future__ import annotations

import fnmatch
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from actrace.analysis.findings.evidence import Evidence
from actrace.store.names import close_to, listed

__all__ = ["CALIBRATED", "RULES", "Missing", "Rule", "Sign", "chosen_rules", "rule"]

#: The source of a threshold that nobody has published.
CALIBRATED: Final = "chosen on recorded good and bad trainings, see docs/pathologies.md"


@dataclass(frozen=True, slots=True)
class Sign:
    """What a rule yields: a finding before names and sources are put to it.

    Attributes
    ----------
    severity : {"error", "warning", "info"}
    what : str
        What was seen, in a sentence.
    measured : str
        Name of the value.
    value : float
    parameter : str
        Name of the rule's threshold that `value` was held against.
    units : str
    layer : int or None
        Index of the layer, None for the whole run.
    name : str
        What stands for the layer where it is none of the run's: a parameter.
    unit, target_class, phase : str
    steps, epochs : (int, int) or None
        First and last.
    """

    severity: str
    what: str
    measured: str
    value: float
    parameter: str
    units: str = "1"
    layer: int | None = None
    name: str = ""
    unit: str = ""
    target_class: str = ""
    phase: str = ""
    steps: tuple[int, int] | None = None
    epochs: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What a rule yields where a part of it cannot be judged.

    Attributes
    ----------
    why : str
    part : str
    """

    why: str
    part: str = ""


Check = Callable[..., Iterable[Sign | Missing]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes
    ----------
    name : str
    check : callable
        Takes an `Evidence` and, by keyword, thresholds; yields what it finds. Raises
        `NotRecordedError` where the run has not what it needs.
    meaning, remedy : str
        What a finding means, and what to try.
    sources : dict of str to str
        Threshold -> where its value comes from.
    thresholds : dict of str to float
        Threshold -> default, as the signature of `check` has it.
    """

    name: str
    check: Check
    meaning: str
    remedy: str
    sources: Mapping[str, str]
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the rule's docstring."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def given(self, thresholds: Mapping[str, float]) -> dict[str, float]:
        """Return the thresholds to judge by.

        Raises
        ------
        ValueError
            One that the rule does not have, or that is no number.
        """
        for name, value in thresholds.items():
            if name not in self.thresholds:
                known = tuple(self.thresholds)
                raise ValueError(
                    f"rule {self.name!r} has no threshold {name!r}; it has {listed(known)}"
                    + close_to(name, known)
                )
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
                raise ValueError(
                    f"threshold {name!r} of rule {self.name!r} must be a number, got {value!r}"
                )
        return {**self.thresholds, **thresholds}

    def judge(
        self, evidence: Evidence, thresholds: Mapping[str, float]
    ) -> Iterator[Sign | Missing]:
        """Yield what the rule finds by these thresholds."""
        yield from self.check(evidence, **thresholds)


#: Every rule, by name, in the order in which they are run.
RULES: dict[str, Rule] = {}


def rule(
    name: str, *, meaning: str, remedy: str, sources: Mapping[str, str]
) -> Callable[[Check], Check]:
    """Return a decorator that registers a function as a rule.

    Parameters
    ----------
    name : str
    meaning, remedy : str
        What a finding means, and what to try.
    sources : dict of str to str
        For each keyword of the function, a threshold, where its default comes from.
    """

    def register(check: Check) -> Check:
        keywords: dict[str, Any] = {
            key: about.default
            for key, about in inspect.signature(check).parameters.items()
            if about.kind is inspect.Parameter.KEYWORD_ONLY
        }
        if set(keywords) != set(sources):
            raise TypeError(f"rule {name!r} has thresholds {set(keywords)}, sources {set(sources)}")
        RULES[name] = Rule(name, check, meaning, remedy, dict(sources), keywords)
        return check

    return register


def chosen_rules(patterns: str | Iterable[str] | None) -> list[Rule]:
    """Return the rules asked for, all for None, in the order of `RULES`.

    Parameters
    ----------
    patterns : str or iterable of str, optional
        Names or shell patterns (``dead-*``).

    Raises
    ------
    ValueError
        A name or pattern that fits none; the message lists those there are.
    """
    if patterns is None:
        return list(RULES.values())
    asked = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    names: set[str] = set()
    for pattern in asked:
        fits = fnmatch.filter(RULES, str(pattern))
        if not fits:
            raise ValueError(
                f"no rule is named {pattern!r}; there are {listed(tuple(RULES), most=40)}"
                + close_to(pattern, tuple(RULES))
            )
        names.update(fits)
    return [found for name, found in RULES.items() if name in names]
