"""Groups of several ranks that grow by batch, as one: phases and their gradients.

May import xarray and dask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.store.merging import rules
from actrace.store.merging.alignment import Alignment
from actrace.store.merging.blocks import apply_rule, as_dataset, as_lazy, laid_out
from actrace.store.schema import COUNTERS, SAMPLED

__all__ = ["exact_death", "merge_batches"]

Variables: TypeAlias = Mapping[str, xr.Variable]

#: Counts that add up.
_SUMMED: Final = frozenset({"count", *(v.name for v in COUNTERS), SAMPLED.name} - {"calls"})
_LARGEST: Final = frozenset({"calls", "max", "time", "gradient_scale"})
_BOUND: Final = (
    "{where} the smallest of the ranks' rates, which is an upper bound: "
    "a unit is dead only if it is dead on every rank"
)


def merge_batches(
    groups: Sequence[xr.Dataset],
    alignment: Alignment,
    *,
    kind: str = "layers",
    flat: xr.Variable | None = None,
) -> xr.Dataset:
    """Return the ranks' groups as one, lazily.

    Parameters
    ----------
    groups : sequence of Dataset, dims (row, bin, batch)
        One a rank. Rows (layers or parameters) and bins are the same in all and
        may have any name.
    alignment : Alignment
        Of the same ranks' batches.
    kind : {"layers", "whole", "sharded"}
        What a row is to the ranks. Of a layer, or the gradient of its output,
        each saw other samples. Of a ``whole`` gradient each has all elements, and
        the first rank that has the batch is taken. Of a ``sharded`` one each has
        a piece. A norm is the mean over samples in a group that has ``samples``,
        and that of the whole gradient in one that has not.
    flat : Variable, dims (row), bool, optional
        Layers whose samples are rows of their output's only dimension: their
        norms are weighted with elements, others with the batch's samples.
    """
    ranks: list[Variables] = [
        {
            str(name): laid_out(variable, "batch", at) if "batch" in variable.dims else variable
            for name, variable in group.variables.items()
        }
        for group, at in zip(groups, alignment.at, strict=True)
    ]
    names = dict.fromkeys(name for rank in ranks for name in rank)
    found: dict[str, xr.Variable] = {}
    if kind != "whole":
        found = _moments(ranks)
    for name in names:
        mine = [(rank, at) for rank, at in zip(ranks, alignment.at, strict=True) if name in rank]
        parts = [rank[name] for rank, _ in mine]
        if "batch" not in parts[0].dims:
            found[name] = parts[0]
        elif kind == "whole":
            there = [xr.Variable("batch", at >= 0) for _, at in mine]
            found[name] = apply_rule(rules.first_held, there, parts)
        elif name not in found:
            found[name] = _one(name, [rank for rank, _ in mine], parts, kind, flat)
    if "step" in found:
        for name, values in (("step", alignment.step), ("epoch", alignment.epoch)):
            like = groups[0][name].variable
            found[name] = xr.Variable("batch", values.astype(like.dtype), like.attrs)
        about = {"long_name": "ranks that have the batch", "units": "1"}
        found["ranks"] = xr.Variable("batch", alignment.ranks, about)
    order = [name for name in names if name in found]
    return as_dataset({name: found[name] for name in [*order, *(found.keys() - names)]}, groups[0])


def _moments(ranks: Sequence[Variables]) -> dict[str, xr.Variable]:
    """Return mean and std, merged by the ranks' finite elements."""
    finite = [
        _integers(rank["elements"])
        - sum(_integers(rank[name]) for name in ("nan", "posinf", "neginf"))
        for rank in ranks
    ]
    given = (finite, [rank["mean"] for rank in ranks], [rank["std"] for rank in ranks])
    return {
        "mean": apply_rule(lambda *a: rules.merge_moments(*a)[0], *given),
        "std": apply_rule(lambda *a: rules.merge_moments(*a)[1], *given),
    }


def _one(
    name: str,
    ranks: Sequence[Variables],
    parts: Sequence[xr.Variable],
    kind: str,
    flat: xr.Variable | None,
) -> xr.Variable:
    """Return one variable of several ranks, by the rule that its name has."""
    if name in _SUMMED:
        return apply_rule(rules.total, parts, dtype="uint64")
    if name == "samples":
        return apply_rule(lambda values: rules.total(values, "int64"), parts)
    if name == "min" or (name == "death_rate" and kind == "layers"):
        return apply_rule(rules.smallest, parts)
    if name in _LARGEST:
        return apply_rule(rules.largest, parts)
    if name == "norm" and "samples" not in ranks[0]:
        return apply_rule(rules.root_of_squares, parts)
    weights = [xr.ones_like(part) for part in parts]
    if name == "norm":
        weights = [_samples(rank, flat) for rank in ranks]
    elif name in ("activation_rate", "death_rate"):
        weights = [rank["elements"] for rank in ranks]
    elif name == "loss":
        weights = [rank["samples"] for rank in ranks]
    return apply_rule(rules.weighted_mean, weights, parts)


def _samples(rank: Variables, flat: xr.Variable | None) -> xr.Variable:
    """Return what the mean norm of a layer is the mean over, (row, batch)."""
    elements = _integers(rank["elements"])
    if flat is None:
        return elements
    called = _integers(rank["calls"]) * rank["samples"] * (elements > 0)
    return elements * flat + called * ~flat


def _integers(variable: xr.Variable) -> xr.Variable:
    return variable.astype(np.int64)


def exact_death(phase: xr.Dataset, unit: xr.Dataset | None, alignment: Alignment) -> xr.Dataset:
    """Return the merged phase with `death_rate` exact where units tell it.

    They do in batches that are a window of their own, for layers all of whose
    elements went into the unit group. Elsewhere the smallest of the ranks' rates
    stays, and the variable's ``comment`` says in how many batches.

    Parameters
    ----------
    phase, unit : Dataset
        The merged groups.
    alignment : Alignment
        Of the ranks' batches.
    """
    bounded = alignment.ranks > 1
    rate = phase["death_rate"].variable
    told = 0
    if unit is not None and unit.sizes.get("window", 0) and unit.sizes["unit"]:
        single = np.flatnonzero(unit["batches"].to_numpy() == 1)
        own = np.full(len(bounded), -1, np.int64)
        own[unit["first_batch"].to_numpy()[single]] = single
        own[~bounded] = -1
        bounded &= own < 0
        rate = _by_units(rate, phase["elements"].variable, unit, own)
        told = len(np.unique(unit["unit_layer"].to_numpy()))
    n = int(bounded.sum())
    comment = "exact"
    if n:
        comment = _BOUND.format(where=f"in {n} of {len(bounded)} batches")
    elif told < rate.shape[0] and (alignment.ranks > 1).any():
        comment = _BOUND.format(where="exact; for layers without recorded units")
    found = xr.Variable(rate.dims, rate.data, {**rate.attrs, "comment": comment})
    return phase.assign({"death_rate": found})


def _by_units(
    rate: xr.Variable, elements: xr.Variable, unit: xr.Dataset, own: NDArray[np.int64]
) -> xr.Variable:
    """Return `rate`, from window `own` of the units where they hold the whole layer."""
    layers, starts = np.unique(unit["unit_layer"].to_numpy(), return_index=True)
    active, total = (laid_out(unit[name].variable, "window", own) for name in ("active", "total"))

    def told(
        bound: NDArray[Any], seen: NDArray[Any], some: NDArray[Any], each: NDArray[Any]
    ) -> NDArray[Any]:
        used = np.add.reduceat(each, starts, axis=0)
        dead = np.add.reduceat((some == 0) & (each > 0), starts, axis=0, dtype=np.int64)
        units = np.add.reduceat(each > 0, starts, axis=0, dtype=np.int64)
        found = bound.copy()
        whole = (used > 0) & (used == seen[layers])
        found[layers] = np.where(whole, dead / np.maximum(units, 1), bound[layers])
        return found

    data: list[Any] = [
        as_lazy(variable).rechunk({0: -1}) for variable in (rate, elements, active, total)
    ]
    data = [array.rechunk({1: data[0].chunks[1]}) for array in data]
    found = da.map_blocks(  # type: ignore[no-untyped-call]
        told, *data, dtype=rate.dtype, chunks=data[0].chunks, meta=np.empty((0, 0), rate.dtype)
    )
    return xr.Variable(rate.dims, found, rate.attrs)
