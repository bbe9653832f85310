"""The contrast of two colours, as WCAG 2.2 defines it."""

from __future__ import annotations

from typing import Any

from matplotlib.colors import to_rgba

__all__ = ["contrast", "luminance"]


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour, 0 black to 1 white."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(colour)[:3]
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Any, other: Any) -> float:
    """Return the contrast of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
