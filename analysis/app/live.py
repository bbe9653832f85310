"""A large chart on a page, which becomes sharp where one looks.

What is in view is read on a thread of its own, and drawn on the page's; while one is
read, only the latest of what is asked for waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import panel as pn
from bokeh.document import without_document_lock
from bokeh.events import RangesUpdate

from actrace.analysis.app.view import Ends
from actrace.analysis.charts.zoom.layer import SharpLayer, Sight
from actrace.analysis.charts.zoom.zoom import Zoom
from actrace.errors import ActraceError

__all__ = ["Follower", "zoomed"]

_LOG: Final = logging.getLogger("actrace.app")
#: Seconds within which steps of a gesture are taken for one.
_STEPS: Final = 0.04


def zoomed(
    model: Any, zoom: Zoom | None, seen: Callable[[Ends | None, Ends | None], Any]
) -> pn.pane.Bokeh:
    """Return a chart's pane, which follows the view where the chart can.

    Parameters
    ----------
    model : bokeh model
        The chart, rendered.
    zoom : Zoom or None
        The chart's own.
    seen : callable
        Takes the batches and the part of the value axis that are in view by now, None
        for all of them.
    """
    layer = None if zoom is None else zoom.take()
    if zoom is not None and layer is not None:
        whole = zoom.whole

        def tell(across: Ends, up: Ends) -> None:
            seen(None if across == whole[0] else across, None if up == whole[1] else up)

        layer.picture.on_event(RangesUpdate, Follower(zoom.look, layer, tell).moved)
    return pn.pane.Bokeh(model)


class Follower:
    """Follows the view of one rendered chart on one page.

    Parameters
    ----------
    look : callable
        ``Zoom.look``.
    layer : SharpLayer
        What it draws on.
    seen : callable
        Takes a view that has been drawn: its batches, and its part of the value axis.
    """

    def __init__(
        self, look: Callable[..., Sight], layer: SharpLayer, seen: Callable[[Ends, Ends], Any]
    ) -> None:
        self._look, self._layer, self._seen = look, layer, seen
        self._wanted: tuple[Ends, Ends] | None = None
        self._at_work = False

    def moved(self, event: RangesUpdate) -> None:
        """Have what is in view drawn, as soon as may be."""
        ends = (event.x0, event.x1), (event.y0, event.y1)
        if any(end is None for pair in ends for end in pair):
            return
        self._wanted = ends
        document = self._layer.picture.document
        if not self._at_work and document is not None:
            self._at_work = True
            # With the lock, the page would not hear of the next move before this is drawn.
            document.add_next_tick_callback(without_document_lock(self._follow))

    async def _follow(self) -> None:
        try:
            while self._wanted is not None:
                # The wheel turns in steps; one picture for several that follow each other.
                await asyncio.sleep(_STEPS)
                view, self._wanted = self._wanted, None
                try:
                    sight = await asyncio.to_thread(self._look, *view)
                except (ActraceError, OSError):
                    # What stands there is coarse and right; the log has the rest.
                    _LOG.exception("while looking closer")
                    continue
                await self._on_page(partial(self._show, sight, view))
        finally:
            self._at_work = False

    def _show(self, sight: Sight, view: tuple[Ends, Ends]) -> None:
        self._layer.show(sight)
        self._seen(*view)

    async def _on_page(self, draw: Callable[[], None]) -> None:
        """Draw with the page's lock, and wait until it is done."""
        document = self._layer.picture.document
        if document is None:
            # The page shows something else by now.
            return
        done = asyncio.get_running_loop().create_future()

        def drawn() -> None:
            try:
                # In the meantime another chart may have taken its place.
                if self._layer.picture.document is not None:
                    draw()
            finally:
                if not done.done():
                    done.set_result(None)

        document.add_next_tick_callback(drawn)
        await done
