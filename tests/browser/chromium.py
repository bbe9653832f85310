"""A headless Chromium, and pages in it that reach nothing but this machine.

Debian's, Google's or Playwright's own, whichever is found first. A `Watch` notes what a page must
not do: ask for anything beyond 127.0.0.1, throw an error, open a dialog, or run the script that a
hostile name carries.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

#: What Debian, and others, call it.
NAMES = ("chromium", "chromium-browser", "google-chrome")

#: What the tests say where none is found.
MISSING = (
    "no Chromium: `sudo apt install chromium`, or set ACTRACE_CHROMIUM to one, or `python -m "
    "playwright install chromium`"
)

#: Names resolve to nothing, so that nothing leaves even where a test forgets to look; letters are
#: drawn without hinting and colours as they are, which differs least between machines.
ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)

#: Schemes that ask no one.
INSIDE = {"about", "blob", "chrome-error", "data", "file", "javascript"}

#: Both names that the hostile corpora set; a set is told at once, for a page may go away after it.
TELL = """
for (const name of ["harmed", "hacked"]) {
  Object.defineProperty(window, name, {set(value) { window.actraceHarm(name) }, get() {}});
}
"""


def find() -> Path | None:
    """Return the browser's executable: ACTRACE_CHROMIUM, on PATH, or Playwright's download."""
    told = os.environ.get("ACTRACE_CHROMIUM")
    if told:
        if shutil.which(told) is None:
            raise FileNotFoundError(f"ACTRACE_CHROMIUM is {told!r}, which cannot be run")
        return Path(told)
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    with sync_playwright() as play:
        own = Path(play.chromium.executable_path)
    return own if own.is_file() else None


@contextmanager
def started(executable: Path) -> Iterator[Browser]:
    """Start it, and end it afterwards."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Watch:
    """What the pages of a test did that they must not; empty at its end, or the test fails."""

    faults: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch every page that a context opens."""
        context.expose_binding("actraceHarm", lambda source, name: self._ran(source, name))
        context.add_init_script(TELL)
        context.on("request", lambda request: self._asked(request.url))
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("page", lambda page: self._page(page))

    def _page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("dialog", lambda dialog: self._dialog(dialog))

    def _dialog(self, dialog) -> None:
        # Leaving a notebook that was not saved asks; that is no script's doing.
        if dialog.type != "beforeunload":
            self.faults.append(f"dialog: {dialog.message}")
        dialog.accept()

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in INSIDE and parts.hostname != "127.0.0.1":
            self.faults.append(f"asked for {url}")

    def _ran(self, source, name: str) -> None:
        self.faults.append(f"a hostile script ran: window.{name} in {source['page'].url}")
