"""Where in a training a batch stands: by step, epoch, samples or fraction of the run.

Runs are compared position by position. A position is a stretch of one scale, the
same stretch in every run, and each batch lies in exactly one. Imports NumPy and
xarray; reads ``step``, ``epoch`` and ``samples`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.errors import ComparisonError

__all__ = ["SCALES", "Positions", "places", "shared_positions"]

#: Scale -> units of its coordinate.
SCALES: Final = {"step": "1", "epoch": "1", "samples": "1", "fraction": "1"}


@dataclass(frozen=True, slots=True)
class Positions:
    """The stretches of a scale that all runs are cut into.

    Attributes
    ----------
    by : {"step", "epoch", "samples", "fraction"}
    edges : ndarray, shape (n_positions + 1,), float64, increasing
        A position holds ``edges[i] <= place < edges[i + 1]``.
    """

    by: str
    edges: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.edges) - 1

    def of(self, place: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the position that each batch lies in.

        Parameters
        ----------
        place : ndarray, shape (n_batches,), float64
            As `places` returns it, within the edges.
        """
        return np.searchsorted(self.edges, place, side="right").astype(np.int64) - 1

    def words(self, at: int) -> str:
        """Return where a position begins, in words.

        Examples
        --------
        >>> Positions("step", np.array([0.0, 1024, 2048])).words(1)
        'step 1,024'
        >>> Positions("fraction", np.array([0.0, 0.25, 1.0])).words(1)
        '25 % of the run'
        """
        start = float(self.edges[at])
        if self.by == "fraction":
            return f"{100 * start:.3g} % of the run"
        return f"{start:,.0f} samples" if self.by == "samples" else f"{self.by} {start:,.0f}"


def places(run: xr.DataTree, phase: str, by: str) -> NDArray[np.float64]:
    """Return where each batch of a phase stands on a scale, never decreasing.

    Parameters
    ----------
    run : DataTree
    phase : str
    by : {"step", "epoch", "samples", "fraction"}
        Training steps, or samples of the phase, before the batch; its epoch; its
        index as a share of the run's batches.

    Returns
    -------
    ndarray, shape (n_batches,), float64
    """
    node = run.children[phase].dataset
    n = node.sizes.get("batch", 0)
    if by == "fraction":
        return np.arange(n) / max(n, 1)
    if by == "samples":
        samples = node["samples"].to_numpy().astype(np.float64)
        return np.concatenate([[0.0], np.cumsum(samples)[:-1]]) if n else samples
    values = node[by].to_numpy().astype(np.float64)
    return np.maximum.accumulate(values) if n else values


def shared_positions(all_places: Sequence[NDArray[np.float64]], by: str, width: int) -> Positions:
    """Return at most `width` positions that hold every batch of every run.

    All are as long as each other: a power of two of steps, epochs or samples, so that
    columns of a run's levels fit into them, or a share of the run.

    Parameters
    ----------
    all_places : sequence of ndarray
        Of each run, as `places` returns them.
    by : {"step", "epoch", "samples", "fraction"}
    width : int
        The most positions; fractions are exactly so many, unless the shortest run
        has fewer batches.

    Raises
    ------
    ComparisonError
        Another scale, or a width below 1.

    Examples
    --------
    >>> shared_positions([np.arange(10.0), np.arange(7.0)], "step", 4).edges
    array([ 0.,  4.,  8., 12.])
    """
    if by not in SCALES:
        raise ComparisonError(f"by must be one of {', '.join(map(repr, SCALES))}, got {by!r}")
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
        raise ComparisonError(f"width must be a number of positions from 1, got {width!r}")
    if by == "fraction":
        n = min(width, *(len(place) for place in all_places))
        return Positions(by, np.linspace(0.0, 1.0, n + 1))
    end = max(float(place[-1]) for place in all_places) + 1
    length = 2 ** max(0, int(np.ceil(np.log2(end / width))))
    return Positions(by, np.arange(0, np.ceil(end / length) + 1) * length)
