"""What the tests of pages share: a headless Chromium, watched pages, compared screenshots.

A test that takes ``page`` has an empty page, 1280 by 900; ``new_page(1920, dark=True)`` opens
others. At the end the test fails if any of them asked for something beyond 127.0.0.1, threw an
error, opened a dialog, or set ``window.harmed`` or ``window.hacked``. ``watch.faults`` says so
earlier. ``same_picture(page, "name")`` compares with ``screenshots/name.png``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browser import chromium, screenshots

#: A browser's own time limit for what a test waits for, in milliseconds.
PATIENCE = 180_000
expect.set_options(timeout=PATIENCE)

EXECUTABLE = cache(chromium.find)


# Of a module, not of the session: Playwright's event loop runs in this thread as long as it is
# there, and no other test could have one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium, or fail and say how to get one."""
    executable = EXECUTABLE()
    if executable is None:
        # Asked for by --browser: without one, nothing was tested.
        pytest.fail(chromium.MISSING)
    with chromium.started(executable) as browser:
        yield browser


@pytest.fixture
def watch() -> chromium.Watch:
    """Return what notes the faults of this test's pages."""
    return chromium.Watch()


@pytest.fixture
def new_page(browser: Browser, watch: chromium.Watch) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a watched page: (width, height, dark) -> page."""
    contexts = []

    def opened(width: int = 1280, height: int = 900, *, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
            service_workers="block",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        watch.over(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()
    assert watch.faults == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """Return an empty watched page, 1280 by 900, light."""
    return new_page()


@pytest.fixture
def same_picture(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Return a function that fails unless a page or a part of it looks as committed."""
    compare = partial(
        screenshots.check, update=request.config.getoption("--update-screenshots"), keep=tmp_path
    )

    def same(seen: Page | Locator, name: str, **options: object) -> None:
        compare(seen.screenshot(animations="disabled", caret="hide", **options), name)

    return same
