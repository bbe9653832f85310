"""A chart with a slider -> its frames, and a film of them.

Imports HoloViews and Pillow, which matplotlib brings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import holoviews as hv
from PIL import Image

from actrace.analysis.charts.grammar.late import Late

__all__ = ["frames_of", "save_film"]

#: Milliseconds of a frame, and of the last.
_SHOWN: Final = 600
_LAST: Final = 2500
_COLOURS: Final = 128


def frames_of(chart: Any) -> list[tuple[str, Any]]:
    """Return the label and the chart of each frame; none of a chart without a slider.

    Parameters
    ----------
    chart : HoloViews object
        A HoloMap, or a layout with HoloMaps of the same keys among its cells; of others
        there is no frame in which all cells are.
    """
    if isinstance(chart, Late):
        # Frames alone, and looking at them would make them.
        return []
    cells = list(chart) if isinstance(chart, hv.Layout) else [chart]
    films = [cell for cell in cells if _is_film(cell)]
    keys = [film.keys() for film in films]
    if not films or any(held != keys[0] for held in keys):
        return []
    names = [dimension.name for dimension in films[0].kdims]
    frames = []
    for key in keys[0]:
        at = [cell[key] if _is_film(cell) else cell for cell in cells]
        one = at[0]
        if isinstance(chart, hv.Layout):
            # By its id the copy has the options of the whole.
            one = type(chart)(at, id=chart.id).cols(chart._max_cols)
        values = key if isinstance(key, tuple) else (key,)
        label = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
        frames.append((label, one))
    return frames


def save_film(
    frames: Sequence[tuple[str, Any]], path: Path, drawn: Callable[[Any], Any], dpi: int
) -> None:
    """Save frames as an animated GIF that begins anew after its last.

    Parameters
    ----------
    frames : sequence of (label, chart)
        From `frames_of`.
    path : Path
    drawn : callable
        Chart -> matplotlib figure.
    dpi : int
    """
    pictures = []
    for _, chart in frames:
        figure, held = drawn(chart), io.BytesIO()
        figure.savefig(held, format="png", dpi=dpi, facecolor=figure.get_facecolor())
        with Image.open(held) as picture:
            pictures.append(picture.convert("RGB"))
    # One palette for all, taken from the last frame: a colour that changed from frame to
    # frame would flicker.
    palette = pictures[-1].quantize(_COLOURS, dither=Image.Dither.NONE)
    small = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    times = [_SHOWN] * (len(small) - 1) + [_LAST]
    small[0].save(
        path, "GIF", save_all=True, append_images=small[1:], duration=times, loop=0, optimize=True
    )


def _is_film(cell: Any) -> bool:
    # A DynamicMap computes what is looked at and has no frames of its own.
    return isinstance(cell, hv.HoloMap) and not isinstance(cell, hv.DynamicMap)
