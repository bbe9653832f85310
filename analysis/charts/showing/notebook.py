"""A chart in a notebook, or in any page: drawn without a network and without an extension.

The page that `page` makes, scripts and all, stands compressed in a frame of its own. So it
draws wherever a browser shows the output, today or in a kept notebook, whatever other versions of
bokeh are there; and what the frame holds can reach nothing around it. Imports bokeh and `page`.
"""

from __future__ import annotations

import base64
import gzip
import html
import re
from typing import Any, Final

from bokeh.models import Column, Div, GridPlot, Plot, Row, Title

from actrace.analysis.charts.showing.film import frames_of
from actrace.analysis.charts.showing.page import document_of, text_of

__all__ = ["as_html"]

#: Pixels of what bokeh lays around frames: the line of words above a layout, the tools beside it,
#: a slider or a button.
_HEADING: Final = 38
_TOOLS: Final = 30
_WIDGET: Final = 56
#: Room for what HoloViews makes larger than it was told, pixels.
_SPARE: Final = 6
#: A chart is made smaller where a cell is narrower, down to this; then it scrolls.
_SMALLEST: Final = 0.6

#: What stands where the frame was taken away, as from a notebook that is not trusted.
_TAKEN: Final = "A chart stands here in a notebook that is trusted (File, Trust Notebook)."

_OUTPUT: Final = """\
<div style="position:relative;max-width:{width}px;overflow:auto">\
<div style="position:relative;width:100%;min-width:{least}px;aspect-ratio:{width}/{height};\
container-type:inline-size;overflow:hidden"><small>{taken}</small>\
<iframe title="{title}" sandbox="allow-scripts allow-downloads" style="position:absolute;left:0;\
top:0;width:{width}px;height:{height}px;border:0;background:white;color-scheme:light;\
transform-origin:0 0;transform:scale(tan(atan2(100cqw,{width}px)))" srcdoc="{page}"></iframe>\
</div></div>"""

#: In the frame until the page itself is there. No address is asked: a page's policy may forbid it.
_UNPACKING: Final = """\
<p>A chart is drawn here by scripts.</p><script>
const bytes = Uint8Array.from(atob("{packed}"), letter => letter.charCodeAt(0));
const whole = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
new Response(whole).text().then(page => {{
  document.open(); document.write(page); document.close();
}});
</script>"""


def as_html(chart: Any) -> str:
    """Return a chart as HTML to put into a page, with all that it needs.

    Parameters
    ----------
    chart : HoloViews object
    """
    # What is light or dark around the frame is not known in it.
    document = document_of(chart, frames_of(chart), "light")
    (model,) = document.roots
    width, height = _size(model)
    packed = gzip.compress(text_of(document, "light").encode("utf-8"), compresslevel=6, mtime=0)
    page = _UNPACKING.format(packed=base64.b64encode(packed).decode("ascii"))
    return _OUTPUT.format(
        width=width,
        height=height,
        least=round(_SMALLEST * width),
        taken=_TAKEN,
        title=html.escape(_title(model)),
        page=html.escape(page),
    )


def _size(model: Any) -> tuple[int, int]:
    """Return the pixels that a drawn chart takes, across and down."""
    if isinstance(model, Plot):
        return (
            model.frame_width + model.min_border_left + model.min_border_right + _SPARE,
            model.frame_height + model.min_border_top + model.min_border_bottom + _SPARE,
        )
    if isinstance(model, GridPlot):
        rows: dict[int, int] = {}
        columns: dict[int, int] = {}
        for child, row, column, *_ in model.children:
            width, height = _size(child)
            rows[row] = max(rows.get(row, 0), height)
            columns[column] = max(columns.get(column, 0), width)
        return sum(columns.values()) + _TOOLS, sum(rows.values())
    if isinstance(model, Column | Row):
        across, down = zip(
            *(_size(child) for child in model.children if child.visible), strict=True
        )
        return (max(across), sum(down)) if isinstance(model, Column) else (sum(across), max(down))
    return (0, _HEADING) if isinstance(model, Div) else (model.width or 0, _WIDGET)


def _title(model: Any) -> str:
    """Return what a chart is called, for whoever does not see it."""
    heading = next(iter(model.select({"type": Div})), None)
    if heading is not None:
        return html.unescape(re.sub(r"<[^>]*>", "", heading.text)).strip()
    titles = [title.text for title in model.select({"type": Title}) if title.text]
    return " ".join(str(titles[0]).split()) if titles else "actrace chart"
