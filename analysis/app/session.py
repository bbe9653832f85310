"""A browser's tab: the page that its URL asks for, and the URL of what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn

from actrace.analysis.app.catalogue_page import CataloguePage
from actrace.analysis.app.comparison_page import ComparisonPage
from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.run_page import RunPage
from actrace.analysis.app.view import View
from actrace.analysis.app.workers import Workers

__all__ = ["Session"]

#: Page of a view -> the class that makes it.
_PAGES: Final[dict[str, type[CataloguePage] | type[RunPage] | type[ComparisonPage]]] = {
    "runs": CataloguePage,
    "run": RunPage,
    "compare": ComparisonPage,
}


class Session:
    """One tab of a browser.

    Parameters
    ----------
    folder : RunFolder
    workers : Workers
    query : str
        Of the URL that was asked for.
    tell : callable
        Takes the query of the URL that shows what is shown now.
    """

    def __init__(
        self,
        folder: RunFolder,
        workers: Workers,
        query: str = "",
        tell: Callable[[str], Any] = lambda _: None,
    ) -> None:
        self._folder, self._workers, self._tell = folder, workers, tell
        self.body = pn.Column(sizing_mode="stretch_width", margin=(10, 20))
        self.page: CataloguePage | RunPage | ComparisonPage
        self._turn(View.from_query(query))

    def go(self, view: View) -> None:
        """Turn to another page."""
        self._turn(view)
        self._tell(view.query())
        pn.state.execute(self.start)

    async def start(self) -> None:
        """Fill the page, which takes its time."""
        await self.page.start()

    async def follow(self) -> None:
        """Show what a run being recorded has got since."""
        if isinstance(self.page, RunPage):
            await self.page.follow()

    def _turn(self, view: View) -> None:
        make = _PAGES[view.page]
        self.page = make(
            self._folder,
            self._workers,
            view,
            go=self.go,
            noted=lambda now: self._tell(now.query()),
        )
        self.body[:] = [self.page.body]
