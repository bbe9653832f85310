"""The arithmetic of the tables. Standard library alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "growth", "ratios", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median between its quartiles.

    Attributes
    ----------
    low, middle, high : float
    """

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles, which lie among the values, as NumPy's percentiles do.

    Examples
    --------
    >>> str(spread([1.0, 2.0, 3.0, 4.0, 5.0]))
    '3.00 (2.00 to 4.00)'
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(seconds: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Return the ratio of each round's time to the bare step's in the same round.

    Examples
    --------
    >>> ratios([3.0, 8.0], [2.0, 4.0])
    [1.5, 2.0]
    """
    return [ours / theirs for ours, theirs in zip(seconds, bare, strict=True)]


def growth(steps: Sequence[int], resident: Sequence[int]) -> float:
    """Return the bytes of memory that each step added: the slope of the line of least squares.

    Parameters
    ----------
    steps : sequence of int
        Made between one look at the memory and the one before it.
    resident : sequence of int
        Bytes held then.

    Examples
    --------
    >>> growth([10, 10, 10], [1000, 1100, 1200])
    10.0
    >>> growth([10], [1000])
    0.0
    """
    if len(resident) < 2:
        return 0.0
    made = [sum(steps[: at + 1]) for at in range(len(steps))]
    return statistics.linear_regression(made, resident).slope
