"""What a layer's picture shows of the part that is in view, as plain Datasets.

A lens looks at one layer: told what is in view, it reads that and a margin around it
at the level that suits, and nothing else. Imports NumPy and xarray; draws nothing, and
may be looked through in any thread.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.colorful.cells import Grid, choose_grid, from_position, move
from actrace.analysis.charts.colorful.data import COUNTERS, picture_data
from actrace.analysis.charts.grammar.columns import (
    Columns,
    sum_counters,
    sum_counts,
    sum_moments,
)
from actrace.analysis.sampled import of_those_read
from actrace.analysis.select import bin_edges
from actrace.store.run import Run

__all__ = ["MARGIN", "Lens"]

#: What is read on either side of the view, as a share of it, so that a short pan shows
#: no gap while the next picture is on its way.
MARGIN: Final = 0.25
#: A view that holds so much of the value axis is given all of it.
_NEARLY: Final = 0.8
_MOMENTS: Final = ("mean", "std", "min", "max")


class Lens:
    """One layer of a phase, at whatever sharpness the view asks for.

    Parameters
    ----------
    run : Run
    overview : Dataset
        From `colorful_data`: the picture that is zoomed into. What is shown never leaves
        its value axis, and its colours count in its cells.
    max_columns, max_rows : int
        Most columns and rows of what is in view, without the margin.

    Attributes
    ----------
    overview : Dataset
    n_batches : int
        Of the phase.
    """

    def __init__(
        self, run: Run, overview: xr.Dataset, *, max_columns: int = 1000, max_rows: int = 240
    ) -> None:
        self.overview = overview
        self._run = run
        self._max_columns = max_columns
        self._max_rows = max_rows
        self._phase = str(overview.attrs["phase"])
        self._edges = bin_edges(run)
        self.n_batches = run.n_batches(self._phase)
        self._starts: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def look(self, across: tuple[float, float], up: tuple[float, float]) -> xr.Dataset:
        """Return what is in view and a margin around it, as `colorful_data` does.

        Parameters
        ----------
        across : (first, stop)
            Batches in view.
        up : (low, high)
            Ends of the view along the drawn value axis.

        Returns
        -------
        Dataset, dims (value, column, edge, epoch)
            Columns are single batches where no more than `max_columns` are in view, and
            powers of two of them elsewhere; the first begins at a multiple of its width,
            so that a pan moves the picture and does not change it.
        """
        columns = self._columns(across)
        found = self._run.window(
            self._phase,
            columns.first,
            columns.stop,
            width=max(1, (columns.stop - columns.first) // columns.width),
            layers=str(self.overview.attrs["layer"]),
            blocks=False,
        )
        factor = int(found.attrs["factor"])
        names = [n for n in ("count", *COUNTERS, *_MOMENTS, "sampled") if n in found]
        part = of_those_read(found[names].load(), self._run.attrs)
        groups = Columns(0, part.sizes["batch"], max(1, columns.width // factor))
        first = int(found["first_batch"][0]) if len(groups) else columns.first
        columns = Columns(first, first + factor * groups.stop, factor * groups.width)
        counters = sum_counters(part, COUNTERS, groups)
        moments = sum_moments(part, counters, groups)
        mine = {name: values[0] for name, values in counters.items()}
        (count,) = sum_counts(part["count"], groups)
        about = dict(self.overview.attrs) | {"batches_per_column": columns.width}
        edge = self.overview["position_edge"].values
        return picture_data(
            move(
                count,
                self._edges,
                self._grid(count, mine, up),
                mine,
                units=f"{about['quantity']} units",
            ),
            {name: values[0] for name, values in moments.items()},
            columns,
            self._epochs(columns),
            about,
            note=str(self.overview.attrs["note"]),
            cell=float(edge[1] - edge[0]),
        )

    def _columns(self, across: tuple[float, float]) -> Columns:
        """Return the columns of a view and its margin, within the phase."""
        n = self.n_batches
        first = min(max(math.floor(min(across)), 0), max(n - 1, 0))
        stop = min(max(math.ceil(max(across)), first + 1), n)
        width = 1
        while stop - first > width * self._max_columns:
            width *= 2
        margin = math.ceil(MARGIN * (stop - first))
        return Columns(
            max(0, first - margin) // width * width,
            min(n, -(-(stop + margin) // width) * width),
            width,
        )

    def _grid(
        self,
        count: NDArray[np.uint64],
        counters: dict[str, NDArray[np.uint64]],
        up: tuple[float, float],
    ) -> Grid:
        """Return the cells of a view and its margin, within the overview's axis."""
        whole = self.overview["position_edge"].values
        low, high = float(whole[0]), float(whole[-1])
        tall = max(up) - min(up)
        if not tall < _NEARLY * (high - low):
            return Grid(self.overview["value_edge"].values, whole)
        margin = MARGIN * tall
        scale, width = self.overview.attrs["scale"], self.overview.attrs["linear_width"]
        ends = max(low, min(up) - margin), min(high, max(up) + margin)
        if not ends[0] < ends[1]:
            return Grid(self.overview["value_edge"].values, whole)
        return choose_grid(
            count,
            self._edges,
            counters,
            scale=scale,
            width=width,
            value_range=tuple(float(from_position(end, scale, width)) for end in ends),  # type: ignore[arg-type]
            max_rows=round(self._max_rows * (1 + 2 * MARGIN)),
            whole_bins=True,
        )

    def _epochs(self, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the epochs of columns and the first shown batch of each."""
        if self._starts is None:
            # A million numbers: read once, and their beginnings kept alone.
            epoch = self._run.stored(self._phase, 1)["epoch"].to_numpy().astype(np.int64)
            at = np.flatnonzero(np.diff(epoch, prepend=epoch[:1] - 1))
            self._starts = epoch[at], at
        epochs, starts = self._starts
        first = max(int(np.searchsorted(starts, columns.first, side="right")) - 1, 0)
        last = int(np.searchsorted(starts, columns.stop, side="left"))
        return epochs[first:last], np.maximum(starts[first:last], columns.first)
