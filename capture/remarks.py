"""What a recorder has to say: each thing once, and all of it in the report.

Imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import warnings

from actrace.errors import ActraceWarning

__all__ = ["Remarks"]


class Remarks:
    """Warnings of one recording.

    Attributes
    ----------
    said : list of str
        Every one so far, in order.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def fault(self, what: str, error: BaseException) -> None:
        """Say once that something of ours failed; the training goes on."""
        self.warn(f"{what} failed: {type(error).__name__}: {error}. The training goes on")

    def warn(self, text: str) -> None:
        """Warn once, and keep it for the report."""
        if text in self.said:
            return
        self.said.append(text)
        # Where warnings are errors, this one must still not reach the training.
        with contextlib.suppress(ActraceWarning):
            warnings.warn(text, ActraceWarning, stacklevel=2)
