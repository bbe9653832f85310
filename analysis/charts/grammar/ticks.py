"""Readable ticks: values of an axis drawn in asinh(value / width), and whole numbers.

Pure numbers; imports the standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["asinh_ticks", "place_ticks"]


def asinh_ticks(low: float, high: float, width: float, *, most: int = 9) -> list[tuple[float, str]]:
    """Return (place along the drawn axis, label in real units) of each tick.

    Zero and powers of ten of either sign, thinned so that labels keep apart, and
    their halves and fifths where there is room.

    Parameters
    ----------
    low, high : float
        Ends of the drawn axis, ``asinh(value / width)``.
    width : float
        Where the axis turns from linear to logarithmic, activation units.
    most : int, default 9
        Most labels that fit.

    Examples
    --------
    >>> [label for _, label in asinh_ticks(-7.7, 7.7, 0.1, most=7)]
    ['-100', '-10', '-1', '0', '1', '10', '100']
    """
    first = math.floor(math.log10(width))
    top = math.sinh(max(abs(low), abs(high))) * width
    last = max(first, math.floor(math.log10(top)))
    sizes = [step * 10.0**p for step in (1, 5, 2) for p in range(last, first - 2, -1)]
    gap = (high - low) / most
    chosen = [0.0] if low <= 0 <= high else []
    # Zero first, then powers of ten from the largest, which say how far the axis
    # reaches, then what still fits between.
    for value in (sign * size for size in sizes for sign in (1.0, -1.0)):
        place = math.asinh(value / width)
        if low <= place <= high and all(
            abs(place - math.asinh(other / width)) >= gap for other in chosen
        ):
            chosen.append(value)
    return [(math.asinh(value / width), f"{value:g}") for value in sorted(chosen)]


def place_ticks(
    places: Sequence[float], numbers: Sequence[int], *, most: int = 8
) -> list[tuple[float, str]]:
    """Return (place, label) of at most so many of the numbers, evenly thinned.

    Examples
    --------
    >>> place_ticks([0.5, 1.5, 2.5], [0, 5, 10], most=2)
    [(0.5, '0'), (2.5, '10')]
    """
    every = -(-len(numbers) // most)
    return [(float(places[i]), str(int(numbers[i]))) for i in range(0, len(numbers), max(every, 1))]
