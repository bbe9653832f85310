"""How sure a share is that was counted in samples, and how far two shares are apart.

Imports NumPy and SciPy alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtr, ndtri

__all__ = ["behind", "outscored", "wilson"]


def wilson(
    hits: ArrayLike, samples: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Wilson score interval of a share.

    Parameters
    ----------
    hits, samples : array, shape (...)
    confidence : float, default 0.95

    Returns
    -------
    low, high : ndarray, shape (...), float64; NaN where there is no sample

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference,
    JASA 22:209.

    Examples
    --------
    >>> low, high = wilson(8, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.49, 0.943)
    """
    x, n = np.asarray(hits, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    z = float(ndtri((1 + confidence) / 2))
    whole = np.where(n > 0, n, np.nan)
    half = z * np.sqrt(x * (whole - x) / whole + z * z / 4)
    low, high = ((x + z * z / 2 + side * half) / (whole + z * z) for side in (-1, 1))
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def behind(
    hits: ArrayLike, samples: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far each class is behind all others together, and at least how far.

    The lower bound joins the exact limits of the two shares by the square-and-add rule.
    There are as many questions as classes, so each is asked at a level by which all
    bounds together hold with the confidence (Bonferroni).

    Parameters
    ----------
    hits, samples : array, shape (..., n_classes)
    confidence : float, default 0.95

    Returns
    -------
    gap, at_least : ndarray, shape (..., n_classes), float64
        Share of hits of the other classes less that of the class: above 0 is behind. NaN
        where the class or all others have no sample.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26:404, for the limits: Wilson's, of Newcombe's
    method 10, call one of ten equal classes behind up to twice too often where nearly all
    is told right. Newcombe (1998), Interval estimation for the difference between
    independent proportions, Statistics in Medicine 17:873, for joining them.

    Examples
    --------
    >>> gap, at_least = behind([5, 95, 90], [50, 100, 100])
    >>> gap.round(2).tolist(), (at_least > 0).tolist()
    ([0.82, -0.32, -0.23], [True, False, False])
    """
    x, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(samples, np.float64))
    others = n.sum(axis=-1, keepdims=True) - n
    told = x.sum(axis=-1, keepdims=True) - x
    tail = (1 - confidence) / np.maximum((n > 0).sum(axis=-1, keepdims=True), 1)
    mine, rest = _share(x, n), _share(told, others)
    # The beta quantiles have no answer where nothing, or everything, was a hit.
    most = np.where(x < n, betaincinv(x + 1, np.maximum(n - x, 0.5), 1 - tail), 1.0)
    least = np.where(told > 0, betaincinv(np.maximum(told, 0.5), others - told + 1, tail), 0.0)
    gap = rest - mine
    return gap, gap - np.hypot(rest - least, most - mine)


def outscored(
    mean_own: ArrayLike, std_own: ArrayLike, mean_other: ArrayLike, std_other: ArrayLike
) -> NDArray[np.float64]:
    """Return the share of another unit's NO mass that lies above the class's YES.

    The probability that a normal with the other unit's moments is above one with the
    own unit's, as if the two were independent: ``Phi((m_other - m_own) / sqrt(s_other
    ** 2 + s_own ** 2))``; half where neither spreads and they are equal.

    Parameters
    ----------
    mean_own, std_own, mean_other, std_other : array, shapes that broadcast
        Moments over the samples of one true class, activation units.

    References
    ----------
    The area under the binormal ROC curve: Hanley (1988), The robustness of the
    "binormal" assumptions used in fitting ROC curves, Medical Decision Making 8:197.

    Examples
    --------
    >>> float(outscored(3.0, 1.0, 3.0, 2.0)), round(float(outscored(4.0, 1.0, 1.0, 1.0)), 3)
    (0.5, 0.017)
    """
    gap = np.asarray(mean_other, dtype=np.float64) - np.asarray(mean_own, dtype=np.float64)
    spread = np.hypot(np.asarray(std_other, np.float64), np.asarray(std_own, np.float64))
    # Without any spread the higher one is above for certain.
    certain = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
    steps = np.divide(gap, spread, out=certain, where=spread > 0)
    return np.where(np.isnan(gap), np.nan, ndtr(steps))


def _share(x: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(x, n, out=np.full_like(n, np.nan), where=n > 0)
