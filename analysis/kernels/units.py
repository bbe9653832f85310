"""Activation and death of units, summed to layers. Imports NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["unit_rates"]


def unit_rates(
    active: ArrayLike, total: ArrayLike, unit_layer: ArrayLike, n_layers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return activation rate and death rate of each layer.

    Parameters
    ----------
    active, total : array, shape (..., n_units)
        Active and all elements of each unit over the window asked about.
    unit_layer : array, shape (n_units,), int
        Index of each unit's layer.
    n_layers : int

    Returns
    -------
    activation_rate, death_rate : ndarray, shape (..., n_layers), float64
        Mean over the layer's units of the share of active elements, and share of its
        units without any; units that were never called are left out; NaN for a layer
        without units.

    References
    ----------
    monitorch, OutputActivation (rates of a batch); Lett, dead neurons over an epoch.

    Examples
    --------
    >>> rate, death = unit_rates([0, 2, 4], [4, 4, 4], [0, 0, 1], n_layers=3)
    >>> rate.tolist(), death.tolist()
    ([0.25, 1.0, nan], [0.5, 0.0, nan])
    """
    some, whole = np.asarray(active, np.float64), np.asarray(total, np.float64)
    called = whole > 0
    share = np.divide(some, whole, out=np.zeros_like(whole), where=called)
    member = (np.asarray(unit_layer)[:, None] == np.arange(n_layers)).astype(np.float64)
    units = called @ member
    empty = np.full(units.shape, np.nan)
    rate = np.divide(share @ member, units, out=empty.copy(), where=units > 0)
    dead = np.divide((called & (some == 0)) @ member, units, out=empty, where=units > 0)
    return rate, dead
