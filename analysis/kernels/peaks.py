"""Peaks of a histogram: how many, where, how heavy, how deep the valley between.

Works on the smooth density of `curve`, never on counts of unequal bins. A peak
counts only if it is more than the sampling noise of its elements and matters
against the highest; the curve is smoothed until every peak one can see in it is
such a peak. Imports NumPy and SciPy alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from actrace.analysis.kernels.curve import Curve, reference_bandwidth, smooth_density
from actrace.analysis.kernels.density import cumulative

__all__ = ["Peaks", "ashmans_d", "bimodality_coefficient", "peak_curve", "peaks_of"]

#: How much denser a peak is than the valley beside it, in standard deviations of
#: the Poisson noise of both.
NOISE: Final = 3.0
#: A peak matters if it rises by this share of the highest peak, or holds this
#: share of the elements above its valley. One of the two, because a point mass is
#: so high that nothing beside it is, and a wide peak holds much without rising.
MATTERS: Final = 0.03
#: A lighter peak, such as the YES of 100 classes, matters if it holds this share of
#: the elements above its valley and is this many standard deviations denser: tails
#: offer chance many more places, and 3 of them are found in one of ten.
LIGHT: Final = 0.002
LIGHT_NOISE: Final = 5.0
#: A peak rises above its valley by at least this share of its own height.
OWN_HEIGHT: Final = 0.05
#: What rises less than this share of the highest peak cannot be seen in a picture.
VISIBLE: Final = 0.01

#: A hill is what lies above this share of the way from its base to its top.
HILL: Final = 1 / 3

_STEP: Final = 1.25
_STEPS: Final = 9


@dataclass(frozen=True, slots=True)
class Peaks:
    """The peaks of one histogram, from left to right.

    Attributes
    ----------
    position : ndarray, shape (n_peaks,), float64, activation units
    height, prominence : ndarray, shape (n_peaks,), float64, per activation unit
    mass : ndarray, shape (n_peaks,), float64
        Share of the elements between the valleys left and right of the peak.
    valley : float, activation units
        Where the curve is lowest between the two heaviest peaks; NaN for fewer.
    valley_depth : float
        1 less the valley's height by that of the lower of the two, between 0 and 1.
    curve : Curve
        The curve that was searched, to draw.
    """

    position: NDArray[np.float64]
    height: NDArray[np.float64]
    prominence: NDArray[np.float64]
    mass: NDArray[np.float64]
    valley: float
    valley_depth: float
    curve: Curve

    def __len__(self) -> int:
        return len(self.position)


def peak_curve(
    count: ArrayLike,
    edges: ArrayLike,
    *,
    grid: ArrayLike | None = None,
    total: float | None = None,
) -> Curve:
    """Return the curve that `peaks_of` searches, on its own grid or on another.

    Parameters
    ----------
    count : array, shape (n_bins,)
        Elements per bin.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges.
    grid : array, shape (n_cells + 1,), optional
        Edges of the cells to answer on.
    total : float, optional
        What 1 is; the sum of `count` when left out.

    Returns
    -------
    Curve
        Density per activation unit.
    """
    curve = _settled(np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64))[0]
    if grid is None and total is None:
        return curve
    return smooth_density(
        count,
        edges,
        bandwidth=curve.bandwidth,
        grid=curve.grid if grid is None else grid,
        total=total,
    )


def peaks_of(
    count: ArrayLike, edges: ArrayLike, *, underflow: float = 0, overflow: float = 0
) -> Peaks:
    """Return the peaks of binned counts.

    A local maximum of the smooth density is a peak if the elements of its hill
    lie denser than those of the valley beside it by `NOISE` standard deviations
    of their Poisson noise, if it rises by `MATTERS` of the highest peak or holds
    `MATTERS` of all elements as excess mass (above its valley), and by `OWN_HEIGHT`
    of its own height. A peak too light for that counts from `LIGHT` of all elements
    on, if it is denser by `LIGHT_NOISE`. The blur starts at Silverman's bandwidth and
    widens until no other maximum can be seen in the curve.

    Parameters
    ----------
    count : array, shape (n_bins,)
        Elements per bin.
    edges : array, shape (n_bins + 1,)
        Increasing bin edges, activation units.
    underflow, overflow : float, default 0
        Elements outside the axis; they add to the mass of the outer peaks.

    Returns
    -------
    Peaks

    References
    ----------
    Mueller and Sawitzki (1991), Excess mass estimates and tests for multimodality,
    JASA 86:738; Silverman (1981), Using kernel density estimates to investigate
    multimodality, JRSS B 43:97, for widening the blur.

    Examples
    --------
    >>> found = peaks_of([1, 40, 90, 40, 1, 1, 30, 70, 30, 1], np.arange(11.0))
    >>> len(found), found.position.round(1).tolist(), found.mass.round(2).tolist()
    (2, [2.5, 7.5], [0.57, 0.43])
    """
    values, limits = np.asarray(count, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    curve, at, prominence = _settled(values, limits)
    if len(at) == 0:
        none = np.empty(0)
        return Peaks(none, none, none, none, math.nan, math.nan, curve)
    f, x = curve.value, curve.centers
    lows = np.array(
        [left + int(np.argmin(f[left : right + 1])) for left, right in itertools.pairwise(at)],
        dtype=np.int64,
    )
    below = np.interp(x[lows], limits, cumulative(values)) + underflow
    total = values.sum() + underflow + overflow
    mass = np.diff(np.concatenate([[0.0], below, [total]])) / total
    valley, depth = math.nan, math.nan
    if len(at) > 1:
        left, right = sorted(np.argsort(mass, kind="stable")[-2:])
        low = lows[left:right][np.argmin(f[lows[left:right]])]
        valley, depth = float(x[low]), float(1 - f[low] / min(f[at[left]], f[at[right]]))
    return Peaks(_vertex(x, f, at), f[at], prominence, mass, valley, depth, curve)


def _settled(
    values: NDArray[np.float64], limits: NDArray[np.float64]
) -> tuple[Curve, NDArray[np.int64], NDArray[np.float64]]:
    """Return the curve, its peaks' cells and prominences."""
    below = cumulative(values)
    bandwidth = reference_bandwidth(values, limits)
    first: tuple[Curve, NDArray[np.int64], NDArray[np.float64]] | None = None
    for _ in range(_STEPS):
        curve = smooth_density(values, limits, bandwidth=bandwidth)
        at, prominence, unseen = _significant(curve, limits, below)
        if first is None:
            first = curve, at, prominence
        if unseen:
            return curve, at, prominence
        bandwidth *= _STEP
    return first if first is not None else (curve, at, prominence)


def _significant(
    curve: Curve, limits: NDArray[np.float64], below: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
    """Return cells and prominences of the peaks, and whether nothing else shows."""
    f, cell = curve.value, curve.grid[1] - curve.grid[0]
    padded = np.concatenate([[0.0], f, [0.0]])
    at, _ = scipy.signal.find_peaks(padded)
    if below[-1] <= 0 or len(at) == 0:
        return np.empty(0, np.int64), np.empty(0), True
    prominence, left_base, right_base = scipy.signal.peak_prominences(padded, at)
    highest = f.max()
    # Elements per cell as counted, not as blurred, as noise is in what was counted.
    counted = np.pad(np.diff(np.interp(curve.grid, limits, below)), 1)
    keep = np.zeros(len(at), dtype=bool)
    bases = np.where(padded[left_base] >= padded[right_base], left_base, right_base)
    for i, (peak, rise, base) in enumerate(zip(at, prominence, bases, strict=True)):
        hill, valley, excess = _hill_and_valley(padded, int(peak), int(base))
        heavy = rise >= MATTERS * highest or excess * cell >= MATTERS
        keep[i] = (
            rise >= OWN_HEIGHT * padded[peak]
            and (heavy or excess * cell >= LIGHT)
            and _apart(counted[hill], counted[valley]) >= (NOISE if heavy else LIGHT_NOISE)
        )
    keep[np.argmax(padded[at])] = True
    unseen = not (prominence[~keep] >= VISIBLE * highest).any()
    return (at[keep] - 1).astype(np.int64), prominence[keep], unseen


def _hill_and_valley(f: NDArray[np.float64], peak: int, base: int) -> tuple[slice, slice, float]:
    """Return the cells of a hill, of the valley beside it, and the hill's excess.

    The hill is what lies around the peak above `HILL` of the way up from the base,
    the valley what lies around the base below that; the base is where the peak parts
    from higher ground. The excess is the sum of what is above the base.
    """
    cut = f[base] + HILL * (f[peak] - f[base])
    whole = f[_stretch(f > f[base], peak)]
    return _stretch(f > cut, peak), _stretch(f <= cut, base), float((whole - f[base]).sum())


def _stretch(inside: NDArray[np.bool_], at: int) -> slice:
    """Return the longest unbroken run of True around an index that is True."""
    left, right = ~inside[at::-1], ~inside[at:]
    start = at - int(np.argmax(left)) + 1 if left.any() else 0
    stop = at + int(np.argmax(right)) if right.any() else len(inside)
    return slice(start, stop)


def _apart(hill: NDArray[np.float64], valley: NDArray[np.float64]) -> float:
    """Return by how many standard deviations two Poisson rates per cell differ."""
    high, low = hill.mean(), valley.mean()
    noise = math.sqrt(high / len(hill) + low / len(valley))
    return float((high - low) / noise) if noise > 0 else 0.0


def _vertex(
    x: NDArray[np.float64], f: NDArray[np.float64], at: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return where the parabola through a peak's three cells is highest."""
    padded = np.concatenate([[0.0], f, [0.0]])
    a, b, c = padded[at], padded[at + 1], padded[at + 2]
    bend = a - 2 * b + c
    shift = np.divide((a - c) / 2, bend, out=np.zeros_like(bend), where=bend < 0)
    return np.asarray(x[at] + np.clip(shift, -0.5, 0.5) * (x[1] - x[0]))


def ashmans_d(count: ArrayLike, edges: ArrayLike, split: float) -> float:
    """Return Ashman's D of what lies left and right of a split.

    ``D = sqrt(2) * |mean1 - mean2| / sqrt(var1 + var2)``; above 2 two components
    are cleanly apart.

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)
    split : float, activation units
        NaN gives NaN.

    References
    ----------
    Ashman, Bird and Zepf (1994), Detecting bimodality in astronomical datasets,
    AJ 108:2348.
    """
    limits = np.asarray(edges, dtype=np.float64)
    if not limits[0] < split < limits[-1]:
        return math.nan
    values = np.asarray(count, dtype=np.float64)
    cut = int(np.searchsorted(limits, split, side="right")) - 1
    part = (split - limits[cut]) / (limits[cut + 1] - limits[cut])
    left_count = np.append(values[:cut], values[cut] * part)
    right_count = np.append(values[cut] * (1 - part), values[cut + 1 :])
    left = _moments(left_count, np.append(limits[: cut + 1], split))
    right = _moments(right_count, np.append(split, limits[cut + 1 :]))
    spread = math.sqrt(left[1] + right[1])
    return math.sqrt(2) * abs(left[0] - right[0]) / spread if spread > 0 else math.nan


def _moments(
    values: NDArray[np.float64], limits: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return the mean and the central moments 2 to 4, mass even over each bin."""
    n = values.sum()
    if not n > 0:
        return math.nan, math.nan, math.nan, math.nan
    middle, half = (limits[1:] + limits[:-1]) / 2, np.diff(limits) / 2
    mean = float(values @ middle / n)
    d = middle - mean
    second = values @ (d**2 + half**2 / 3) / n
    third = values @ (d**3 + d * half**2) / n
    fourth = values @ (d**4 + 2 * d**2 * half**2 + half**4 / 5) / n
    return mean, float(second), float(third), float(fourth)


def bimodality_coefficient(count: ArrayLike, edges: ArrayLike) -> float:
    """Return Sarle's bimodality coefficient of binned counts.

    ``(g ** 2 + 1) / (k + 3 (n - 1) ** 2 / ((n - 2) (n - 3)))`` with the sample
    skewness g and the sample excess kurtosis k. A uniform distribution has 5/9; two
    equal peaks far apart come near 1; a heavily skewed single peak is high too.

    Parameters
    ----------
    count : array, shape (n_bins,)
    edges : array, shape (n_bins + 1,)

    Returns
    -------
    float; NaN for fewer than 4 elements

    References
    ----------
    SAS Institute (1990), SAS/STAT User's Guide, The CLUSTER Procedure; Pfister et
    al. (2013), Good things peak in pairs, Frontiers in Psychology 4:700.
    """
    values = np.asarray(count, dtype=np.float64)
    n = float(values.sum())
    _, second, third, fourth = _moments(values, np.asarray(edges, dtype=np.float64))
    if not (n >= 4 and second > 0):
        return math.nan
    g = third / second**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    k = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (fourth / second**2 - 3) + 6)
    return float((g**2 + 1) / (k + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))))
