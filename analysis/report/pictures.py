"""Charts -> bytes that fit: a drawing where that is small, else as sharp a picture as can be.

Imports matplotlib through the charts' own saving, and Pillow, which matplotlib brings.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from actrace.analysis.charts.save import drawing

__all__ = ["Picture", "take"]

#: Dots per inch, and whether in all colours, that are tried: the best first.
_QUALITIES: Final = ((150, True), (150, False), (110, False), (80, False), (55, False))
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
    """

    data: bytes
    kind: str
    width: int
    height: int

    @property
    def url(self) -> str:
        """The picture as a ``data:`` URL."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode('ascii')}"


def take(chart: Any, most: float, *, drawings: bool = True) -> Picture:
    """Return a chart as the sharpest picture of at most so many bytes.

    Parameters
    ----------
    chart : HoloViews object
    most : float
        Bytes. A picture of the coarsest kind may have more.
    drawings : bool, default True
        An SVG will do, where it is smaller than a sharp PNG.
    """
    with drawing(chart) as figure:
        width, height = (round(float(inches) * _SHOWN) for inches in figure.get_size_inches())
        data = b""
        for dpi, coloured in _QUALITIES:
            data = _png(figure, dpi, coloured)
            if len(data) <= most:
                break
        if drawings:
            vector = _svg(figure)
            if len(vector) <= min(most, len(data)):
                return Picture(vector, "svg+xml", width, height)
    return Picture(data, "png", width, height)


def _png(figure: Any, dpi: int, coloured: bool) -> bytes:
    raw, out = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, facecolor="white")
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
    figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    return out.getvalue()
