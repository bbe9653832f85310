"""The cross-entropy that the peaks of YES and NO imply. Imports NumPy alone.

A histogram knows nothing of which outputs came from one sample, so outputs are taken
as independent draws from their peaks. That is exact for one output (a sigmoid), and
for many a model, whose answer lies near the loss (`docs/divergence.md` has by how much).
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

    ``E[log(exp(Y) + exp(N_1) + ... )] - E[Y]`` with independent draws, by
    ``log x = integral of (exp(-t) - exp(-x t)) / t dt``, whose expectation factorises.
    Of two units the draws are coupled instead, the largest YES with the smallest NO:
    each step of gradient descent moves the two by opposite amounts.

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
    Frullani's integral; Trefethen and Weideman (2014), The exponentially convergent
    trapezoidal rule, SIAM Review 56:385.

    Examples
    --------
    >>> import math
    >>> peak = softmax_cross_entropy([0, 5], [7, 0], [-1.0, 1.0], 10)
    >>> round(float(peak) - math.log(1 + 9 * math.exp(-2)), 6)
    0.0
    """
    logit = np.asarray(values, dtype=np.float64)
    p, q = _shares(yes), _shares(no)
    if n_units == 2:
        return _coupled(p, q, logit)
    held = np.flatnonzero((np.nan_to_num(p) + np.nan_to_num(q)).reshape(-1, len(logit)).any(axis=0))
    if not len(held):
        return np.full(p.shape[:-1], np.nan)
    low = min(logit[held[0]], 0.0) - _BELOW
    high = max(logit[held[-1]] + np.log(n_units), 0.0) + _ABOVE
    s = np.arange(low, high + _STEP, _STEP)
    # exp(-t exp(value)) at t = exp(-s), of each occupied cell.
    faded = np.exp(-np.exp(np.minimum(logit[held, None] - s, 50.0)))
    both = (p[..., held] @ faded) * (q[..., held] @ faded) ** (n_units - 1)
    log_sum = (np.exp(-np.exp(np.minimum(-s, 50.0))) - both).sum(axis=-1) * _STEP
    return np.asarray(log_sum - p[..., held] @ logit[held])


def _coupled(
    p: NDArray[np.float64], q: NDArray[np.float64], logit: NDArray[np.float64]
) -> NDArray[np.float64]:
    share = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    found = np.full(p.shape[:-1], np.nan)
    for at in np.ndindex(found.shape):
        if not np.isnan(p[at][0] + q[at][0]):
            largest = np.minimum(np.searchsorted(np.cumsum(p[at]), share), len(logit) - 1)
            smallest = np.minimum(np.searchsorted(np.cumsum(q[at]), 1 - share), len(logit) - 1)
            found[at] = np.logaddexp(0.0, logit[smallest] - logit[largest]).mean()
    return found


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    held = np.asarray(counts, dtype=np.float64)
    total = held.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(held, total, out=np.full_like(held, np.nan), where=total > 0))
