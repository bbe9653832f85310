"""Where a followed run is shown: a cell of a notebook, or a line in a terminal.

Imports IPython, and that only where it is running.
"""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Cell", "Screen", "Terminal", "screen_here"]


class Screen(Protocol):
    """Shows a line of words, and pictures where it can."""

    @property
    def draws(self) -> bool:
        """Whether pictures are seen on it."""
        ...

    def show(self, words: str, pictures: Sequence[tuple[str, bytes]], problem: str) -> None:
        """Show this instead of what was shown before.

        Parameters
        ----------
        words : str
        pictures : sequence of (str, bytes)
            What each shows, and a PNG.
        problem : str
            What went wrong, empty for nothing.
        """
        ...


class Cell:
    """The output of a notebook's cell, replaced in place."""

    draws = True

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, words: str, pictures: Sequence[tuple[str, bytes]], problem: str) -> None:
        """Show this instead of what was shown before."""
        from IPython.display import display

        bundle = {
            "text/plain": "; ".join(part for part in (words, problem) if part),
            "text/html": as_html(words, pictures, problem),
        }
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


class Terminal:
    """Standard output, a line for each thing that is new."""

    draws = False

    def __init__(self) -> None:
        self._said = ""

    def show(self, words: str, pictures: Sequence[tuple[str, bytes]], problem: str) -> None:  # noqa: ARG002
        """Print the line, unless it is there already."""
        said = "; ".join(part for part in (words, problem) if part)
        if said != self._said:
            print(said, flush=True)  # noqa: T201
        self._said = said


def screen_here() -> Screen:
    """Return the cell that is running, or the terminal where no notebook is."""
    found = sys.modules.get("IPython")
    shell = None if found is None else found.get_ipython()
    return Cell() if hasattr(shell, "kernel") else Terminal()


def as_html(words: str, pictures: Sequence[tuple[str, bytes]], problem: str) -> str:
    """Return the cell's output, every word escaped.

    Examples
    --------
    >>> as_html("<b>", [], "")
    '<div><p>&lt;b&gt;</p></div>'
    """
    parts = [f"<p>{html.escape(words)}</p>"] if words else []
    if problem:
        style = "color:#8c1d18;background:#fff;border-left:4px solid #b3261e;padding:.3rem .7rem"
        parts.append(f'<p role="alert" style="{style}">{html.escape(problem)}</p>')
    for says, png in pictures:
        data = base64.b64encode(png).decode("ascii")
        parts.append(
            f'<img alt="{html.escape(says)}" style="display:block;max-width:100%;height:auto" '
            f'src="data:image/png;base64,{data}">'
        )
    return f"<div>{''.join(parts)}</div>"
