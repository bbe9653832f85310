"""The rules over the lazy arrays of several ranks, block by block.

May import xarray and dask.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

__all__ = ["apply_rule", "as_dataset", "as_lazy", "laid_out"]

#: What stands where there is nothing, by the kind of dtype; else 0.
_NOTHING: Final = {"f": np.nan, "M": np.datetime64("NaT")}


def as_lazy(variable: xr.Variable) -> Any:
    """Return the variable's data as dask blocks, one where they are in memory."""
    data = variable.data
    if isinstance(data, da.Array):
        return data
    return da.from_array(np.asarray(data), chunks=-1)  # type: ignore[no-untyped-call]


def laid_out(variable: xr.Variable, dim: Hashable, at: NDArray[np.int64]) -> xr.Variable:
    """Return the entries `at` along `dim`, lazily, with nothing where `at` is -1.

    Nothing is NaN for floats, NaT for times and 0 for integers. Where `at` takes every entry as
    it stands, the variable itself comes back.
    """
    n = variable.sizes[dim]
    if np.array_equal(at, np.arange(n)):
        return variable
    axis = variable.get_axis_num(dim)
    data = as_lazy(variable)
    one = (*data.chunks[:axis], (1,), *data.chunks[axis + 1 :])
    fill = _NOTHING.get(data.dtype.kind, 0)
    nothing = da.full(  # type: ignore[no-untyped-call]
        tuple(map(sum, one)), fill, dtype=data.dtype, chunks=one
    )
    block = max((*data.chunks[axis], 1))
    padded: Any = da.concatenate([data, nothing], axis=axis)  # type: ignore[no-untyped-call]
    taken = da.take(padded, np.where(at < 0, n, at), axis=axis)
    return xr.Variable(variable.dims, taken.rechunk({axis: block}), variable.attrs)


def apply_rule(
    rule: Callable[..., NDArray[Any]],
    *parts: Sequence[xr.Variable],
    dtype: DTypeLike | None = None,
) -> xr.Variable:
    """Return what a rule makes of the ranks' arrays, lazily where they are lazy.

    Parameters
    ----------
    rule : callable
        Takes a list of one array a rank for each of `parts`.
    *parts : sequence of Variable
        The last is what the result looks like; others may lack its leading
        dimensions.
    dtype : dtype, optional
        Of the result; by default that of the last.
    """
    like = parts[-1][0]
    wanted = np.dtype(dtype or like.dtype)
    variables = [variable for part in parts for variable in part]
    sizes = [len(part) for part in parts]

    def run(*blocks: NDArray[Any]) -> NDArray[Any]:
        left = list(blocks)
        given = [[left.pop(0) for _ in range(n)] for n in sizes]
        with np.errstate(over="ignore"):
            return np.asarray(rule(*given)).astype(wanted, copy=False)

    if not any(isinstance(variable.data, da.Array) for variable in variables):
        return xr.Variable(like.dims, run(*(np.asarray(v.data) for v in variables)), like.attrs)
    arguments: list[Any] = []
    for variable in variables:
        arguments += [as_lazy(variable), tuple(map(like.dims.index, variable.dims))]
    found = da.blockwise(  # type: ignore[no-untyped-call]
        run,
        tuple(range(like.ndim)),
        *arguments,
        dtype=wanted,
        meta=np.empty((0,) * like.ndim, wanted),
    )
    return xr.Variable(like.dims, found, like.attrs)


def as_dataset(variables: Mapping[str, xr.Variable], like: xr.Dataset) -> xr.Dataset:
    """Return variables as a dataset with the coordinates and attributes of `like`."""
    return xr.Dataset(
        {name: v for name, v in variables.items() if name not in like.coords},
        {name: v for name, v in variables.items() if name in like.coords},
        like.attrs,
    )
