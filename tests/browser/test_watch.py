"""The watch over pages notes all that a page must not do, and lets nothing out."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Error
from tests.browser.chromium import Watch


def faults_of(browser: Browser, html: str) -> list[str]:
    watch = Watch()
    with browser.new_context() as context:
        watch.over(context)
        page = context.new_page()
        page.set_content(html)
        page.wait_for_timeout(100)
    return watch.faults


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<img src=http://example.org/x.png>", "asked for http://example.org/x.png"),
        ("<script src='https://cdn.example.org/x.js'></script>", "asked for https://cdn"),
        ("<script>new WebSocket('ws://example.org/x')</script>", "asked for ws://example.org/x"),
        ("<script>throw new Error('oh')</script>", "error: oh"),
        ("<img src=x onerror='window.harmed=1'>", "window.harmed"),
        ("<iframe srcdoc='<script>window.hacked = 1</script>'></iframe>", "window.hacked"),
        ("<script>alert('hello')</script>", "dialog: hello"),
    ],
)
def test_a_fault_is_noted(browser: Browser, html: str, fault: str) -> None:
    assert any(fault in noted for noted in faults_of(browser, html))


def test_a_quiet_page_has_none(browser: Browser) -> None:
    quiet = "<p>quiet</p><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    assert faults_of(browser, quiet) == []


def test_no_name_and_no_other_address_is_reached(browser: Browser) -> None:
    with browser.new_context() as context:
        for address in ("http://example.org/", "http://192.0.2.1/", "http://localhost:8765/"):
            with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
                context.new_page().goto(address)
