"""Layers, parameters and units of several ranks as one list, matched by name.

Ranks of one model have the same. Where they differ, as the stages of a pipeline
do, a rank has nothing in the rows that it lacks. May import xarray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.store.merging.blocks import laid_out

__all__ = ["UnitedRows", "unite_rows", "unite_units", "with_rows"]


@dataclass(frozen=True, slots=True)
class UnitedRows:
    """One list of names, and where each stands in each rank.

    Attributes
    ----------
    names : ndarray of str, shape (n,)
    at : tuple of ndarray of int64, shape (n,)
        One for each rank, -1 where the rank has the name not.
    """

    names: NDArray[Any]
    at: tuple[NDArray[np.int64], ...]

    def first(self, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return each row's value in the first rank that has the row."""
        found = np.zeros(len(self.names), np.result_type(*values) if values else float)
        for at, own in zip(reversed(self.at), reversed(values), strict=True):
            found[at >= 0] = own[at[at >= 0]]
        return found

    def pick(self, ranks: Sequence[int]) -> UnitedRows:
        """Return the same rows with some of the ranks."""
        return UnitedRows(self.names, tuple(self.at[rank] for rank in ranks))


def unite_rows(names: Sequence[NDArray[Any]]) -> UnitedRows:
    """Return the names of all ranks, the first rank's first.

    Examples
    --------
    >>> rows = unite_rows([np.array(["a", "b"]), np.array(["b", "c"])])
    >>> rows.names.tolist(), [at.tolist() for at in rows.at]
    (['a', 'b', 'c'], [[0, 1, -1], [-1, 0, 1]])
    """
    united = list(dict.fromkeys(str(name) for own in names for name in own))
    at = []
    for own in names:
        where = {str(name): i for i, name in enumerate(own)}
        at.append(np.array([where.get(name, -1) for name in united], np.int64))
    return UnitedRows(np.array(united, dtype=str), tuple(at))


def with_rows(group: xr.Dataset, dim: str, at: NDArray[np.int64]) -> xr.Dataset:
    """Return a rank's group with its rows as the united list has them."""
    if np.array_equal(at, np.arange(group.sizes[dim])):
        return group
    found = {
        name: laid_out(array.variable, dim, at)
        for name, array in group.data_vars.items()
        if dim in array.dims
    }
    rest = {n: array.variable for n, array in group.data_vars.items() if dim not in array.dims}
    coords = {n: array.variable for n, array in group.coords.items() if dim not in array.dims}
    return xr.Dataset({**found, **rest}, coords, group.attrs)


def unite_units(
    layers: UnitedRows, units: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
    """Return units a layer, and where each unit stands in each rank.

    A layer whose number of units differs between ranks has none.

    Parameters
    ----------
    layers : UnitedRows
    units : sequence of ndarray, one a rank
        Units of each of the rank's own layers, 0 if unknown.

    Examples
    --------
    >>> layers = unite_rows([np.array(["a", "b"]), np.array(["b"])])
    >>> number, at = unite_units(layers, [np.array([1, 2]), np.array([2])])
    >>> number.tolist(), [own.tolist() for own in at]
    ([1, 2], [[0, 1, 2], [-1, 0, 1]])
    """
    own_units = [np.asarray(own, np.int64) for own in units]
    table = np.array(
        [
            np.where(at >= 0, own[at], 0) if len(own) else np.zeros(len(at), np.int64)
            for at, own in zip(layers.at, own_units, strict=True)
        ]
    )
    most = table.max(axis=0, initial=0)
    number = np.where(((table == most) | (table == 0)).all(axis=0), most, 0)
    layer = np.repeat(np.arange(len(number)), number)
    channel = np.arange(len(layer)) - np.repeat(np.cumsum(number) - number, number)
    found = []
    for at, own, mine in zip(layers.at, own_units, table, strict=True):
        starts = np.append(np.cumsum(own) - own, 0)[at]
        found.append(np.where(mine[layer] > 0, starts[layer] + channel, -1).astype(np.int64))
    return number, tuple(found)
