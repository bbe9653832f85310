"""A batch whose beginning and end are told, instead of being a forward of the model.

For loops that call parts of the model, or the model several times, for one
batch, and for the training frameworks that say where a batch begins and ends.
What is in the batch is `batches`' work. May import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = ["HeldBatch"]

#: Batches in which the output layer is looked for.
_PATIENCE: Final = 8


class HeldBatch:
    """Holds the batch of a session open between `begin` and `end`.

    Attributes
    ----------
    open : bool
        Between the two: a forward of the model belongs to the batch.
    only : bool
        No forward outside of the two is a batch.
    used : bool
        `begin` was called.
    """

    __slots__ = ("_looked", "_session", "only", "open", "used")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.open = False
        self.only = False
        self.used = False
        self._looked = 0

    # What a loop or a host calls.

    def begin(self, *, phase: str | None = None, samples: int | None = None) -> None:
        """Open a batch, of `phase` if it is given; one that never ended is dropped.

        Raises
        ------
        RecorderError
            The phase's name cannot stand in the store.
        """
        session = self._session
        self.drop()
        self.used = True
        if phase is not None:
            session.clock.enter(phase)
        try:
            self.open = session.begin_told(samples or 0)
        finally:
            if phase is not None:
                session.clock.leave()

    def end(self) -> None:
        """End the batch; it stays open for numbers to join it."""
        if not self.open:
            return
        self.open = False
        session = self._session
        session.end_told()
        if session.watching is not None:
            # Its modules ran and none was the model's own forward.
            self._looked += 1
            if self._looked >= _PATIENCE:
                session.find_output(None)

    def drop(self) -> None:
        """Forget the batch, if it never ended."""
        if self.open:
            self.open = False
            self._session.drop_half()

    def is_mine(self) -> bool:
        """Return whether this thread is between `begin` and `end`."""
        return self.open and self._session.is_owner()

    # What the session and its hooks ask.

    def joined(self, source: torch.Tensor | None, model: nn.Module, *, compiled: bool) -> None:
        """Let a forward of the model be a part of the batch, or of none."""
        session, batch = self._session, self._session.batch
        if not self.open or batch is None or not session.is_open():
            return
        if not batch.samples:
            batch.samples = source.shape[0] if source is not None and source.ndim else 0
        if session.coverage.functional or not session.table.fixed:
            session.coverage.begin(model, compiled=compiled)

    def saw_output(self, found: tuple[str, torch.Tensor] | None) -> None:
        """Take the main tensor of an output of the model; the last one of a batch counts."""
        session, batch = self._session, self._session.batch
        session.coverage.leave()
        if batch is None or not session.is_open() or torch._C._current_graph_task_id() != -1:
            return  # not recorded; or checkpointing runs the model again for its backward
        if session.watching is not None:
            session.find_output(found)
        session.keep_main(batch, found)

    def saw_criterion(self, given: torch.Tensor | None) -> None:
        """Take the criterion's input for the output, where the model gave none."""
        batch = self._session.batch
        if self.open and batch is not None and batch.output is None and given is not None:
            self.saw_output(("", given))
