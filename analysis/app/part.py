"""Parts of a page: what each shows, drawn one after another, each in its own place.

A part knows how to make what it shows and nothing of the page; one that fails leaves
the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import panel as pn

from actrace.analysis.app.markup import block, escaped
from actrace.analysis.app.slot import Slot
from actrace.analysis.app.workers import Workers

__all__ = ["Part", "Parts"]


@dataclass(frozen=True, slots=True)
class Part:
    """One chart or table.

    Attributes
    ----------
    name : str
        Tells it from the page's other parts.
    title : str
        Heading; "" for none.
    doing : str
        What the busy sign says.
    place : callable
        Makes a pane of what the last step returned.
    read, draw : callable, optional
        The steps, as for `Slot.show`.
    depends : tuple
        What it was made of; a part that has not changed is not made again.
    note : str
        How to read it, in a line.
    """

    name: str
    title: str
    doing: str
    place: Callable[[Any], Any]
    read: Callable[[], Any] | None = None
    draw: Callable[[Any], Any] | None = None
    depends: tuple[Any, ...] = ()
    note: str = ""


class Parts:
    """The place of a page's parts, one under another.

    Parameters
    ----------
    workers : Workers
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._held: dict[str, tuple[Part, Slot]] = {}
        self._shown: tuple[str, ...] = ()
        self._latest = 0
        self.area = pn.Column(sizing_mode="stretch_width")

    @property
    def slots(self) -> dict[str, Slot]:
        """Name of a part -> where it stands."""
        return {name: slot for name, (_, slot) in self._held.items()}

    async def show(self, parts: Sequence[Part], *, quiet: bool = False) -> None:
        """Show parts, from the first to the last; what was asked for before is left.

        Parameters
        ----------
        parts : sequence of Part
        quiet : bool, default False
            As for `Slot.show`.
        """
        self._latest += 1
        mine = self._latest
        names = tuple(part.name for part in parts)
        if names != self._shown:
            for _, slot in self._held.values():
                slot.leave()
            self._held, self._shown = {}, names
        stale = []
        for part in parts:
            held = self._held.get(part.name)
            if held is None or held[0].depends != part.depends or held[1].left:
                stale.append(part)
            slot = Slot(self._workers) if held is None else held[1]
            if held is None:
                slot.wait(part.doing)
            self._held[part.name] = (part, slot)
        if [pane.name for pane in self.area] != list(names):
            self.area[:] = [self._framed(part) for part in parts]
        for part in stale:
            slot = self._held[part.name][1]
            slot.leave()
            if not quiet:
                slot.busy()
        for part in stale:
            if mine != self._latest:
                return
            slot = self._held[part.name][1]
            await slot.show(
                part.place, doing=part.doing, read=part.read, draw=part.draw, quiet=quiet
            )

    def _framed(self, part: Part) -> pn.Column:
        head = f"<h2>{escaped(part.title)}</h2>" if part.title else ""
        head += f"<p class='note'>{escaped(part.note)}</p>" if part.note else ""
        slot = self._held[part.name][1]
        inner = [block(head), slot.area] if head else [slot.area]
        return pn.Column(*inner, name=part.name, sizing_mode="stretch_width")
