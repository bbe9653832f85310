"""A histogram as two groups, a lower and an upper one, whether or not a valley parts them.

Imports NumPy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actrace.analysis.kernels.density import cumulative

__all__ = ["TwoNormals", "top_gap", "two_normals"]

_MOST_STEPS: Final = 300
#: The fit stands where a step adds less than this to the mean log-likelihood.
_SETTLED: Final = 1e-8
#: A component is at least this share of the whole spread wide, or it would fall upon a
#: single bin.
_NARROWEST: Final = 0.02


@dataclass(frozen=True, slots=True)
class TwoNormals:
    """Two normal components, the lower one first.

    Attributes
    ----------
    mean, std : tuple of two float, activation units
    share : float
        Share of the upper component.
    """

    mean: tuple[float, float]
    std: tuple[float, float]
    share: float

    @property
    def ashmans_d(self) -> float:
        """Distance of the components; above 2 they are cleanly apart."""
        spread = math.hypot(*self.std)
        return math.sqrt(2) * (self.mean[1] - self.mean[0]) / spread if spread > 0 else math.nan


def top_gap(count: ArrayLike, edges: ArrayLike, share: float) -> float:
    """Return the mean of the highest elements less the mean of the rest.

    What *understanding* is where the YES are the highest outputs; it says nothing of
    whether they are the right ones. The bin that the cut falls into is split, its mass
    even over it.

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)
    share : float
        Share of the elements that are taken for the highest, between 0 and 1.

    Returns
    -------
    float, activation units; NaN where nothing was counted

    Examples
    --------
    >>> top_gap([0, 9, 0, 1], [0, 1, 2, 3, 4], share=0.1)
    2.0
    """
    values, limits = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    below = cumulative(values)
    total = below[-1]
    if not (total > 0 and 0 < share < 1):
        return math.nan
    under = np.diff(np.minimum(below, (1 - share) * total))
    part = np.divide(under, values, out=np.zeros_like(values), where=values > 0)
    cut = limits[:-1] + part * np.diff(limits)
    lower = under @ ((limits[:-1] + cut) / 2)
    upper = (values - under) @ ((cut + limits[1:]) / 2)
    return float(upper / (share * total) - lower / ((1 - share) * total))


def two_normals(count: ArrayLike, edges: ArrayLike) -> TwoNormals | None:
    """Return the two normals that fit binned counts best, found by EM.

    The bins' mass counts at their middles, with the variance of an even spread over them.
    The start is the split that leaves the least variance within its sides (Otsu).

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)

    Returns
    -------
    TwoNormals, or None where fewer than two bins hold anything

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM
    algorithm, JRSS B 39:1; Otsu (1979), A threshold selection method from gray-level
    histograms, IEEE Trans. SMC 9:62.

    Examples
    --------
    >>> found = two_normals([1, 8, 1, 0, 0, 0, 1, 8, 1], np.arange(10.0))
    >>> round(found.mean[0], 1), round(found.mean[1], 1), round(found.share, 2)
    (1.5, 7.5, 0.5)
    """
    values, limits = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    held = np.flatnonzero(values)
    if len(held) < 2:
        return None
    n = values[held] / values.sum()
    x, within = (limits[held] + limits[held + 1]) / 2, np.diff(limits)[held] ** 2 / 12
    whole = n @ ((x - n @ x) ** 2 + within)
    upper = (np.arange(len(held)) > _least_variance(n, x)).astype(np.float64)
    before = -math.inf
    for _ in range(_MOST_STEPS):
        share = np.array([n @ (1 - upper), n @ upper])
        if share.min() <= 0:
            break
        weight = np.stack([n * (1 - upper), n * upper]) / share[:, None]
        mean = weight @ x
        variance = (weight * ((x - mean[:, None]) ** 2 + within)).sum(axis=-1)
        variance = np.maximum(variance, whole * _NARROWEST**2)
        log = np.log(share / np.sqrt(2 * np.pi * variance))[:, None] - (x - mean[:, None]) ** 2 / (
            2 * variance[:, None]
        )
        both = np.logaddexp(*log)
        upper = np.exp(log[1] - both)
        now = float(n @ both)
        if now - before < _SETTLED:
            break
        before = now
    first, second = np.argsort(mean, kind="stable")
    std = np.sqrt(variance)
    return TwoNormals(
        (float(mean[first]), float(mean[second])),
        (float(std[first]), float(std[second])),
        float(share[second]),
    )


def _least_variance(n: NDArray[np.float64], x: NDArray[np.float64]) -> int:
    """Return after which element a split leaves the least variance within its sides."""
    left = np.cumsum(n)[:-1]
    sums = np.cumsum(n * x)
    between = (sums[-1] * left - sums[:-1]) ** 2 / np.maximum(left * (1 - left), 1e-300)
    return int(np.argmax(between))
