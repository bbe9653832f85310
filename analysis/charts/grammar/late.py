"""A layout whose frames become HoloViews elements only when somebody looks at them.

Sixty frames take HoloViews seconds to make and many more to draw. A chart that knows how
to draw itself is drawn at once, and is an ordinary Layout as soon as it is asked for a
cell, given options or composed: from then on HoloViews draws it, with all that was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import holoviews as hv
from holoviews.plotting.bokeh.plot import LayoutPlot as BokehLayoutPlot

from actrace.analysis.charts.grammar.frame import Frames, FramesPlot

__all__ = ["Late", "Maker"]


@dataclass(frozen=True, slots=True)
class Maker:
    """What a chart is made of, and how it is drawn without that.

    Attributes
    ----------
    cells : callable
        Returns the elements, in order.
    figure : callable
        Returns the same drawn by matplotlib.
    """

    cells: Callable[[], Sequence[Any]]
    figure: Callable[[], Any]


class Late(Frames):
    """Frames that are made when they are looked at.

    Parameters
    ----------
    items : Maker, or whatever a Layout is made of
    """

    def __init__(self, items: Any = None, *args: Any, **kwargs: Any) -> None:
        maker = items if isinstance(items, Maker) else None
        super().__init__(None if maker else items, *args, **kwargs)
        # Past the tree's own attributes, which are its branches.
        self.__dict__["_maker"] = maker

    @property
    def data(self) -> Any:
        """The cells by their paths."""
        self._make()
        return self.__dict__["data"]

    @data.setter
    def data(self, cells: Any) -> None:
        self.__dict__["data"] = cells

    @property
    def children(self) -> Any:
        """The names of the branches."""
        self._make()
        return self.__dict__["children"]

    def get(self, identifier: Any, default: Any = None) -> Any:
        """Return the node at a path, `default` where there is none."""
        self._make()
        return super().get(identifier, default)

    def figure(self) -> Any:
        """Return the chart drawn by matplotlib, None where HoloViews has to draw it."""
        maker = self.__dict__["_maker"]
        return maker.figure() if maker else None

    def __getstate__(self) -> Any:
        self._make()
        return super().__getstate__()

    def __repr__(self) -> str:
        # A notebook asks for words beside every picture, and looks at none of the cells.
        return ":Layout of frames" if self.__dict__["_maker"] else str(super().__repr__())

    def _make(self) -> None:
        maker = self.__dict__.get("_maker")
        if maker is not None:
            self.__dict__["_maker"] = None
            for path, cell in self._process_items(maker.cells()):
                self.set_path(path, cell)


hv.Store.register({Late: FramesPlot}, "matplotlib")
hv.Store.register({Late: BokehLayoutPlot}, "bokeh")
