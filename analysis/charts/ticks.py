"""Readable tick values for an axis drawn in asinh(value / width).

Pure numbers; imports NumPy alone.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["asinh_ticks"]


def asinh_ticks(low: float, high: float, width: float, *, most: int = 9) -> list[tuple[float, str]]:
    """Return (place along the drawn axis, label in real units) of each tick.

    Zero and powers of ten of either sign, thinned so that labels keep apart.

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
    reach = max(abs(low), abs(high))
    powers = [
        10.0**p
        for p in range(first, 40)
        if width < 10.0**p and np.arcsinh(10.0**p / width) <= reach
    ]
    candidates = [0.0, *powers, *(-power for power in powers)]
    if len(powers) < 2:
        # A short axis: round steps of the linear part too.
        top = math.sinh(reach) * width
        step = 10.0 ** math.floor(math.log10(top / 2)) if top > 0 else width
        candidates += [s * k * step for s in (-1.0, 1.0) for k in (1, 2, 5)]
    gap = (high - low) / most
    chosen: list[float] = []
    # Zero first, then the largest, which say how far the axis reaches.
    for value in sorted(set(candidates), key=lambda v: (v != 0, -abs(v))):
        place = math.asinh(value / width)
        if low <= place <= high and all(
            abs(place - math.asinh(other / width)) >= gap for other in chosen
        ):
            chosen.append(value)
    return [(math.asinh(value / width), f"{value:g}") for value in sorted(chosen)]
