"""Which batches are recorded: schedules, plain functions of the step.

A schedule is anything that takes a step and returns whether its batch is
recorded. In training the step counts training batches; in every other phase it
counts the batches of that phase. Imports the standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from actrace.errors import RecorderError

__all__ = ["Schedule", "ScheduleChoice", "Schedules", "between", "every", "first", "log_spaced"]

ScheduleChoice: TypeAlias = "Callable[[int], bool] | Mapping[str, Callable[[int], bool]] | None"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A function of the step that can be combined with ``|`` (or) and ``&`` (and).

    Parameters
    ----------
    words : str
        What it is called, kept with the run.
    takes : callable
        ``step -> bool``.

    Examples
    --------
    >>> often = first(3) | every(100)
    >>> [step for step in range(301) if often(step)]
    [0, 1, 2, 100, 200, 300]
    >>> often
    first(3) | every(100)
    """

    words: str
    takes: Callable[[int], bool] = field(repr=False)

    def __call__(self, step: int) -> bool:
        """Return whether the batch of `step` is recorded."""
        return self.takes(step)

    def __or__(self, other: Callable[[int], bool]) -> Schedule:
        return Schedule(_join(self, "|", other), lambda step: self(step) or bool(other(step)))

    def __ror__(self, other: Callable[[int], bool]) -> Schedule:
        return Schedule(_join(other, "|", self), lambda step: bool(other(step)) or self(step))

    def __and__(self, other: Callable[[int], bool]) -> Schedule:
        return Schedule(_join(self, "&", other), lambda step: self(step) and bool(other(step)))

    def __rand__(self, other: Callable[[int], bool]) -> Schedule:
        return Schedule(_join(other, "&", self), lambda step: bool(other(step)) and self(step))

    def __repr__(self) -> str:
        return self.words


def words_of(schedule: Callable[[int], bool]) -> str:
    """Return what a schedule is called: its own words, or its function's name."""
    if isinstance(schedule, Schedule):
        return schedule.words
    return str(getattr(schedule, "__name__", type(schedule).__name__))


def _join(left: Callable[[int], bool], sign: str, right: Callable[[int], bool]) -> str:
    # & binds closer than |, as in Python.
    parts = [words_of(one) for one in (left, right)]
    if sign == "&":
        parts = [f"({part})" if " | " in part else part for part in parts]
    return f" {sign} ".join(parts)


def every(n: int) -> Schedule:
    """Return the schedule of each `n`-th batch, the first included.

    Raises
    ------
    RecorderError
        Not a whole number from 1.

    Examples
    --------
    >>> [step for step in range(10) if every(4)(step)]
    [0, 4, 8]
    """
    _check("every(n)", n, 1)
    return Schedule(f"every({n})", lambda step: step % n == 0)


def first(n: int) -> Schedule:
    """Return the schedule of the first `n` batches.

    Raises
    ------
    RecorderError
        Not a whole number from 1.
    """
    _check("first(n)", n, 1)
    return Schedule(f"first({n})", lambda step: step < n)


def between(start: int, stop: int) -> Schedule:
    """Return the schedule of the batches from `start` to before `stop`.

    Raises
    ------
    RecorderError
        Not whole numbers from 0, or none between them.

    Examples
    --------
    >>> [step for step in range(10) if between(2, 5)(step)]
    [2, 3, 4]
    """
    _check("start of between(start, stop)", start, 0)
    _check("stop of between(start, stop)", stop, start + 1)
    return Schedule(f"between({start}, {stop})", lambda step: start <= step < stop)


def log_spaced(per_decade: int = 10) -> Schedule:
    """Return the schedule of ever rarer batches: step 0, then `per_decade` a factor of ten.

    Steps are ``round(10 ** (k / per_decade))`` for whole k, so early batches are
    all taken and late ones seldom.

    Raises
    ------
    RecorderError
        Not a whole number from 1.

    Examples
    --------
    >>> [step for step in range(1001) if log_spaced(4)(step)]
    [0, 1, 2, 3, 6, 10, 18, 32, 56, 100, 178, 316, 562, 1000]
    """
    _check("per_decade of log_spaced", per_decade, 1)

    def takes(step: int) -> bool:
        if step <= 0:
            return step == 0
        nearest = round(per_decade * math.log10(step))
        return any(
            round(10 ** (k / per_decade)) == step for k in range(max(nearest - 1, 0), nearest + 2)
        )

    return Schedule(f"log_spaced({per_decade})", takes)


def _check(what: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RecorderError(f"{what} must be a whole number from {least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Schedules:
    """What a recorder was asked for: a schedule by phase, and by layer pattern.

    Parameters
    ----------
    phases : callable, mapping or None
        One schedule for every phase, or one for each of some; a phase that is
        not named is recorded whole.
    layers : mapping of str to callable
        Glob pattern of layer names -> schedule; a layer takes the first that
        matches, and one that none matches is recorded whole.

    Raises
    ------
    RecorderError
        Something that is no schedule.
    """

    phases: ScheduleChoice = None
    layers: Mapping[str, Callable[[int], bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.phases, Mapping):
            for name, schedule in self.phases.items():
                _check_schedule(f"schedule[{name!r}]", schedule)
        elif self.phases is not None:
            _check_schedule("schedule", self.phases)
        if not isinstance(self.layers, Mapping):
            raise RecorderError(
                f"layer_schedule must map name patterns to schedules, got {self.layers!r}; "
                'for example {"encoder.*": actrace.every(100)}'
            )
        for pattern, schedule in self.layers.items():
            _check_schedule(f"layer_schedule[{pattern!r}]", schedule)

    def of_phase(self, phase: str) -> Callable[[int], bool] | None:
        """Return the schedule of a phase, None where every batch is recorded."""
        if isinstance(self.phases, Mapping):
            return self.phases.get(phase)
        return self.phases

    def of_layer(self, name: str) -> Callable[[int], bool] | None:
        """Return the schedule of a layer, None where it has none of its own."""
        for pattern, schedule in self.layers.items():
            if fnmatchcase(name, pattern):
                return schedule
        return None

    def check_layers(self, names: Iterable[str]) -> None:
        """Refuse a pattern that matches no recorded layer.

        Raises
        ------
        RecorderError
            Names the pattern and the layers there are.
        """
        known = list(names)
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in known):
                shown = ", ".join(map(repr, known[:8])) + (" ..." if len(known) > 8 else "")
                raise RecorderError(
                    f"the pattern {pattern!r} of layer_schedule matches no recorded layer; "
                    f"there are {shown}"
                )

    def attributes(self) -> dict[str, Any]:
        """Return what the store is told: the schedules in words."""
        if isinstance(self.phases, Mapping):
            phases: Any = {name: words_of(s) for name, s in self.phases.items()}
        else:
            phases = None if self.phases is None else words_of(self.phases)
        layers = {pattern: words_of(s) for pattern, s in self.layers.items()}
        return {"schedule": phases, "layer_schedule": layers}


def _check_schedule(what: str, schedule: object) -> None:
    if not callable(schedule):
        raise RecorderError(
            f"{what} must be a function of the step that returns a bool, got {schedule!r}; "
            "for example actrace.every(10) or actrace.first(100) | actrace.every(50)"
        )
