"""Sums and merges over the batches or windows of each epoch, lazily.

Everything that crosses batches goes through here: counts are summed as integers
and moments merged in one fixed order, so a result is the same to the last bit
however the run is chunked. May import xarray and dask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.moments import merge_moments
from actrace.analysis.kernels.sums import sums_of

__all__ = [
    "Indexer",
    "by_phase",
    "described",
    "joined_bins",
    "lazy",
    "merge_over",
    "numbered",
    "parallel",
    "sum_over",
]

Indexer = slice | NDArray[np.int64]

_BLOCK_BYTES: Final = 2**27


def lazy(array: xr.DataArray) -> xr.DataArray:
    """Return the array as dask blocks, the store's own where it has any."""
    if array.chunks is not None:
        return array
    stored = array.encoding.get("preferred_chunks", {})
    return array.chunk({dim: size for dim, size in stored.items() if dim in array.dims})


def sum_over(array: xr.DataArray, dim: str, parts: Mapping[int, Indexer]) -> xr.DataArray:
    """Return the sum over the entries of each epoch.

    Parameters
    ----------
    array : DataArray, dims (..., dim), integer
    dim : {"batch", "window"}
    parts : dict of epoch to indices along `dim`

    Returns
    -------
    DataArray, dims (..., epoch), uint64, lazy
    """
    data = lazy(array.transpose(..., dim)).data
    # One task a block sums all epochs that it holds, a second one adds the blocks up: a
    # task an epoch would swamp the scheduler, and read a block once for each.
    plans = _plans(parts, data.chunks[-1])
    held = [at for at, plan in enumerate(plans) if plan] or [0]
    if len(held) < len(plans):
        # Blocks that no part reaches into are not read.
        data, plans = data.blocks[(..., held)], [plans[at] for at in held]
    epochs, n = np.array([e for plan in plans for e, _ in plan], dtype=np.int64), len(parts)

    def partial(block: NDArray[Any], block_id: tuple[int, ...] = ()) -> NDArray[np.uint64]:
        return sums_of(block, [at for _, at in plans[block_id[-1]]])

    def together(block: NDArray[np.uint64]) -> NDArray[np.uint64]:
        found = np.zeros((*block.shape[:-1], n), dtype=np.uint64)
        for i, e in enumerate(epochs):
            found[..., e] += block[..., i]
        return found

    settings: dict[str, Any] = {
        "dtype": np.dtype(np.uint64),
        "meta": np.empty((0,) * data.ndim, np.uint64),
    }
    some = data.map_blocks(partial, chunks=(*data.chunks[:-1], tuple(map(len, plans))), **settings)
    some = some.rechunk({-1: -1, **_narrower(some)})
    sums = some.map_blocks(together, chunks=(*some.chunks[:-1], (n,)), **settings)
    return _with_epochs(array, dim, parts, sums)


def numbered(
    *several: Mapping[int, Indexer],
) -> tuple[dict[int, Indexer], tuple[NDArray[np.int64], ...]]:
    """Return parts of several kinds as one numbering, so that all are summed in one pass.

    Parameters
    ----------
    several : dict of epoch to slice, or to increasing indices
        Those that are the same part are one.

    Returns
    -------
    parts : dict of number to slice or indices
    places : tuple of ndarray of int64
        For each of `several` the numbers of its parts, in its order.

    Examples
    --------
    >>> parts, places = numbered({0: slice(3, 5)}, {0: np.array([0, 1]), 7: np.array([3, 4])})
    >>> parts, places
    ({0: slice(3, 5, None), 1: slice(0, 2, None)}, (array([0]), array([1, 0])))
    """
    parts: dict[int, Indexer] = {}
    known: dict[Hashable, int] = {}
    places = []
    for some in several:
        numbers = []
        for given in some.values():
            part = given if isinstance(given, slice) or not len(given) else _as_slice(given)
            key = (part.start, part.stop) if isinstance(part, slice) else part.tobytes()
            number = known.setdefault(key, len(known))
            parts.setdefault(number, part)
            numbers.append(number)
        places.append(np.array(numbers, dtype=np.int64))
    return parts, tuple(places)


def _narrower(array: Any) -> dict[int, str]:
    """Return how to cut blocks that would be too big with the last dimension whole.

    A thousand classes of a hundred epochs do not go into one.
    """
    block = math.prod(array.chunksize[:-1]) * array.shape[-1] * array.dtype.itemsize
    return {0: "auto"} if block > _BLOCK_BYTES and array.ndim > 1 else {}


def _plans(parts: Mapping[int, Indexer], chunks: Sequence[int]) -> list[list[tuple[int, Indexer]]]:
    """Return for each block which parts, by place, have entries in it, and where in it."""
    stops = np.cumsum(chunks)
    every = np.arange(stops[-1] if len(stops) else 0)
    plans: list[list[tuple[int, Indexer]]] = [[] for _ in chunks]
    for place, part in enumerate(parts.values()):
        at = every[part]
        if not len(at):
            continue
        first, last = np.searchsorted(stops, [at[0], at[-1]], side="right")
        for block in range(first, last + 1):
            start = stops[block] - chunks[block]
            inside = at[np.searchsorted(at, start) : np.searchsorted(at, stops[block])]
            if len(inside):
                plans[block].append((place, _as_slice(inside - start)))
    return plans


def _as_slice(at: NDArray[np.int64]) -> Indexer:
    """Return increasing indices as a slice where they have no gap: it copies nothing."""
    first, last = int(at[0]), int(at[-1])
    return slice(first, last + 1) if last - first + 1 == len(at) else at


def merge_over(
    n: xr.DataArray,
    mean: xr.DataArray,
    std: xr.DataArray,
    parts: Mapping[int, Indexer],
    pooled: str | None = None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return mean and standard deviation over the windows of each epoch.

    Parameters
    ----------
    n, mean, std : DataArray, dims (..., window)
        Finite elements and their moments, of each window.
    parts : dict of epoch to indices along ``window``
    pooled : str, optional
        A further dimension to merge over.

    Returns
    -------
    mean, std : DataArray, dims (..., epoch), float64, lazy
    """
    core = [*([pooled] if pooled else []), "window"]
    selections = list(parts.values())

    def merged(*arrays: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lead = arrays[0].ndim - len(core)
        found = [
            merge_moments(*(a[..., part].reshape(*a.shape[:lead], -1) for a in arrays))[1:]
            for part in selections
        ]
        means, stds = zip(*found, strict=True)
        return np.stack(means, axis=-1), np.stack(stds, axis=-1)

    epoch = np.fromiter(parts, dtype=np.int64, count=len(parts))
    whole = dict.fromkeys(core, -1)
    means, stds = parallel(
        merged,
        *(lazy(a).chunk(whole) for a in (n, mean, std)),
        core=[core] * 3,
        out=[["epoch"]] * 2,
        sizes={"epoch": len(epoch)},
    )
    return means.assign_coords(epoch=epoch), stds.assign_coords(epoch=epoch)


def joined_bins(count: xr.DataArray, below: xr.DataArray, above: xr.DataArray) -> xr.DataArray:
    """Return counts with under- and overflow as outermost bins, dim ``cell``."""

    def join(c: NDArray[Any], u: NDArray[Any], o: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([u[..., None], c, o[..., None]], axis=-1)

    joined: xr.DataArray = parallel(
        join,
        count.chunk({"bin": -1}),
        below,
        above,
        core=[["bin"], [], []],
        out=[["cell"]],
        sizes={"cell": count.sizes["bin"] + 2},
        dtypes=[np.dtype(np.uint64)],
    )
    return joined


def parallel(
    function: Callable[..., Any],
    *arrays: xr.DataArray,
    core: Sequence[Sequence[Hashable]],
    out: Sequence[Sequence[Hashable]] = ((),),
    sizes: Mapping[Hashable, int] | None = None,
    dtypes: Sequence[np.dtype[Any]] | None = None,
    vectorize: bool = False,
) -> Any:
    """Return what a NumPy kernel makes of the arrays, block by block, lazily.

    `core` names the dimensions that the kernel sees last in each array, `out` those
    it returns last; dtypes are float64 unless told.
    """
    return xr.apply_ufunc(
        function,
        *arrays,
        input_core_dims=list(core),
        output_core_dims=list(out),
        vectorize=vectorize,
        dask="parallelized",
        output_dtypes=list(dtypes or [np.dtype(np.float64)] * len(out)),
        dask_gufunc_kwargs={"output_sizes": dict(sizes or {})},
    )


def by_phase(parts: Mapping[str, xr.Dataset], fill: Mapping[str, Any]) -> xr.Dataset:
    """Return datasets of phases as one, epochs joined, what is missing filled.

    Parameters
    ----------
    parts : dict of phase to Dataset with dim ``epoch``
    fill : dict of variable to the value of what a phase does not have; NaN otherwise
    """
    joined = xr.concat(
        list(parts.values()),
        dim=xr.Variable("phase", np.array(list(parts), dtype=str)),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop",
        fill_value=dict(fill),
    )
    order = np.argsort(joined["epoch"].values, kind="stable")
    return joined.isel(epoch=order)


def described(
    dataset: xr.Dataset, table: Mapping[str, tuple[str, str, str]], **attributes: Any
) -> xr.Dataset:
    """Return the dataset with long names, units and references, in the table's order.

    Parameters
    ----------
    table : dict of variable to (long_name, units, references); "" for no reference
    """
    found = dataset[[name for name in table if name in dataset]]
    for name, (long_name, units, references) in table.items():
        if name in found:
            found[name].attrs = {"long_name": long_name, "units": units}
            if references:
                found[name].attrs["references"] = references
    return found.assign_attrs(attributes)


def _with_epochs(
    array: xr.DataArray, dim: str, parts: Mapping[int, Indexer], data: Any
) -> xr.DataArray:
    dims = (*(d for d in array.dims if d != dim), "epoch")
    coords = {name: c for name, c in array.coords.items() if dim not in c.dims}
    epoch = np.fromiter(parts, dtype=np.int64, count=len(parts))
    return xr.DataArray(data, dims=dims, coords={**coords, "epoch": epoch})
