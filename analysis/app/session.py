"""A browser's tab: the page that its URL asks for, and the URL of what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import panel as pn

from actrace.analysis.app.catalogue_page import CataloguePage
from actrace.analysis.app.comparison_page import ComparisonPage
from actrace.analysis.app.controls import choice
from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.run_page import RunPage
from actrace.analysis.app.tab import Tab
from actrace.analysis.app.view import THEMES, View
from actrace.analysis.app.workers import Workers

__all__ = ["Session"]

#: Page of a view -> the class that makes it.
_PAGES: Final[dict[str, type[CataloguePage] | type[RunPage] | type[ComparisonPage]]] = {
    "runs": CataloguePage,
    "run": RunPage,
    "compare": ComparisonPage,
}
#: The page's own colours change in the browser, at once; charts are drawn anew.
_THEME: Final = """
const themes = {light: "light", dark: "dark"};
document.documentElement.dataset.theme = themes[cb_obj.value] || "";
"""


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
        self._tell = tell
        self._tab = Tab(folder, workers, self.go, self._noted, lambda: self.dark)
        view = View.from_query(query)
        self._browser_dark = False
        labels = {text: name for name, text in THEMES.items()}
        # Above the page's right corner, and the last that Tab comes to.
        self.theme = choice(
            "Colours", options=labels, value=view.theme, width=175,
            styles={"position": "absolute", "top": "0", "right": "0"},
        )  # fmt: skip
        self.theme.jscallback(value=_THEME)
        self.theme.param.watch(lambda _: self._coloured(), "value")
        self._place = pn.Column(sizing_mode="stretch_width")
        self.body = pn.Column(self._place, self.theme, sizing_mode="stretch_width", margin=(10, 20))
        self.page: CataloguePage | RunPage | ComparisonPage
        self._turn(view)

    @property
    def dark(self) -> bool:
        """Whether charts are drawn for a dark page."""
        return self.theme.value == "dark" or (self.theme.value == "" and self._browser_dark)

    def go(self, view: View) -> None:
        """Turn to another page."""
        self._turn(view)
        self._noted(view)
        pn.state.execute(self.start)

    async def start(self) -> None:
        """Fill the page, which takes its time."""
        await self.page.start()

    async def follow(self) -> None:
        """Show what a run being recorded has got since."""
        if isinstance(self.page, RunPage):
            await self.page.follow()

    def prefer(self, dark: bool) -> None:
        """Take what the browser asks for, dark colours or light ones."""
        before, self._browser_dark = self.dark, dark
        if self.dark != before:
            pn.state.execute(self.page.redraw)

    def _coloured(self) -> None:
        self._noted(self.page.view)
        pn.state.execute(self.page.redraw)

    def _noted(self, view: View) -> None:
        self._tell(replace(view, theme=self.theme.value).query())

    def _turn(self, view: View) -> None:
        self.page = _PAGES[view.page](self._tab, view)
        self._place[:] = [self.page.body]
