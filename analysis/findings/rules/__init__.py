"""The rules, one file a theme; each is a function that yields what it finds.

A rule imports the evidence and the registry, and NumPy. It never raises for what a run
has not recorded but `NotRecordedError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

__all__ = ["load"]

#: In this order the rules are run and listed.
_THEMES: Final = (
    "recording",
    "finite",
    "death",
    "saturation",
    "ranges",
    "start",
    "learning",
    "classes",
    "overfit",
)


def load() -> None:
    """Register every rule."""
    for theme in _THEMES:
        import_module(f"actrace.analysis.findings.rules.{theme}")
