"""A report's page as a browser would take it apart, and names that try to break out of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["HOSTILE", "Page"]

#: Names of layers, classes, settings and runs that someone might give.
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)" x="',
    "' autofocus onfocus='alert(4)",
    "</style><script>alert(5)</script>",
    "</title></table><svg onload=alert(6)>",
    "javascript:alert(7)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;alert(8)&lt;/script&gt;",
    "-->]]><script>alert(9)</script>",
    "\x1b[31mred\x1b[0m\x00\u202egnp.exe",
    "a|b`c*d_e[f](https://example.org)@someone#1",
)


class Page(HTMLParser):
    """What stands in a page: its tags, attributes, text and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.images: list[dict[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    @property
    def text(self) -> str:
        """All that a person reads, in one line."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= given.keys()
        self.links += [given[name] for name in ("href", "src", "srcset", "action") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "img":
            self.images.append(given)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("style", "script"):
            return
        self.words.append(data)
        if inside in ("h1", "h2", "h3", "h4"):
            self.headings.append(data.strip())
