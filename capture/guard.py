"""No fault of the recorder's gets out into the training.

Imports the standard library alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actrace.capture.batch import Batch
    from actrace.capture.batches import Session

__all__ = ["Guard"]


class Guard:
    """Context that catches what goes wrong, counts the batch it cost, and clocks what is inside.

    A class, because a batch enters several and a generator costs more.

    Parameters
    ----------
    session : Session
    what : str
        What is being done, for the warning.
    batch : Batch or None
        What a fault costs; the open batch if None.
    """

    __slots__ = ("_batch", "_began", "_outermost", "_session", "_what")

    def __init__(self, session: Session, what: str, batch: Batch | None) -> None:
        self._session = session
        self._what = what
        self._batch = batch

    def __enter__(self) -> None:
        session = self._session
        self._began = time.perf_counter()
        self._outermost = not session.clocked
        session.clocked = True

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> bool:
        session = self._session
        ours = isinstance(error, Exception)
        if isinstance(error, Exception):
            session.failed(self._what, error, self._batch)
        if self._outermost:
            session.clocked = False
            session.seconds += time.perf_counter() - self._began
        return ours
