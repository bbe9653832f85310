"""A place on a page: a busy sign, then what was asked for, or one line that says why not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import panel as pn

from actrace.analysis.app.look import BUSY
from actrace.analysis.app.markup import failure, missing, words
from actrace.analysis.app.workers import Workers
from actrace.errors import ActraceError, NotRecordedError, PhaseNotFoundError

__all__ = ["Slot"]

_LOG: Final = logging.getLogger("actrace.app")


class _SupersededError(Exception):
    """Something else was asked for while this waited for its turn."""


class Slot:
    """A place that shows the latest thing it was asked for.

    Parameters
    ----------
    workers : Workers
    """

    def __init__(self, workers: Workers) -> None:
        self.area = pn.Column(sizing_mode="stretch_width", min_height=36, stylesheets=[BUSY])
        self._workers = workers
        self._latest = 0
        self.left = False

    def wait(self, doing: str) -> None:
        """Say what will be shown, where nothing is yet."""
        self.area[:] = [words(f"{doing} ...")]

    def busy(self) -> None:
        """Show that what stands there is being made anew."""
        self.area.loading = True

    def leave(self) -> None:
        """Let go of what was asked for, if it is not there yet."""
        self._latest += 1
        self.left = True

    async def show(
        self,
        place: Callable[[Any], Any],
        *,
        doing: str,
        read: Callable[[], Any] | None = None,
        draw: Callable[[Any], Any] | None = None,
        quiet: bool = False,
    ) -> None:
        """Do some work on the workers' threads and show what came of it.

        Whatever it raises is shown in its place, and nothing else is disturbed.

        Parameters
        ----------
        place : callable
            Makes what is shown of what the last step returned, on the page's own thread.
        doing : str
            What the busy sign says.
        read : callable, optional
            First step: computes numbers or text, on a thread that reads.
        draw : callable, optional
            Second step: takes what `read` returned, on the one thread that draws.
        quiet : bool, default False
            Leave what stands there, without a busy sign, until the new is ready.
        """
        self._latest += 1
        self.left = False
        mine = self._latest

        def in_turn(step: Callable[[], Any]) -> Callable[[], Any]:
            def stepped() -> Any:
                if mine != self._latest:
                    raise _SupersededError
                return step()

            return stepped

        if not quiet:
            if not len(self.area):
                self.wait(doing)
            self.busy()
        try:
            held = None if read is None else await self._workers.read(in_turn(read))
            if draw is not None:
                held = await self._workers.draw(in_turn(lambda: draw(held)))
            made = place(held)
        except _SupersededError:
            return
        except (NotRecordedError, PhaseNotFoundError) as error:
            made = missing(error)
        except (ActraceError, OSError) as error:
            made = failure(error)
        except Exception as error:  # a fault of ours must not take the page with it
            _LOG.exception("while %s", doing)
            made = failure(error)
        if mine == self._latest:
            self.area[:] = [made]
            self.area.loading = False
