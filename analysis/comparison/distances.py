"""How far runs are from a baseline, position by position. Imports NumPy and xarray."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.divergence import (
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    wasserstein,
)
from actrace.analysis.reduce import parallel

__all__ = ["DISTANCES", "between", "js_of_used"]

DISTANCES: Final = ("jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger")


def between(first: xr.DataArray, second: xr.DataArray, edges: NDArray[np.float64]) -> xr.Dataset:
    """Return the four distances of two runs.

    Parameters
    ----------
    first, second : DataArray, dims (layer, position, cell)
        Elements per bin, under- and overflow outermost.
    edges : ndarray, shape (n_bins + 1,)

    Returns
    -------
    Dataset, dims (layer, position)
        NaN where either has no elements.
    """

    def all_four(p: NDArray[Any], q: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
        # Layer by layer, what a kernel works on stays in the processor's cache.
        found = np.empty((len(DISTANCES), *p.shape[:-1]))
        for layer in range(len(p)):
            (first_of, second_of), axis = _cropped(edges, p[layer], q[layer])
            found[:, layer] = (
                jensen_shannon(first_of, second_of),
                wasserstein(first_of, second_of, axis),
                kolmogorov_smirnov(first_of, second_of),
                hellinger(first_of, second_of),
            )
        return tuple(found)

    found = parallel(all_four, first, second, core=[["cell"], ["cell"]], out=[[]] * len(DISTANCES))
    return xr.Dataset(dict(zip(DISTANCES, found, strict=True)))


def js_of_used(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return `jensen_shannon`, with the outer cells that are empty everywhere left out.

    They add nothing, and are most of an axis that was made for any layer.
    """
    (one, other), _ = _cropped(np.arange(first.shape[-1] - 1.0), first, second)
    return jensen_shannon(one, other)


def _cropped(
    edges: NDArray[np.float64], *histograms: NDArray[Any]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return histograms and edges without the outer cells that all of them have empty.

    A cell is left below and above, which then are under- and overflow, of nothing.
    """
    lead = tuple(range(histograms[0].ndim - 1))
    held = np.flatnonzero(np.any([h.any(axis=lead) for h in histograms], axis=0))
    n = histograms[0].shape[-1]
    low, high = (int(held[0]), int(held[-1])) if len(held) else (0, n - 1)
    # Edges lie between cells: at least one bin stays.
    low, high = max(0, min(low - 1, n - 3)), min(n - 1, max(high + 1, low + 1))
    parts = [h[..., low : high + 1].astype(np.float64) for h in histograms]
    return parts, edges[low:high]
