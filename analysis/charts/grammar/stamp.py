"""Words on a matplotlib figure that are drawn once and put wherever they stand.

Most words of sixty frames are the numbers of their ticks, the same few over and over; to
lay out and draw every one of them takes longer than all that the frames show. Imports
matplotlib.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

__all__ = ["Stamp", "Stamps"]

#: What was drawn -> its pixels from the bottom, and where they begin beside the words' place.
Stamps = dict[Any, tuple[NDArray[np.uint8], int, int]]


class Stamp(Text):
    """A text that takes its pixels from those of equal ones.

    Only where pixels are drawn: in an SVG it is a text like any other.

    Parameters
    ----------
    stamps : dict
        Shared by the texts of the figure.
    figure : Figure
    *args, **kwargs
        As for matplotlib's Text.
    """

    def __init__(self, stamps: Stamps, figure: Figure, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stamps, self._of = stamps, figure

    def draw(self, renderer: Any) -> None:
        """Draw the words."""
        if not (isinstance(renderer, RendererAgg) and self.get_visible() and self.get_text()):
            super().draw(renderer)
            return
        x, y = self.get_transform().transform(self.get_position())
        looks = (
            self.get_text(),
            self.get_fontsize(),
            self.get_color(),
            self.get_horizontalalignment(),
            self.get_verticalalignment(),
            self.get_parse_math(),
        )
        key = (*looks, renderer.dpi)
        if key not in self._stamps:
            self._stamps[key] = self._pixels(renderer, x, y)
        pixels, left, bottom = self._stamps[key]
        renderer.draw_image(renderer.new_gc(), round(x) + left, round(y) + bottom, pixels)
        self.stale = False

    def _pixels(self, renderer: Any, x: float, y: float) -> tuple[NDArray[np.uint8], int, int]:
        """Return the pixels of the words, and where they begin beside (x, y)."""
        box = self.get_window_extent(renderer)
        # A pixel more on each side, for edges that are not sharp.
        left, bottom = math.floor(box.x0 - x) - 1, math.floor(box.y0 - y) - 1
        renderer_of: Any = RendererAgg  # which has no types
        small = renderer_of(math.ceil(box.width) + 3, math.ceil(box.height) + 3, renderer.dpi)
        alone = Text(
            -left,
            -bottom,
            self.get_text(),
            fontsize=self.get_fontsize(),
            color=self.get_color(),
            horizontalalignment=self.get_horizontalalignment(),
            verticalalignment=self.get_verticalalignment(),
            parse_math=self.get_parse_math(),
            transform=IdentityTransform(),
        )
        alone.set_figure(self._of)
        alone.draw(small)
        return np.array(small.buffer_rgba())[::-1], left, bottom
