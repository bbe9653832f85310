"""A chart -> one HTML page that needs no network and follows its reader's light or dark.

Imports bokeh and HoloViews.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import holoviews as hv
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady
from bokeh.layouts import column, row
from bokeh.models import Button, CustomJS, Slider, Toolbar
from bokeh.resources import INLINE

from actrace.analysis.charts.grammar.theme import PAPER, dark_changes

__all__ = ["document_of", "page_of", "text_of"]

_TITLE: Final = "actrace chart"
#: Milliseconds of a frame while it plays.
_SHOWN: Final = 600
#: The page around a chart, for a reader who likes it dark.
_STYLE: Final = {
    None: f"@media (prefers-color-scheme: dark) {{ body {{ background: {PAPER}; }} }}",
    "dark": f"body {{ background: {PAPER}; }}",
    "light": "",
}
_TURN: Final = """
if (window.matchMedia("(prefers-color-scheme: dark)").matches) {
  models.forEach((model, i) => model.setv(changes[i]));
}
"""
_SHOW: Final = """
pages.forEach((page, i) => { page.visible = i == slider.value; });
slider.title = labels[slider.value];
"""
_PLAY: Final = """
if (window.actrace_film) {
  clearInterval(window.actrace_film);
  window.actrace_film = null;
  button.label = "Play";
} else {
  window.actrace_film = setInterval(() => {
    slider.value = slider.value < slider.end ? slider.value + 1 : slider.start;
  }, every);
  button.label = "Stop";
}
"""


def page_of(chart: Any, frames: Sequence[tuple[str, Any]], theme: str | None) -> str:
    """Return the page.

    Parameters
    ----------
    chart : HoloViews object
    frames : sequence of (label, chart)
        From `frames_of`; a slider takes from one to the next.
    theme : {"light", "dark"}, optional
        If left out, the reader's setting.
    """
    return text_of(document_of(chart, frames, theme), theme)


def document_of(chart: Any, frames: Sequence[tuple[str, Any]], theme: str | None) -> Document:
    """Return what stands on the page; the arguments are those of `page_of`."""
    page = _film(frames) if len(frames) > 1 else _drawn(frames[0][1] if frames else chart)
    for toolbar in page.select({"type": Toolbar}):
        toolbar.logo = None  # a link to the net
    document = Document(title=_TITLE)
    document.add_root(page)
    if theme != "light":
        turned = [(model, new) for model, new in dark_changes(page.references()) if new]
        if theme == "dark":
            for model, new in turned:
                model.update(**new)
        else:
            models, changes = [model for model, _ in turned], [new for _, new in turned]
            turn = CustomJS(args={"models": models, "changes": changes}, code=_TURN)
            document.js_on_event(DocumentReady, turn)
    return document


def text_of(document: Document, theme: str | None) -> str:
    """Return the page of a document."""
    text = str(file_html(document, resources=INLINE, title=_TITLE))
    # Not the first of its kind: the scripts before it speak of heads and bodies too.
    before, head, after = text.rpartition("</head>")
    return f"{before}<style>{_STYLE[theme]}</style>{head}{after}"


def _film(frames: Sequence[tuple[str, Any]]) -> Any:
    """Return all frames, one of which is seen, with a slider and a button to play them."""
    pages = [_drawn(one) for _, one in frames]
    last = len(pages) - 1
    for at, page in enumerate(pages):
        page.visible = at == last
    labels = [label for label, _ in frames]
    slider = Slider(
        start=0, end=last, value=last, step=1, title=labels[last], show_value=False, width=600
    )
    button = Button(label="Play", width=90)
    args = {"slider": slider, "pages": pages, "labels": labels}
    slider.js_on_change("value", CustomJS(args=args, code=_SHOW))
    args = {"slider": slider, "button": button, "every": _SHOWN}
    button.js_on_click(CustomJS(args=args, code=_PLAY))
    return column(row(button, slider), *pages)


def _drawn(chart: Any) -> Any:
    return hv.Store.renderers["bokeh"].get_plot(chart).state
