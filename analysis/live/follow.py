"""`follow`: a run's charts in a notebook while it is recorded, by another process or by this one.

After Stefano Giomo's live chart in a notebook (fast.ai forum, 2019). Looks at the store alone;
when it draws again is decided here, what it draws is `picture`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from actrace.analysis.live.screen import Screen, screen_here
from actrace.analysis.live.words import state_in_words
from actrace.errors import ChartError, NotARunError
from actrace.store.catalogue.listing import list_runs
from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean
from actrace.store.paths import find_run, is_url
from actrace.store.reader import open_run
from actrace.store.run import Run

__all__ = ["LiveView", "follow"]

_LOG: Final = logging.getLogger("actrace.live")
#: A growing run is drawn again after this many times what drawing it took, so that following costs
#: a fifth of the time at most.
_REST: Final = 4.0
#: Seconds that an update may wait for a recorder of this process to write what it has.
_FLUSH: Final = 5.0


@runtime_checkable
class Recording(Protocol):
    """What is asked of a recorder of this process."""

    path: Any
    closed: Any

    def flush(self, timeout: float | None = None) -> bool:
        """Write all that was recorded."""
        ...


def follow(
    run: str | os.PathLike[str] | Run | Recording,
    *,
    layer: str | None = None,
    phase: str = "train",
    epochs: int = 2,
    every: float = 2.0,
    wait: bool | None = None,
    patience: float = 60.0,
) -> LiveView:
    """Show a run's charts in a notebook's cell, and draw them again while it is recorded.

    A line of numbers, the colorful dimension of a layer and the twin peaks of the
    latest epochs. A training in another process is followed until it ends, or until
    the cell is interrupted, which leaves the training alone. In the notebook that
    trains give the recorder, and call ``update`` where the charts should be drawn
    again::

        recorder = actrace.record(model, "runs/x", criterion=loss_fn)
        view = actrace.follow(recorder)
        for epoch in range(8):
            train(...), validate(...)
            view.update()

    Following takes a fifth of the time at most: after a drawing ``update`` renews the line
    of numbers alone until four times as long has passed. What goes wrong is shown in the cell and
    never raised, so that no training stops for it. Outside of a notebook the line of
    numbers is printed and nothing is drawn.

    Parameters
    ----------
    run : str, path, Run or Recorder
        A run on this machine; it need not be there yet.
    layer : str, optional
        Whose colorful dimension is drawn; the output layer if left out.
    phase : str, default "train"
        Of the colorful dimension.
    epochs : int, default 2
        How many of the latest epochs have their twin peaks drawn; 0 for none.
    every : float, default 2.0
        Seconds between two looks at the run.
    wait : bool, optional
        Whether to return only when the run has ended; by default yes, and not for a
        recorder. A notebook's view that does not wait is drawn between cells too.
    patience : float, default 60.0
        Seconds that a run may not be there, or not be readable, before it is given up.

    Returns
    -------
    LiveView

    Raises
    ------
    ChartError
        A run that is only in memory or in a bucket, or a number that makes no sense.

    References
    ----------
    Stefano Giomo, The colorful dimension, forums.fast.ai/t/42908.

    Examples
    --------
    >>> follow("runs/none", patience=0)
    runs/none: not there yet
    LiveView('runs/none')
    """
    for name, value, least in (
        ("epochs", epochs, 0),
        ("every", every, 0),
        ("patience", patience, 0),
    ):
        if not value >= least:
            raise ChartError(f"{name} must be at least {least}, got {value!r}")
    recorder = run if isinstance(run, Recording) else None
    view = LiveView(
        _place(run if recorder is None else recorder.path),
        draw={"layer": layer, "phase": phase, "epochs": epochs},
        patience=patience,
        flush=None if recorder is None else lambda: recorder.closed or recorder.flush(_FLUSH),
        screen=screen_here(),
    )
    waits = recorder is None if wait is None else wait
    if waits:
        view.wait(every)
    else:
        view.begin(every)
    return view


class LiveView:
    """A run as it is shown in a notebook's cell; made by `follow`.

    Parameters
    ----------
    path : Path
        The run, with or without its ``.zarr``.
    draw : dict
        What `pictures_of` takes beside the run.
    patience : float
        As for `follow`.
    flush : callable, optional
        Has what was recorded written before each look.
    screen : Screen
    """

    def __init__(
        self,
        path: Path,
        *,
        draw: dict[str, Any],
        patience: float,
        flush: Callable[[], Any] | None,
        screen: Screen,
    ) -> None:
        self.path = path
        self._draw, self._patience, self._flush, self._screen = draw, patience, flush, screen
        self._words = ""
        self._pictures: list[tuple[str, bytes]] = []
        self._known: tuple[str, dict[str, int]] | None = None
        self._rest_until = 0.0
        self._failing_since: float | None = None
        self._task: asyncio.Task[None] | None = None

    def update(self) -> bool:
        """Look at the run, and draw it again if it has grown; return whether to go on looking.

        Never raises an error. Within four times what the last drawing took only the line
        of numbers is new, unless the run has ended.
        """
        try:
            return self._update()
        except Exception as error:  # a view must not stop a training
            return self._failed(error)

    def stop(self) -> None:
        """No longer draw it between cells; what is shown stays."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def wait(self, every: float) -> None:
        """Draw it again and again until it has ended, or Ctrl-C; look every so many seconds."""
        try:
            while self.update():
                time.sleep(every)
        except KeyboardInterrupt:
            self._show("no longer followed")

    def begin(self, every: float) -> None:
        """Draw it, and again whenever the thread's event loop is idle, as between cells."""
        if not self.update():
            return
        with contextlib.suppress(RuntimeError):  # no loop is running: `update` is called by hand
            self._task = asyncio.get_running_loop().create_task(self._go_on(every))

    async def _go_on(self, every: float) -> None:
        await asyncio.sleep(every)
        while self.update():
            await asyncio.sleep(every)

    def _update(self) -> bool:
        if self._flush is not None:
            self._flush()
        found = self._summary()
        if found is None:
            self._words = f"{clean(self.path, 300)}: not there yet"
            self._show()
            return self._wait_longer()
        going = found.status == "recording"
        state, words = (found.status, found.batches), state_in_words(found)
        if state == self._known:
            self._failing_since = None
            return going
        if going and time.monotonic() < self._rest_until:
            if words != self._words:
                self._words = words
                self._show()
            return going
        begun, first = time.monotonic(), not self._pictures
        self._words = words
        if self._screen.draws:
            self._pictures = self._drawn()
        self._show()
        self._known, self._failing_since = state, None
        now = time.monotonic()
        # The first drawing loads what draws, and says nothing of those to come.
        self._rest_until = now if first else now + _REST * (now - begun)
        return going

    def _summary(self) -> RunSummary | None:
        """Return what the run's root document says, None where there is no run yet."""
        try:
            path = find_run(self.path)
            found = list_runs(path, depth=0)
        except NotARunError:
            return None
        return next((run for run in found if Path(run.path) == path), None)

    def _drawn(self) -> list[tuple[str, bytes]]:
        # Here, so that whoever follows in a terminal loads no chart library.
        from actrace.analysis.live.picture import pictures_of

        with contextlib.closing(open_run(self.path)) as run:
            return pictures_of(run, **self._draw)

    def _failed(self, error: Exception) -> bool:
        _LOG.debug("while following %s", self.path, exc_info=error)
        said = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(Exception):  # not even what shows it may stop a training
            self._show(f"cannot be drawn: {clean(said, 600)}")
        return self._wait_longer()

    def _wait_longer(self) -> bool:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        return now - self._failing_since < self._patience

    def _show(self, problem: str = "") -> None:
        self._screen.show(self._words, self._pictures, problem)

    def _ipython_display_(self) -> None:
        """Show nothing: it is shown already, by `follow`."""

    def __repr__(self) -> str:
        return f"LiveView({str(self.path)!r})"


def _place(run: Any) -> Path:
    """Return the path of what was given.

    Raises
    ------
    ChartError
        It has none on this machine.
    """
    if isinstance(run, Run):
        if run.directory is None:
            raise ChartError("this run is only in memory; follow one that is being recorded")
        return run.directory
    if is_url(run):
        raise ChartError(f"cannot follow {run!r}: follow looks at runs on this machine")
    return Path(run)
