"""Charts -> bytes that fit: a drawing where that is small, else as sharp a picture as can be.

Imports matplotlib through the charts' own saving, and Pillow, which matplotlib brings.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from PIL import Image

from actrace.analysis.charts.grammar.theme import turn_dark
from actrace.analysis.charts.showing.save import drawing

__all__ = ["Picture", "take"]

#: Dots per inch, and whether in all colours, that are tried: the best first.
_QUALITIES: Final = ((150, True), (150, False), (110, False), (80, False), (55, False))
#: A picture of fewer colours and dots may be so many times smaller than dots alone make it.
_SHRINKS: Final = 4.0
#: CSS pixels that an inch of a chart is shown as.
_SHOWN: Final = 80
#: Colours of a picture's palette: those of the colorful dimension are 230, and a few lines.
_COLOURS: Final = 256


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn chart.

    Attributes
    ----------
    data : bytes
    kind : {"svg+xml", "png"}
    width, height : int
        As shown, CSS pixels.
    dark : bytes
        The same on dark paper, empty where there is none.
    """

    data: bytes
    kind: str
    width: int
    height: int
    dark: bytes = b""

    @property
    def url(self) -> str:
        """The picture as a ``data:`` URL."""
        return self._url(self.data)

    @property
    def dark_url(self) -> str:
        """The picture on dark paper as a ``data:`` URL, "" where there is none."""
        return self._url(self.dark) if self.dark else ""

    def _url(self, data: bytes) -> str:
        return f"data:image/{self.kind};base64,{base64.b64encode(data).decode('ascii')}"


def take(chart: Any, most: float, *, drawings: bool = True, paper: str = "light") -> Picture:
    """Return a chart as the sharpest picture of at most so many bytes.

    Parameters
    ----------
    chart : HoloViews object
    most : float
        Bytes, of both papers together. A picture of the coarsest kind may have more.
    drawings : bool, default True
        An SVG will do, where it is smaller than a sharp PNG.
    paper : {"light", "dark", "both"}, default "light"
    """
    most = most / 2 if paper == "both" else most
    with drawing(chart, theme="dark" if paper == "dark" else None) as figure:
        width, height = (round(float(inches) * _SHOWN) for inches in figure.get_size_inches())
        data, tried = b"", 0
        for dpi, coloured in _QUALITIES:
            # Bytes grow about as the dots do: what cannot fit is not drawn.
            hopeless = tried and len(data) * (dpi / tried) ** 2 > _SHRINKS * most
            if hopeless and (dpi, coloured) != _QUALITIES[-1]:
                continue
            data, tried = _png(figure, dpi, coloured), dpi
            if len(data) <= most:
                break
        kind, draw = "png", partial(_png, figure, dpi, coloured)
        if drawings:
            vector = _svg(figure)
            if len(vector) <= min(most, len(data)):
                kind, data, draw = "svg+xml", vector, partial(_svg, figure)
        dark = b""
        if paper == "both":
            turn_dark(figure)
            dark = draw()
    return Picture(data, kind, width, height, dark)


def _png(figure: Any, dpi: int, coloured: bool) -> bytes:
    raw, out = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    if coloured:
        return raw.getvalue()
    with Image.open(raw) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
            out, "PNG", optimize=True
        )
    return out.getvalue()


def _svg(figure: Any) -> bytes:
    out = io.BytesIO()
    # Without a date the same chart is the same file.
    figure.savefig(out, format="svg", facecolor=figure.get_facecolor(), metadata={"Date": None})
    return out.getvalue()
