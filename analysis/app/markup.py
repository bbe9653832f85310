"""HTML of the app: every word that comes from a store escaped.

All text reaches a page through these functions. Panel's HTML, Markdown and Alert
panes show what they are given as it is, and its pictures' ``alt`` too.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import panel as pn

from actrace.analysis.app.look import TEXT
from actrace.analysis.charts.grammar.style import plain
from actrace.store.describe import clean

__all__ = ["block", "escaped", "failure", "heading", "missing", "picture", "table", "words"]


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
    return pn.pane.HTML(markup, sizing_mode="stretch_width", stylesheets=[TEXT])


def heading(text: object, level: int = 1) -> pn.pane.HTML:
    """Return a heading."""
    return block(f"<h{level}>{escaped(text)}</h{level}>")


def words(text: object) -> pn.pane.HTML:
    """Return a paragraph."""
    return block(f"<p>{escaped(text, 2000)}</p>")


def failure(error: BaseException) -> pn.pane.HTML:
    """Return what went wrong, in one line that a screen reader reads out."""
    said = " ".join(str(error).split()) or type(error).__name__
    return block(f"<p class='failed' role='alert'>{escaped(said, 1000)}</p>")


def missing(error: BaseException) -> pn.pane.HTML:
    """Return why there is nothing to show, where nothing went wrong."""
    said = " ".join(str(error).split())
    return block(f"<p class='note'>{escaped(said, 1000)}</p>")


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
