"""What every page is given: the runs, the threads, and a way to tell its browser's tab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.view import View
from actrace.analysis.app.workers import Workers

__all__ = ["Tab"]


@dataclass(frozen=True, slots=True)
class Tab:
    """A browser's tab, as the page in it sees it.

    Attributes
    ----------
    folder : RunFolder
    workers : Workers
    go : callable
        Takes the view to show next, on another page.
    noted : callable
        Takes the view when something else is chosen on the same page.
    dark : callable
        Says whether charts are drawn for a dark page.
    """

    folder: RunFolder
    workers: Workers
    go: Callable[[View], Any]
    noted: Callable[[View], Any]
    dark: Callable[[], bool]
