"""How many pairs of runs `actrace.compare` tells apart, with other seeds as noise and without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.compare.trainings import CHANGES, HALVES, Configuration

import actrace

__all__ = ["Pair", "change_lines", "configuration_lines", "judge"]

SAME: Final = "the same, another seed"


@dataclass(frozen=True, slots=True)
class Pair:
    """A run held against a plain one, and what was said of them.

    Attributes
    ----------
    configuration : Configuration
    label : str
        What was changed, `SAME` for nothing.
    alone, known : bool
        Whether they part where nothing else is given, and with the other plain runs as noise.
    step : float
        Where they part with those, NaN for never.
    """

    configuration: Configuration
    label: str
    alone: bool
    known: bool
    step: float


def judge(
    configuration: Configuration,
    plain: Mapping[str, Path],
    changed: Mapping[str, tuple[str, Path]],
    baselines: int,
) -> Iterator[Pair]:
    """Yield pairs of runs: plain ones and plain ones, and the first of them and changed ones.

    Parameters
    ----------
    configuration : Configuration
    plain : dict of str to Path
    changed : dict of str to tuple of str and Path
        Name of the run -> what was changed, and where the run is.
    baselines : int
        Plain runs that the other plain ones are held against.
    """
    others = {name: path for name, (_, path) in changed.items()}
    for baseline in list(plain)[:baselines]:
        runs = {**plain, **others}
        others = {}
        known = actrace.compare(runs, baseline=baseline, noise=plain).parts
        alone = actrace.compare(runs, baseline=baseline, noise=[]).parts
        for with_seeds, without in zip(known, alone, strict=True):
            label = changed[with_seeds.run][0] if with_seeds.run in changed else SAME
            yield Pair(
                configuration, label, without.parted, with_seeds.parted, float(with_seeds.at)
            )


def configuration_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield the table of pairs that part, by configuration."""
    all_pairs = list(pairs)
    yield "| configuration | half | same, alone | same, with seeds | changed, alone | with seeds |"
    yield "|---|---|---|---|---|---|"
    for name, half in dict.fromkeys(
        (p.configuration.name, p.configuration.half) for p in all_pairs
    ):
        some = [pair for pair in all_pairs if pair.configuration.name == name]
        yield f"| {name} | {half} | {_counts(some)} |"
    for half in HALVES:
        some = [pair for pair in all_pairs if pair.configuration.half == half]
        if some:
            yield f"| **all** | **{half}** | {_counts(some)} |"


def _counts(pairs: list[Pair]) -> str:
    cells = []
    for same in (True, False):
        some = [pair for pair in pairs if (pair.label == SAME) == same]
        cells += [f"{sum(pair.alone for pair in some)} of {len(some)}"]
        cells += [f"{sum(pair.known for pair in some)} of {len(some)}"]
    return " | ".join(cells)


def change_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield the table of pairs that part, by what was changed and half."""
    all_pairs = list(pairs)
    yield "| what is otherwise | half | pairs | part alone | part with seeds | median step |"
    yield "|---|---|---|---|---|---|"
    for label in (SAME, *CHANGES):
        for half in HALVES:
            some = [p for p in all_pairs if (p.label, p.configuration.half) == (label, half)]
            if not some:
                continue
            steps = [pair.step for pair in some if pair.known]
            step = f"{np.median(steps):.0f}" if steps else "-"
            alone, known = (sum(getattr(p, name) for p in some) for name in ("alone", "known"))
            yield f"| {label} | {half} | {len(some)} | {alone} | {known} | {step} |"
