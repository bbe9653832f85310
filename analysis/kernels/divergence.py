"""How unlike two histograms on the same bins are. Imports NumPy and SciPy alone."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

__all__ = [
    "DISTANCES",
    "distances",
    "hellinger",
    "jensen_shannon",
    "jensen_shannon_by_chance",
    "kolmogorov_smirnov",
    "wasserstein",
]

#: What `distances` returns, in its order.
DISTANCES: Final = ("jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger")
#: Histograms that are compared at once, so that what is made of them stays in a cache.
_AT_ONCE: Final = 256

Floats = NDArray[np.float64]


def distances(
    first: ArrayLike, second: ArrayLike, edges: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the four distances of two histograms, in less time than one after another.

    Parameters
    ----------
    first, second : array, shape (..., n_bins + 2)
        Elements per bin, underflow first and overflow last.
    edges : array, shape (n_bins + 1,)
        Bin edges, activation units.

    Returns
    -------
    jensen_shannon, wasserstein, kolmogorov_smirnov, hellinger : ndarray, shape (...), float64
        As the functions of these names return them.

    Examples
    --------
    >>> [float(d) for d in distances([0, 5, 0, 0], [0, 0, 5, 0], [0.0, 1.0, 2.0])]
    [1.0, 1.0, 1.0, 1.0]
    """
    p, q = np.broadcast_arrays(np.asarray(first), np.asarray(second))
    shape, width = p.shape[:-1], np.diff(np.asarray(edges, dtype=np.float64))
    p, q = p.reshape(-1, p.shape[-1]), q.reshape(-1, q.shape[-1])
    found = np.empty((len(DISTANCES), len(p)))
    for at in range(0, len(p), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        one, other = _shares(p[some]), _shares(q[some])
        found[:, some] = (
            _jensen_shannon(one, other),
            _wasserstein(one, other, width),
            _kolmogorov_smirnov(one, other),
            _hellinger(one, other),
        )
    return tuple(found.reshape(len(DISTANCES), *shape))


def jensen_shannon(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence of two histograms, in bits.

    ``(KL(p, m) + KL(q, m)) / 2`` with ``m = (p + q) / 2``: 0 for equal shares, 1 for
    histograms that share no bin. Few elements on many bins differ by chance alone,
    by about `jensen_shannon_by_chance`.

    Parameters
    ----------
    first, second : array, shape (..., n_bins)
        Elements per bin, under- and overflow as bins of their own.

    Returns
    -------
    ndarray, shape (...), float64, bits; NaN where either has no elements

    References
    ----------
    Lin (1991), Divergence measures based on the Shannon entropy, IEEE Transactions on
    Information Theory 37:145.

    Examples
    --------
    >>> float(jensen_shannon([2, 2, 0], [0, 0, 7]))
    1.0
    """
    return _jensen_shannon(_shares(first), _shares(second))


def _jensen_shannon(p: Floats, q: Floats) -> Floats:
    middle = (p + q) / 2
    bits = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / (2 * np.log(2))
    return np.asarray(np.clip(bits, 0.0, 1.0))


def jensen_shannon_by_chance(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return what samples of one distribution would show as divergence, in bits.

    ``(k - 1) / (8 ln 2) * (1 / n + 1 / m)`` for k occupied bins and n and m
    independent elements, at most 1: the mean of the chi-square distribution that the
    divergence of two samples of one multinomial follows. Elements of one sample hang
    together, so what a net shows by chance is rather more.

    Parameters
    ----------
    first, second : array, shape (..., n_bins)

    Returns
    -------
    ndarray, shape (...), float64, bits; NaN where either has no elements

    References
    ----------
    Grosse et al. (2002), Analysis of symbolic sequences using the Jensen-Shannon
    divergence, Physical Review E 65:041905.

    Examples
    --------
    >>> round(float(jensen_shannon_by_chance([500, 500], [400, 600])), 6)
    0.000361
    """
    p, q = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    n, m = p.sum(axis=-1), q.sum(axis=-1)
    held = ((p > 0) | (q > 0)).sum(axis=-1)
    both = (n > 0) & (m > 0)
    inverse = np.divide(n + m, n * m, out=np.full(np.shape(both), np.nan), where=both)
    return np.asarray(np.minimum((held - 1) / (8 * np.log(2)) * inverse, 1.0))


def hellinger(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the Hellinger distance of two histograms, 0 to 1.

    ``sqrt(1 - sum(sqrt(p q)))``: 0 for equal shares, 1 for histograms that share no
    bin. It looks at the tails more than the others do.

    Parameters
    ----------
    first, second : array, shape (..., n_bins)
        Elements per bin, under- and overflow as bins of their own.

    Returns
    -------
    ndarray, shape (...), float64; NaN where either has no elements

    References
    ----------
    Hellinger (1909), Journal fuer die reine und angewandte Mathematik 136:210; Le Cam
    and Yang (2000), Asymptotics in Statistics, 2nd ed., section 3.2.

    Examples
    --------
    >>> float(hellinger([2, 2, 0], [0, 0, 7]))
    1.0
    """
    return _hellinger(_shares(first), _shares(second))


def _hellinger(p: Floats, q: Floats) -> Floats:
    common = np.sqrt(p * q).sum(axis=-1)
    return np.asarray(np.sqrt(np.clip(1.0 - common, 0.0, 1.0)))


def kolmogorov_smirnov(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the Kolmogorov-Smirnov distance of two histograms, 0 to 1.

    The largest gap between the two cumulative distributions at an edge of the bins.
    That of the values themselves may be larger, by at most the share that one of the
    two has in the bin where it lies.

    Parameters
    ----------
    first, second : array, shape (..., n_bins)
        Elements per bin, under- and overflow as bins of their own.

    Returns
    -------
    ndarray, shape (...), float64; NaN where either has no elements

    References
    ----------
    Smirnov (1948), Annals of Mathematical Statistics 19:279.

    Examples
    --------
    >>> float(kolmogorov_smirnov([1, 1, 2], [0, 1, 3]))
    0.25
    """
    return _kolmogorov_smirnov(_shares(first), _shares(second))


def _kolmogorov_smirnov(p: Floats, q: Floats) -> Floats:
    gap = np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1)
    return np.asarray(np.abs(gap).max(axis=-1, initial=0.0))


def wasserstein(first: ArrayLike, second: ArrayLike, edges: ArrayLike) -> NDArray[np.float64]:
    """Return the first Wasserstein distance of two histograms, in activation units.

    The area between the two cumulative distributions, the mass of a bin spread evenly
    over it; what lies outside the axis is put on its outermost edges. The distance of
    the values themselves differs by at most half the mean bin width of each side.

    Parameters
    ----------
    first, second : array, shape (..., n_bins + 2)
        Elements per bin, underflow first and overflow last.
    edges : array, shape (n_bins + 1,)
        Bin edges, activation units.

    Returns
    -------
    ndarray, shape (...), float64, activation units; NaN where either has no elements

    References
    ----------
    Vallender (1974), Calculation of the Wasserstein distance between probability
    distributions on the line, Theory of Probability and its Applications 18:784.

    Examples
    --------
    >>> float(wasserstein([0, 5, 0, 0], [0, 0, 5, 0], [0.0, 1.0, 2.0]))
    1.0
    """
    width = np.diff(np.asarray(edges, dtype=np.float64))
    return _wasserstein(_shares(first), _shares(second), width)


def _wasserstein(p: Floats, q: Floats, width: Floats) -> Floats:
    gap = (np.cumsum(p, axis=-1) - np.cumsum(q, axis=-1))[..., :-1]
    a, b = gap[..., :-1], gap[..., 1:]
    size = np.abs(a) + np.abs(b)
    # Between two edges the gap is a straight line: a trapezium, or where it crosses
    # zero two triangles.
    crossing = np.divide(a * a + b * b, size, out=np.zeros_like(size), where=size > 0)
    area = np.where(a * b < 0, crossing, size) / 2
    return np.asarray((area * width).sum(axis=-1))


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(counts, dtype=np.float64)
    total = values.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0))
