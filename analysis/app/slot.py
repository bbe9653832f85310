"""A place on a page: a busy sign, then what was asked for, or one line that says why not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import panel as pn

from actrace.analysis.app.markup import failure, words
from actrace.errors import ActraceError

__all__ = ["Slot"]

T = TypeVar("T")

_LOG: Final = logging.getLogger("actrace.app")


class _SupersededError(Exception):
    """Something else was asked for while this waited for its turn."""


class Slot:
    """A place that shows the latest thing it was asked for.

    Parameters
    ----------
    do : callable
        ``Workers.draw`` or ``Workers.read``: where work is done.
    """

    def __init__(self, do: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self.area = pn.Column(sizing_mode="stretch_width", min_height=60)
        self._do = do
        self._latest = 0

    async def show(
        self, work: Callable[[], T], place: Callable[[T], Any], *, doing: str, quiet: bool = False
    ) -> None:
        """Do some work on a worker's thread and show what it made.

        Whatever it raises is shown in its place, and nothing else is disturbed.

        Parameters
        ----------
        work : callable
            Returns numbers, text or drawn pictures; knows nothing of the page.
        place : callable
            Makes what is shown of that, on the page's own thread.
        doing : str
            What the busy sign says.
        quiet : bool, default False
            Leave what stands there, without a busy sign, until the new is ready.
        """
        self._latest += 1
        mine = self._latest

        def in_turn() -> T:
            if mine != self._latest:
                raise _SupersededError
            return work()

        if not quiet:
            if not len(self.area):
                self.area[:] = [words(f"{doing} ...")]
            self.area.loading = True
        try:
            made = place(await self._do(in_turn))
        except _SupersededError:
            return
        except (ActraceError, OSError) as error:
            made = failure(error)
        except Exception as error:  # a fault of ours must not take the page with it
            _LOG.exception("while %s", doing)
            made = failure(error)
        if mine == self._latest:
            self.area[:] = [made]
            self.area.loading = False
