"""Groups of several ranks that grow by window, as one: output and unit.

May import xarray and dask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.store.merging import rules
from actrace.store.merging.alignment import Alignment, WindowPlan
from actrace.store.merging.blocks import apply_rule, as_dataset, as_lazy, laid_out

__all__ = ["merge_windows"]


def merge_windows(
    groups: Sequence[xr.Dataset], alignment: Alignment, plan: WindowPlan
) -> xr.Dataset:
    """Return the ranks' groups as one, lazily.

    Counts and sums add up. Means and standard deviations merge by the elements
    that they are of; those of the class matrix by the samples of the class.

    Parameters
    ----------
    groups : sequence of Dataset, dims (..., window)
        One a rank, with the same units and classes.
    alignment : Alignment
        Of the ranks' batches.
    plan : WindowPlan
        Of the ranks' windows.
    """
    first = groups[0]
    found = {str(name): v for name, v in first.variables.items() if "window" not in v.dims}
    windows = {
        "first_batch": plan.first_batch,
        "batches": plan.batches,
        "epoch": alignment.epoch[plan.first_batch],
    }
    for name, values in windows.items():
        like = first[name].variable
        found[name] = xr.Variable("window", values.astype(like.dtype), like.attrs)
    for name in map(str, first.variables):
        if name in found or any(name not in group.variables for group in groups):
            continue
        mean, std, weight = _moments_of(name)
        if not mean:
            parts = [
                _coarse(rules.sum_runs, [group[name].variable], 0, *where)
                for group, where in zip(groups, _where(plan), strict=True)
            ]
            dtype = "float64" if parts[0].dtype.kind == "f" else "uint64"
            found[name] = apply_rule(
                lambda values, dtype=dtype: rules.total(values, dtype), parts, dtype=dtype
            )
            continue
        n, means, stds = [], [], []
        for group, where in zip(groups, _where(plan), strict=True):
            arrays = [weight(group), group[mean].variable, group[std].variable]
            n.append(_coarse(rules.sum_runs, arrays[:1], 0, *where))
            means.append(_coarse(_pooled_mean, arrays, 1, *where))
            stds.append(_coarse(_pooled_std, arrays, 2, *where))
        at = 0 if name == mean else 1
        merged = apply_rule(lambda *a, at=at: rules.merge_moments(*a)[at], n, means, stds)
        found[name] = xr.Variable(merged.dims, merged.data, first[name].attrs)
    return as_dataset(found, first)


def _where(plan: WindowPlan) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    return list(zip(plan.windows, plan.lengths, strict=True))


def _pooled_mean(
    n: NDArray[Any], mean: NDArray[Any], std: NDArray[Any], lengths: NDArray[np.int64]
) -> NDArray[Any]:
    return rules.pooled_moments(n, mean, std, lengths)[0]


def _pooled_std(
    n: NDArray[Any], mean: NDArray[Any], std: NDArray[Any], lengths: NDArray[np.int64]
) -> NDArray[Any]:
    return rules.pooled_moments(n, mean, std, lengths)[1]


def _moments_of(name: str) -> tuple[str, str, Callable[[xr.Dataset], xr.Variable]]:
    """Return the names of a mean and its std, and their weights; "" for a sum."""
    head, _, suffix = name.partition("_")

    def finite(group: xr.Dataset) -> xr.Variable:
        elements, odd = (group[f"{n}_{suffix}"].variable for n in ("elements", "nonfinite"))
        return elements.astype(np.int64) - odd.astype(np.int64)

    def samples(group: xr.Dataset) -> xr.Variable:
        # A unit whose outputs for the class were all NaN has no mean to take part.
        mean = group["output_mean"].variable
        known: xr.Variable = mean.notnull()
        return known * group["samples"].variable.astype(np.int64)

    if name in ("output_mean", "output_std"):
        return "output_mean", "output_std", samples
    if head in ("mean", "std"):
        return f"mean_{suffix}", f"std_{suffix}", finite
    return "", "", finite


def _coarse(
    rule: Callable[..., NDArray[Any]],
    arrays: Sequence[xr.Variable],
    same: int,
    windows: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> xr.Variable:
    """Return a rank's windows, summed into the merged ones.

    Parameters
    ----------
    rule : callable
        Takes blocks of `arrays`, and ``lengths`` of the runs along their last axis.
    same : int
        The array that is the result where each run is one window.
    windows, lengths
        Of the rank, as in `WindowPlan`.
    """
    there = np.flatnonzero(lengths > 0)
    at = np.full(len(lengths), -1, np.int64)
    at[there] = np.arange(len(there))
    like = arrays[same]
    if len(windows) == len(there):
        return laid_out(laid_out(like, "window", windows), "window", at)
    data: list[Any] = [as_lazy(laid_out(array, "window", windows)) for array in arrays]
    parts = _blocks(lengths[there], max(data[same].chunks[-1]))
    sizes = tuple(int(part.sum()) for part in parts)
    data = [array.rechunk({array.ndim - 1: sizes}) for array in data]

    def run(*blocks: NDArray[Any], block_id: tuple[int, ...]) -> NDArray[Any]:
        return rule(*blocks, lengths=parts[block_id[-1]])

    dtype = np.dtype("uint64") if like.dtype.kind == "u" else like.dtype
    found = da.map_blocks(  # type: ignore[no-untyped-call]
        run,
        *data,
        dtype=dtype,
        chunks=(*data[same].chunks[:-1], tuple(map(len, parts))),
        meta=np.empty((0,) * like.ndim, dtype),
    )
    return laid_out(xr.Variable(like.dims, found, like.attrs), "window", at)


def _blocks(lengths: NDArray[np.int64], wanted: int) -> list[NDArray[np.int64]]:
    """Return runs in blocks of about `wanted` windows, none cut in two."""
    ends = np.cumsum(lengths)
    numbers = (ends - 1) // max(1, wanted)
    return np.split(lengths, np.flatnonzero(np.diff(numbers)) + 1)
