"""The cross-entropy that the peaks of YES and NO imply. Imports NumPy alone.

Of one output (a sigmoid) it is the loss itself, as far as bins tell. Of a softmax a
histogram does not know which outputs came from one sample, so they are taken as draws
from their peaks, coupled as training couples them (`softmax_cross_entropy`);
`docs/divergence.md` has how near that comes to the loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cell_values", "sigmoid_cross_entropy", "softmax_cross_entropy"]

#: Step of the integral over s. The integrand is analytic for |Im s| < pi / 2, so the
#: trapezoidal rule errs by about exp(-pi^2 / step), 3e-9 (Trefethen and Weideman 2014).
_STEP = 0.5
#: The integrand is below 1e-8 so far beyond the least and the largest value.
_BELOW, _ABOVE = 4.0, 19.0
#: Quantiles that stand for a peak where two outputs are coupled.
_QUANTILES = 2000
#: Tilts of the NO peak, in inverse standard deviations: dense at 0, up to 27.
_TILTS = np.sinh(np.linspace(-4.0, 4.0, 65))


def cell_values(edges: ArrayLike, layer_type: str = "") -> NDArray[np.float64]:
    """Return the logit that each cell of a histogram stands for.

    Parameters
    ----------
    edges : array, shape (n_bins + 1,)
        Bin edges, activation units.
    layer_type : str
        Class of the output layer: probabilities of a ``Softmax`` are taken to their
        logarithm, of a ``Sigmoid`` to their logit; anything else gives logits already.

    Returns
    -------
    ndarray, shape (n_bins + 2,), float64
        Middles of the bins, and the outermost edges for what lies outside.

    Examples
    --------
    >>> cell_values([0.0, 1.0, 3.0])
    array([0. , 0.5, 2. , 3. ])
    """
    limits = np.asarray(edges, dtype=np.float64)
    values = np.concatenate([limits[:1], (limits[1:] + limits[:-1]) / 2, limits[-1:]])
    if layer_type not in ("Softmax", "Sigmoid"):
        return values
    width = np.diff(limits).min()
    share = np.clip(values, width / 2, 1.0 if layer_type == "Softmax" else 1.0 - width / 2)
    logs = np.log(share) - (np.log1p(-share) if layer_type == "Sigmoid" else 0.0)
    return np.asarray(logs, dtype=np.float64)


def sigmoid_cross_entropy(yes: ArrayLike, no: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean binary cross-entropy of outputs, in nats.

    Parameters
    ----------
    yes, no : array, shape (..., n_cells)
        Elements per cell, of outputs that should say yes and no.
    values : array, shape (n_cells,)
        Logit of each cell.

    Returns
    -------
    ndarray, shape (...), float64, nats; NaN where there are no elements

    Examples
    --------
    >>> round(float(sigmoid_cross_entropy([0, 5], [5, 0], [-2.0, 2.0])), 3)
    0.127
    """
    logit = np.asarray(values, dtype=np.float64)
    p, q = np.asarray(yes, dtype=np.float64), np.asarray(no, dtype=np.float64)
    cost = p @ np.logaddexp(0.0, -logit) + q @ np.logaddexp(0.0, logit)
    total = p.sum(axis=-1) + q.sum(axis=-1)
    return np.asarray(np.divide(cost, total, out=np.full(np.shape(cost), np.nan), where=total > 0))


def softmax_cross_entropy(
    yes: ArrayLike, no: ArrayLike, values: ArrayLike, n_units: int
) -> NDArray[np.float64]:
    """Return the cross-entropy of a softmax over one YES and ``n_units - 1`` NO, in nats.

    ``E[log(exp(Y) + exp(N_1) + ... )] - E[Y]``, the NO independent given Y. The gradient
    of the loss to the logits of a sample sums to 0, so training nearly keeps their sum:
    where Y lies d above its mean, the NO are drawn from their peak tilted to a mean
    that lies ``d / (n_units - 1)`` lower. Of two units the largest YES goes with the
    smallest NO.

    Parameters
    ----------
    yes, no : array, shape (..., n_cells)
        Elements per cell.
    values : array, shape (n_cells,), increasing
        Logit of each cell.
    n_units : int, at least 2

    Returns
    -------
    ndarray, shape (...), float64, nats; NaN where YES or NO has no elements

    References
    ----------
    Esscher (1932) for the tilt, ``N(n) exp(theta n)``; of the two nearest of 65 tilts
    that mixture which has the mean. Frullani's integral, ``log x = integral of
    (exp(-t) - exp(-x t)) / t dt``, whose expectation factorises, by the trapezoidal
    rule: Trefethen and Weideman (2014), SIAM Review 56:385.

    Examples
    --------
    >>> import math
    >>> peak = softmax_cross_entropy([0, 5], [7, 0], [-1.0, 1.0], 10)
    >>> round(float(peak) - math.log(1 + 9 * math.exp(-2)), 6)
    0.0
    """
    logit = np.asarray(values, dtype=np.float64)
    p, q = _shares(yes), _shares(no)
    found = np.full(p.shape[:-1], np.nan)
    for at in np.ndindex(found.shape):
        if np.isnan(p[at][0] + q[at][0]):
            continue
        if n_units == 2:
            found[at] = _of_two(p[at], q[at], logit)
        else:
            found[at] = _of_many(p[at], q[at], logit, n_units - 1)
    return found


def _of_two(p: NDArray[np.float64], q: NDArray[np.float64], logit: NDArray[np.float64]) -> float:
    share = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    largest = np.minimum(np.searchsorted(np.cumsum(p), share), len(logit) - 1)
    smallest = np.minimum(np.searchsorted(np.cumsum(q), 1 - share), len(logit) - 1)
    return float(np.logaddexp(0.0, logit[smallest] - logit[largest]).mean())


def _of_many(
    p: NDArray[np.float64], q: NDArray[np.float64], logit: NDArray[np.float64], others: int
) -> float:
    held = np.flatnonzero(p + q)
    p, q, logit = p[held], q[held], logit[held]
    s = _nodes(logit, float(np.log(others + 1)))
    # exp(-t exp(value)) at t = exp(-s), of each occupied cell.
    faded = np.exp(-np.exp(np.minimum(logit[:, None] - s, 50.0)))
    yes, no = np.flatnonzero(p), np.flatnonzero(q)
    tilted = _tilted(q[no], logit[no])
    wanted = q @ logit - (logit[yes] - p @ logit) / others
    place = np.interp(wanted, tilted @ logit[no], np.arange(float(len(tilted))))
    below = np.minimum(place.astype(np.int64), len(tilted) - 2)
    part = (place - below)[:, None]
    # Few of the tilts are near any of the means.
    first, last = int(below.min()), int(below.max()) + 1
    one = tilted[first : last + 1] @ faded[no]
    below -= first
    drawn = (1 - part) * one[below] + part * one[below + 1]
    both = p[yes] @ (faded[yes] * _power(drawn, others))
    log_sum = np.trapezoid(np.exp(-np.exp(np.minimum(-s, 50.0))) - both, s)
    return float(log_sum - p @ logit)


def _power(base: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """Return a whole power by squaring, which takes a fraction of the time of ``**``."""
    found = base if exponent & 1 else np.ones_like(base)
    while exponent := exponent >> 1:
        base = base * base
        if exponent & 1:
            found = found * base
    return found


def _nodes(logit: NDArray[np.float64], more: float) -> NDArray[np.float64]:
    """Return where the integrand is taken: around each value and around 0, by steps.

    Between values that lie further apart it is flat, and two nodes hold all of it; outputs
    of a billion would need a billion steps.
    """
    centre = np.union1d(logit, 0.0)
    low, high = centre - _BELOW, centre + more + _ABOVE
    first = np.flatnonzero(np.append(True, low[1:] > high[:-1] + 2 * _STEP))
    last = np.append(first[1:], len(centre)) - 1
    return np.concatenate(
        [np.arange(a, b + _STEP, _STEP) for a, b in zip(low[first], high[last], strict=True)]
    )


def _tilted(q: NDArray[np.float64], logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tilts of a peak, shape (n_tilts, n_cells), their means increasing."""
    away = logit - q @ logit
    spread = np.sqrt(q @ away**2)
    power = np.where(q > 0, _TILTS[:, None] * away / (spread if spread > 0 else 1.0), -np.inf)
    weight = q * np.exp(power - power.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    held = np.asarray(counts, dtype=np.float64)
    total = held.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(held, total, out=np.full_like(held, np.nan), where=total > 0))
