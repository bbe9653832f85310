"""What a recorder has to say: each thing once, and all of it in the report.

Imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable

from actrace.errors import ActraceWarning

__all__ = ["Remarks"]


class Remarks:
    """Warnings of one recording.

    Parameters
    ----------
    elsewhere : callable
        Whether the caller's thread is not one of the training's: what it has to
        say is kept until the training's own calls `tell`.

    Attributes
    ----------
    said : list of str
        Every one so far, in order.
    pending : list of str
        Those that no warning was issued for yet.
    """

    def __init__(self, elsewhere: Callable[[], bool]) -> None:
        self.said: list[str] = []
        self.pending: list[str] = []
        self._elsewhere = elsewhere

    def fault(self, what: str, error: BaseException) -> None:
        """Say once that something of ours failed; the training goes on."""
        self.warn(f"{what} failed: {type(error).__name__}: {error}. The training goes on")

    def warn(self, text: str) -> None:
        """Warn once, and keep it for the report."""
        if text in self.said:
            return
        self.said.append(text)
        if self._elsewhere():
            self.pending.append(text)
        else:
            self._issue(text)

    def tell(self) -> None:
        """Issue the warnings that other threads had."""
        while self.pending:
            self._issue(self.pending.pop(0))

    def _issue(self, text: str) -> None:
        # Where warnings are errors, this one must still not reach the training.
        with contextlib.suppress(ActraceWarning):
            warnings.warn(text, ActraceWarning, stacklevel=3)
