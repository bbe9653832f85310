"""A progress bar on what takes over two seconds, for a person who waits.

Imports rich, and that only once a bar is due.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["PATIENCE", "counting", "track", "waiting"]

T = TypeVar("T")

#: Seconds after which silence looks like a hang.
PATIENCE: Final = 2.0


def track(
    items: Iterable[T], total: int, text: str, *, progress: bool | None = None
) -> Iterator[T]:
    """Yield the items, with a bar on the terminal if they take over two seconds.

    Parameters
    ----------
    items : iterable
    total : int
        How many there will be.
    text : str
        What is being done.
    progress : bool, optional
        True for a bar at once, False for none; by default one after `PATIENCE`
        seconds, and only where standard error is a terminal.
    """
    with counting(total, text, progress=progress) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def counting(
    total: int, text: str, *, progress: bool | None = None
) -> Iterator[Callable[[], None]]:
    """Give a function to call after each step, with a bar if they take over two seconds.

    Parameters
    ----------
    total : int
        How many steps there will be.
    text : str
        What is being done.
    progress : bool, optional
        As for `track`.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(text, total=total)
    begun = time.monotonic()
    started = bool(progress)
    if started:
        bar.start()

    def advance() -> None:
        nonlocal started
        if not started and time.monotonic() - begun > PATIENCE:
            bar.start()
            started = True
        bar.advance(task)

    try:
        yield advance
    finally:
        if started:
            bar.stop()


@contextmanager
def waiting(text: str, *, progress: bool | None = None) -> Iterator[None]:
    """Show that something of unknown length goes on, if it takes over two seconds.

    Parameters
    ----------
    text : str
        What is being done.
    progress : bool, optional
        As for `track`.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.add_task(text, total=None)
    lock, over = threading.Lock(), False

    def begin() -> None:
        with lock:
            if not over:
                bar.start()

    timer = threading.Timer(0.0 if progress else PATIENCE, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
            bar.stop()
