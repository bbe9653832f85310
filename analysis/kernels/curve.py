"""A smooth density curve from binned counts, as smooth as the data allow.

The mass of each bin is spread evenly over the bin (as `density.rebin` does) and
then blurred by a Gaussian that is never narrower than that bin. Peaks are searched
in this curve and the charts draw this curve, so the two cannot disagree. Imports
NumPy and SciPy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from actrace.analysis.kernels.density import cumulative, occupied_range

__all__ = [
    "Curve",
    "binned_quantile",
    "blurred_below",
    "reference_bandwidth",
    "reference_bandwidths",
    "smooth_density",
]

#: Share of the elements that the grid may leave out at each end, so that one
#: stray element does not cost the rest its resolution.
_TRIM: Final = 1e-4
#: Standard deviation of the blur in bin widths: its full width at half its height,
#: 2.355 standard deviations, is then more than the bin's own width.
_BINS: Final = 0.5
#: The grid reaches this many standard deviations of the blur past the data.
_REACH: Final = 4.0
_FEWEST_CELLS: Final = 64
_MOST_CELLS: Final = 2048
#: A bin with more than this share of all elements is taken for a point mass (the
#: zeros of a ReLU) and does not set the scale of the rest.
_POINT_MASS: Final = 0.2

#: Standard deviations from which on nothing is left of a normal distribution.
_FAR: Final = 9.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A density on equally wide cells.

    Attributes
    ----------
    grid : ndarray, shape (n_cells + 1,), float64, activation units
        Edges of the cells.
    value : ndarray, shape (n_cells,), float64, per activation unit
        Mean density in each cell.
    bandwidth : float, activation units
        Standard deviation of the blur where bins are fine.
    """

    grid: NDArray[np.float64]
    value: NDArray[np.float64]
    bandwidth: float

    @property
    def centers(self) -> NDArray[np.float64]:
        """Middle of each cell, shape (n_cells,), float64, activation units."""
        return (self.grid[1:] + self.grid[:-1]) / 2


def binned_quantile(count: ArrayLike, edges: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """Return quantiles of binned counts, by linear interpolation in a bin.

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)
    q : array, between 0 and 1

    Returns
    -------
    ndarray, shape of `q`, float64, activation units; NaN where nothing was counted

    Examples
    --------
    >>> binned_quantile([1, 2, 1], [0, 1, 2, 3], [0.25, 0.5]).tolist()
    [1.0, 1.5]
    """
    below = cumulative(count)
    limits = np.asarray(edges, dtype=np.float64)
    wanted = np.asarray(q, dtype=np.float64)
    if not below[-1] > 0:
        return np.full(wanted.shape, np.nan)
    return np.asarray(np.interp(wanted * below[-1], below, limits), dtype=np.float64)


def reference_bandwidth(count: ArrayLike, edges: ArrayLike) -> float:
    """Return the bandwidth that the spread and number of the elements warrant.

    Silverman's rule ``0.9 * min(std, IQR / 1.34) * n ** (-1/5)``. Bins that hold
    point masses are left out, as long as enough remains to take a scale from.

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)

    Returns
    -------
    float, activation units; 0 where nothing was counted

    References
    ----------
    Silverman (1986), Density Estimation, section 3.4.2, eq. 3.31.
    """
    return float(reference_bandwidths(count, edges))


def reference_bandwidths(count: ArrayLike, edges: ArrayLike) -> NDArray[np.float64]:
    """Return `reference_bandwidth` of many histograms at once.

    Parameters
    ----------
    count : array, shape (..., n_bins)
    edges : array, shape (n_bins + 1,)

    Returns
    -------
    ndarray, shape (...), float64, activation units; 0 where nothing was counted
    """
    values, limits = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    n = values.sum(axis=-1, keepdims=True)
    rest = np.where(values > _POINT_MASS * n, 0.0, values)
    held = rest.sum(axis=-1, keepdims=True)
    values = np.where(held >= np.maximum(30.0, 0.01 * n), rest, values)
    n = values.sum(axis=-1)
    some = n > 0
    share = values / np.where(some, n, 1.0)[..., None]
    middle, width = (limits[1:] + limits[:-1]) / 2, np.diff(limits)
    mean = (share * middle).sum(axis=-1)
    variance = (share * ((middle - mean[..., None]) ** 2 + width**2 / 12)).sum(axis=-1)
    spread = _quantile(share, limits, 0.75) - _quantile(share, limits, 0.25)
    found = 0.9 * np.minimum(np.sqrt(variance), spread / 1.34) * np.where(some, n, 1.0) ** -0.2
    return np.asarray(np.where(some, found, 0.0))


def _quantile(
    share: NDArray[np.float64], limits: NDArray[np.float64], q: float
) -> NDArray[np.float64]:
    """Return a quantile of each histogram's shares, by linear interpolation in a bin."""
    upto = np.cumsum(share, axis=-1)
    at = np.minimum((upto < q).sum(axis=-1), share.shape[-1] - 1)[..., None]
    inside = np.take_along_axis(share, at, axis=-1)
    before = np.take_along_axis(upto, at, axis=-1) - inside
    part = np.divide(q - before, inside, out=np.zeros_like(inside), where=inside > 0)
    return np.asarray((limits[at] + part * (limits[at + 1] - limits[at]))[..., 0])


def smooth_density(
    count: ArrayLike,
    edges: ArrayLike,
    *,
    bandwidth: float | None = None,
    grid: ArrayLike | None = None,
    total: float | None = None,
) -> Curve:
    """Return the smooth density of binned counts on an equal-width grid.

    Parameters
    ----------
    count : array, shape (n_bins,)
        Elements per bin.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    bandwidth : float, optional
        Standard deviation of the blur, activation units; `reference_bandwidth` when
        left out. In each bin it is raised, in quadrature, by half the bin's width.
    grid : array, shape (n_cells + 1,), optional
        Edges of the cells to answer on; by default the occupied range and a little
        more, in cells no wider than half the narrowest blur.
    total : float, optional
        What 1 is; the sum of `count` when left out. Give the elements of YES and NO
        together to draw each at the height of its share.

    Returns
    -------
    Curve
        Integrates to 1 up to what lies outside the grid; an empty count gives a
        curve of zeros over the whole axis.

    Examples
    --------
    >>> curve = smooth_density([0, 5, 5, 0], edges=[-2, -1, 0, 1, 2])
    >>> float(round((curve.value * np.diff(curve.grid)).sum(), 3))
    1.0
    """
    values, limits = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    n = values.sum()
    h0 = reference_bandwidth(values, limits) if bandwidth is None else float(bandwidth)
    held = np.flatnonzero(values)
    width = np.diff(limits)[held]
    blur = np.hypot(h0, _BINS * width)
    cells = (
        _default_grid(values, limits, held, blur) if grid is None else np.asarray(grid, np.float64)
    )
    if len(held) == 0:
        return Curve(cells, np.zeros(len(cells) - 1), h0)
    whole = n if total is None else float(total)
    below = blurred_below(cells, limits[held], limits[held + 1], h0)
    mass = np.maximum(np.diff(below @ values[held]), 0.0)
    return Curve(cells, mass / (np.diff(cells) * whole), h0)


def blurred_below(
    grid: ArrayLike, left: ArrayLike, right: ArrayLike, bandwidth: float
) -> NDArray[np.float64]:
    """Return the share of each bin's blurred mass below each point of a grid.

    The mean of the normal distribution function over the bin, which has a closed form.

    Parameters
    ----------
    grid : array, shape (n_points,)
    left, right : array, shape (n_bins,)
        Edges of the bins, activation units.
    bandwidth : float, activation units

    Returns
    -------
    ndarray, shape (n_points, n_bins), float64

    Examples
    --------
    >>> blurred_below([-9.0, 0.0, 9.0], [-1.0], [1.0], 0.5).round(3).T
    array([[0. , 0.5, 1. ]])
    """
    low, high = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    points = np.asarray(grid, dtype=np.float64)[:, None]
    blur = np.hypot(bandwidth, _BINS * (high - low))
    upper = _integral_of_ndtr((points - low) / blur)
    lower = _integral_of_ndtr((points - high) / blur)
    return np.asarray((upper - lower) * (blur / (high - low)))


def _integral_of_ndtr(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the integral of the standard normal distribution function up to z."""
    # Further out it is z, or 0, to within 1e-19; of a wide grid that is nearly all.
    found = np.maximum(z, 0.0)
    near = np.flatnonzero(np.abs(z) < _FAR)
    some = z.ravel()[near]
    found.ravel()[near] = some * ndtr(some) + np.exp(-0.5 * some * some) / math.sqrt(2 * math.pi)
    return found


def _default_grid(
    values: NDArray[np.float64],
    limits: NDArray[np.float64],
    held: NDArray[np.int64],
    blur: NDArray[np.float64],
) -> NDArray[np.float64]:
    if len(held) == 0:
        return np.linspace(limits[0], limits[-1], _FEWEST_CELLS + 1)
    low, high = occupied_range(values, limits, trim=_TRIM)
    inside = (limits[held] >= low) & (limits[held] < high)
    low -= _REACH * blur[inside][0]
    high += _REACH * blur[inside][-1]
    cells = math.ceil((high - low) / (blur[inside].min() / 2))
    return np.linspace(low, high, min(max(cells, _FEWEST_CELLS), _MOST_CELLS) + 1)
