"""HTML of the app: every word that comes from a store escaped, one style sheet.

All text reaches a page through these functions. Panel's HTML, Markdown and Alert
panes show what they are given as it is, and its pictures' ``alt`` too.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Final

import panel as pn

from actrace.analysis.charts.style import plain
from actrace.store.describe import clean

__all__ = ["STYLE", "block", "escaped", "failure", "heading", "picture", "table", "words"]

#: Contrast of text and links on white is 7 to 1 or better.
STYLE: Final = """
:host, body { font-family: system-ui, sans-serif; color: #1f2329; }
h1 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
h2 { font-size: 1.05rem; margin: 0.4rem 0 0; }
p { margin: 0.2rem 0; max-width: 75em; overflow-wrap: anywhere; }
p.error { color: #8c1d18; border-left: 4px solid #b3261e; padding: 0.3rem 0.7rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.15rem 0.9rem 0.15rem 0; text-align: left; vertical-align: top;
         overflow-wrap: anywhere; }
th { font-weight: 600; border-bottom: 1px solid #c5cad1; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
b.error { color: #8c1d18; } b.warning { color: #7a4700; } b.info { color: #1d4a70; }
"""


def escaped(text: object, most: int = 400) -> str:
    """Return text for HTML, in an attribute too, control characters shown as they are written.

    Examples
    --------
    >>> escaped("<b>'a'")
    '&lt;b&gt;&#x27;a&#x27;'
    """
    return html.escape(clean(text, most))


def block(markup: str) -> pn.pane.HTML:
    """Return a pane of markup, all of whose foreign words were escaped."""
    return pn.pane.HTML(markup, sizing_mode="stretch_width", stylesheets=[STYLE])


def heading(text: object, level: int = 1) -> pn.pane.HTML:
    """Return a heading."""
    return block(f"<h{level}>{escaped(text)}</h{level}>")


def words(text: object) -> pn.pane.HTML:
    """Return a paragraph."""
    return block(f"<p>{escaped(text, 2000)}</p>")


def failure(error: BaseException) -> pn.pane.HTML:
    """Return what went wrong, in one line that a screen reader reads out."""
    said = " ".join(str(error).split()) or type(error).__name__
    return block(f"<p class='error' role='alert'>{escaped(said, 1000)}</p>")


def picture(png: bytes, says: str) -> pn.pane.HTML:
    """Return a picture, with what it shows in words for whoever does not see it."""
    data = base64.b64encode(png).decode("ascii")
    return block(f"<img alt='{escaped(plain(says))}' src='data:image/png;base64,{data}'>")


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> str:
    """Return the markup of a table.

    Parameters
    ----------
    columns : sequence of (str, str)
        Heading, and ``"left"`` or ``"right"``.
    rows : iterable of sequence
        What the cells say; text is escaped.

    Examples
    --------
    >>> table([("a", "left")], [["<i>"]])
    "<table><thead><tr><th scope='col' class=''>a</th></tr></thead><tbody>\
<tr><td class=''>&lt;i&gt;</td></tr></tbody></table>"
    """
    kinds = ["number" if side == "right" else "" for _, side in columns]
    head = "".join(
        f"<th scope='col' class='{kind}'>{escaped(name)}</th>"
        for (name, _), kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td class='{kind}'>{escaped(cell)}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
