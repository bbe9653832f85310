"""How much two smooth densities have in common, of many histograms at once.

Bounded on both sides by what the elements of the bins might have said. Imports NumPy and
SciPy alone. Histograms come with under- and overflow as their outermost bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from actrace.analysis.kernels.curve import blurred_below, reference_bandwidths
from actrace.analysis.kernels.separation import shares

__all__ = ["overlap", "rung"]

_RUNGS = 4


def overlap(
    yes: ArrayLike, no: ArrayLike, edges: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the overlapping coefficient of the two densities, and how far it may be off.

    The mass common to two Gaussian kernel densities of mass 1: between 0 and 1. Counts
    of fine bins would make two small samples of one distribution hardly overlap at all.
    The bandwidth of each is Silverman's (`curve.reference_bandwidth`) on a ladder of
    four rungs an octave, so that the histograms of many classes share their blurs; in
    each bin it is raised, in quadrature, by half the bin's width.

    Parameters
    ----------
    yes, no : array, shape (..., n_bins + 2)
        Elements per bin, underflow first and overflow last.
    edges : array, shape (n_bins + 1,)
        Bin edges, activation units.

    Returns
    -------
    overlap, error : ndarray, shape (...), float64
        Wherever in their bins the elements lie, the overlap of their own kernel
        densities, at the same bandwidths, is within the error. NaN where either has no
        elements.

    References
    ----------
    Inman and Bradley (1989), The overlapping coefficient as a measure of agreement
    between probability distributions, Comm. Statist. Theory Methods 18:3851; with
    kernel densities: Schmid and Schmidt (2006), CSDA 50:1583.

    Examples
    --------
    >>> value, error = overlap([0, 0, 8, 0, 0, 0], [0, 0, 8, 0, 0, 0], [0, 1, 2, 3, 4])
    >>> float(value)
    1.0
    """
    limits = np.asarray(edges, dtype=np.float64)
    first, second = _masses(yes, limits), _masses(no, limits)

    def common(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        # Rounding may leave a sum of shares a little above 1.
        return np.asarray(np.minimum(np.minimum(p, q).sum(axis=-1), 1.0))

    value = common(first.blurred, second.blurred)
    least, most = common(first.least, second.least), common(first.most, second.most)
    return value, np.maximum(value - least, most - value)


def rung(bandwidth: ArrayLike) -> NDArray[np.float64]:
    """Return the bandwidth's nearest rung, four to an octave; 0 stays 0.

    Examples
    --------
    >>> rung([0.0, 1.0, 1.03, 1.15]).round(4).tolist()
    [0.0, 1.0, 1.0, 1.1892]
    """
    values = np.asarray(bandwidth, dtype=np.float64)
    octaves = np.log2(values, out=np.zeros_like(values), where=values > 0)
    return np.where(values > 0, np.exp2(np.round(_RUNGS * octaves) / _RUNGS), 0.0)


@dataclass(frozen=True, slots=True)
class _Masses:
    """The smooth mass in each half of a bin, shape (..., 2 * n_bins + 2).

    The first and the last cell are what lies outside the axis. `least` and `most` are
    what the kernel density of the elements has there at least and at most, wherever
    they lie in their bins.
    """

    blurred: NDArray[np.float64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]


def _masses(counts: ArrayLike, limits: NDArray[np.float64]) -> _Masses:
    part = shares(counts)
    inside = np.nan_to_num(part[..., 1:-1])
    bandwidth = rung(reference_bandwidths(np.asarray(counts, np.float64)[..., 1:-1], limits))
    found = [np.zeros((*part.shape[:-1], 2 * len(limits))) for _ in range(3)]
    for h in np.unique(bandwidth[bandwidth > 0]):
        mine = bandwidth == h
        rows = inside[mine]
        held = np.flatnonzero(rows.any(axis=0))
        for masses, kernel in zip(found, _kernels(limits, held, float(h)), strict=True):
            # A sparse product adds up bin by bin, whatever rows it is given: to the last bit.
            masses[mine] = scipy.sparse.csr_array(rows[:, held]) @ kernel
    blurred, least, most = found
    for masses in (blurred, most):
        # Nobody knows where beyond the axis these lie, so `least` has none of them.
        masses[..., 0] += part[..., 0]
        masses[..., -1] += part[..., -1]
    least[np.isnan(part[..., 0])] = np.nan
    return _Masses(blurred, least, most)


def _kernels(
    limits: NDArray[np.float64], held: NDArray[np.int64], bandwidth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where the mass of some bins goes, each of shape (n_held, 2 * n_bins + 2).

    Blurred, and at least and at most where all of a bin's elements lie at the worst place.
    """
    grid = np.insert(limits, np.arange(1, len(limits)), (limits[1:] + limits[:-1]) / 2)
    left, right = limits[held][:, None], limits[held + 1][:, None]
    below = blurred_below(grid, left[:, 0], right[:, 0], bandwidth).T
    blurred = np.diff(below, axis=-1, prepend=0.0, append=1.0)
    # A normal has most in a cell if its middle is as near as it can be; the least that
    # two densities have in common there is no less than the cell times their lowest.
    start, stop = grid[:-1], grid[1:]
    near = np.clip((start + stop) / 2, left, right)
    inner = ndtr((stop - near) / bandwidth) - ndtr((start - near) / bandwidth)
    outer = ndtr((grid[0] - left) / bandwidth), ndtr((right - grid[-1]) / bandwidth)
    most = np.concatenate([outer[0], inner, outer[1]], axis=-1)
    far = np.maximum(stop - left, right - start) / bandwidth
    lowest = np.exp(-0.5 * far * far) * ((stop - start) / (bandwidth * math.sqrt(2 * math.pi)))
    return blurred, np.pad(lowest, ((0, 0), (1, 1))), most
