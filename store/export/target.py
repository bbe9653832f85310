"""What copying a run asks of the place that it goes to. Imports the standard library alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Target"]


class Target(ABC):
    """A place that a run is being copied to.

    Files come in the order of a commit: chunks, documents, and the root document
    last. Used as a context: what fails within leaves nothing behind that opens.

    Attributes
    ----------
    place : str
        Where it is, as the user knows it.
    workers : int
        How many files it takes at a time.
    """

    place: str
    workers: int = 1

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.abandon()

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write a file."""

    @abstractmethod
    def settle(self) -> None:
        """Make sure that everything so far is there, before a root document says so."""

    @abstractmethod
    def finish(self) -> None:
        """Check what was written and show it under its name."""

    @abstractmethod
    def abandon(self) -> None:
        """Remove what was written."""
