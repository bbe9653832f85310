"""A run of several processes: one run a rank, merged when it is opened.

Each rank records by itself and knows nothing of the others, so everything that
joins them is here: what is missing is said, and the rest still opens. May
import xarray and dask.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from actrace.errors import (
    ActraceWarning,
    DamagedRunError,
    NotARunError,
    RankMismatchError,
)
from actrace.store.merging.alignment import Alignment, align_batches, align_windows
from actrace.store.merging.batches import exact_death, merge_batches
from actrace.store.merging.united_rows import UnitedRows, unite_rows, unite_units, with_rows
from actrace.store.merging.windows import merge_windows
from actrace.store.merging.words import joint_status, world_size_of
from actrace.store.paths import rank_path
from actrace.store.run import Run
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP

__all__ = ["merge_runs", "open_ranks"]


def open_ranks(place: str, openers: Mapping[int, Callable[[], Run]]) -> Run:
    """Return the runs of several ranks as one.

    Parameters
    ----------
    place : str
        Where ``rank-0.zarr``, ``rank-1.zarr``, ... are, for messages.
    openers : mapping of int to callable
        Rank -> what opens its run.

    Raises
    ------
    DamagedRunError, NotARunError, NewerSchemaError
        Of the first rank, where none can be opened; a newer schema always.
    RankMismatchError
        They cannot be merged.
    """
    opened: dict[int, Run] = {}
    problems: dict[int, Exception] = {}
    for rank, open_one in openers.items():
        try:
            opened[rank] = open_one()
        except (DamagedRunError, NotARunError) as error:
            problems[rank] = error
    if not opened:
        raise next(iter(problems.values()))
    world = world_size_of({rank: run.attrs for rank, run in opened.items()})
    reasons = {rank: f"rank {rank} ({error})" for rank, error in problems.items()}
    for rank in range(world):
        if rank not in opened and rank not in reasons:
            reasons[rank] = f"rank {rank} (nothing is at {f'{place}/{rank_path(Path(), rank)}'!r})"
    for rank in [rank for rank in opened if rank >= world]:
        opened.pop(rank).close()
        reasons[rank] = f"rank {rank} (left by an earlier training of more ranks)"
    if reasons:
        shown = [reasons[rank] for rank in sorted(reasons)]
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        warnings.warn(
            f"run {place!r} is shown without {', '.join(shown[:5])}{more}; "
            f"the other {len(opened)} of {world} ranks are merged",
            ActraceWarning,
            stacklevel=3,
        )
    run = merge_runs(opened)
    run.attrs["world_size"] = world
    run.attrs["missing_ranks"] = sorted(set(range(world)) - set(opened))
    return run


def merge_runs(runs: Mapping[int, Run]) -> Run:
    """Return one run of several ranks' runs, lazily.

    Parameters
    ----------
    runs : mapping of int to Run
        Rank -> its run, in the order of ranks.

    Raises
    ------
    RankMismatchError
        They have other bins or another threshold of activity.
    """
    _check_alike(runs)
    some = list(runs.values())
    skipped: dict[str, str] = {}
    for run in reversed(some):
        skipped |= run.attrs.get("skipped") or {}
    layers = unite_rows([run.dataset["layer"].to_numpy() for run in some])
    units = unite_units(layers, [run.dataset["layer_units"].to_numpy() for run in some])
    root = _root(some, layers, units[0])
    phases = dict.fromkeys(phase for run in some for phase in run.phases)
    children = {}
    for phase in phases:
        having = {at: run.children[phase] for at, run in enumerate(some) if phase in run.phases}
        children[phase] = _phase(having, layers, units[1], root, skipped)
    root.attrs = _attributes(runs, skipped)
    lacking = {
        str(rank): [str(name) for name in layers.names[at < 0][:20]]
        for rank, run, at in zip(runs, some, layers.at, strict=True)
        if run.sizes.get("layer") and np.any(at < 0)
    }
    if lacking:
        root.attrs["missing_layers"] = lacking
    merged = Run(dataset=root, children=children)
    merged.set_ranks(tuple(some))

    def close() -> None:
        for run in some:
            run.close()

    merged.set_close(close)
    return merged


def _check_alike(runs: Mapping[int, Run]) -> None:
    first, *others = runs
    for rank in others:
        for name in ("axis", "active_threshold"):
            here, there = (runs[r].attrs.get(name) for r in (first, rank))
            if here != there:
                raise RankMismatchError(
                    f"the ranks of this run cannot be merged: rank {first} was recorded with "
                    f"{name} {here!r}, rank {rank} with {there!r}; open them one by one, as "
                    f"actrace.open({str(runs[rank].directory)!r})"
                )


def _attributes(runs: Mapping[int, Run], skipped: Mapping[str, str]) -> dict[str, Any]:
    some = list(runs.values())
    own = ("rank", "summary")
    found = {str(name): value for name, value in some[0].attrs.items() if name not in own}
    lost: dict[str, int] = {}
    for run in some:
        for phase, n in run.lost_batches.items():
            lost[phase] = lost.get(phase, 0) + n
    started, ended = ([str(run.attrs.get(n) or "") for run in some] for n in ("started", "ended"))
    return {
        **found,
        "status": joint_status([run.status for run in some]),
        "started": min(started) or None,
        "ended": max(ended) if all(ended) else None,
        "output_layer": next(filter(None, (run.attrs.get("output_layer") for run in some)), None),
        "phases": list(dict.fromkeys(phase for run in some for phase in run.phases)),
        "lost_batches": lost,
        "skipped": dict(skipped),
        "waited_seconds": max(float(run.attrs.get("waited_seconds") or 0.0) for run in some),
        "world_size": max(runs) + 1,
        "missing_ranks": [],
    }


def _root(runs: Sequence[Run], layers: UnitedRows, units: np.ndarray[Any, Any]) -> xr.Dataset:
    """Return the root's variables; what a rank does not know is taken from one that does."""
    base = runs[0].to_dataset()
    order = [run.dataset["layer_order"].to_numpy() for run in runs]
    coords = {name: v.variable for name, v in base.coords.items() if "layer" not in v.dims}
    # A rank in which a layer was never called knows no shape of it.
    called = UnitedRows(
        layers.names,
        tuple(
            np.where((at >= 0) & (np.append(own, -1)[at] >= 0), at, -1)
            for at, own in zip(layers.at, order, strict=True)
        ),
    )
    never = np.all([at < 0 for at in called.at], axis=0)
    for name in ("layer_type", "layer_shape", "layer_order"):
        values = [run.dataset[name].to_numpy() for run in runs]
        found = np.where(never, layers.first(values), called.first(values))
        coords[name] = xr.Variable("layer", found, base[name].attrs)
    coords["layer_units"] = xr.Variable("layer", units.astype(np.int32), base["layer_units"].attrs)
    coords["layer"] = xr.Variable("layer", layers.names, base["layer"].attrs)
    rest = {n: v.variable for n, v in base.data_vars.items() if "layer" not in v.dims}
    return xr.Dataset(rest, coords)


def _phase(
    nodes: Mapping[int, xr.DataTree],
    layers: UnitedRows,
    units: Sequence[np.ndarray[Any, Any]],
    root: xr.Dataset,
    skipped: dict[str, str],
) -> xr.DataTree:
    """Return one phase of the ranks that have it; `nodes` has their places among all."""
    groups = [
        with_rows(node.to_dataset(inherit=False), "layer", layers.at[place])
        for place, node in nodes.items()
    ]
    alignment = align_batches(
        [group["step"].to_numpy() for group in groups],
        [group["epoch"].to_numpy() for group in groups],
    )
    shapes = [str(shape) for shape in root["layer_shape"].to_numpy()]
    flat = xr.Variable("layer", np.array(["x" not in shape for shape in shapes], bool))
    merged = merge_batches(groups, alignment, flat=flat)
    for name in ("last_step", "last_epoch"):
        known = [g.attrs[name] for g in groups if isinstance(g.attrs.get(name), int)]
        merged.attrs[name] = max(known, default=None)
    at = dict(zip(nodes, alignment.at, strict=True))
    children: dict[str, xr.Dataset] = {}
    for child in dict.fromkeys(str(name) for node in nodes.values() for name in node.children):
        own = {
            place: node.children[child].to_dataset(inherit=False)
            for place, node in nodes.items()
            if child in node.children
        }
        if child == OUTPUT_GROUP:
            own = _of_one_output(own, skipped)
        mine = Alignment(tuple(at[place] for place in own), alignment.step, alignment.epoch)
        if child == UNIT_GROUP:
            children[child] = _units(own, mine, units, root["layer_units"].to_numpy())
        elif child == OUTPUT_GROUP:
            children[child] = _windows(list(own.values()), mine)
        elif "elements" in next(iter(own.values())):
            children[child] = _gradient(own, mine, layers)
    merged = exact_death(merged, children.get(UNIT_GROUP), alignment)
    return xr.DataTree(
        dataset=merged, children={name: xr.DataTree(ds) for name, ds in children.items()}
    )


def _windows(groups: Sequence[xr.Dataset], alignment: Alignment) -> xr.Dataset:
    plan = align_windows(
        alignment,
        [group["first_batch"].to_numpy() for group in groups],
        [group["batches"].to_numpy() for group in groups],
    )
    return merge_windows(groups, alignment, plan)


def _units(
    groups: Mapping[int, xr.Dataset],
    alignment: Alignment,
    units: Sequence[np.ndarray[Any, Any]],
    number: np.ndarray[Any, Any],
) -> xr.Dataset:
    """Return the unit group, its units as the united layers have them."""
    found = _windows(
        [with_rows(group, "unit", units[place]) for place, group in groups.items()], alignment
    )
    layer = np.repeat(np.arange(len(number)), number)
    channel = np.arange(len(layer)) - np.repeat(np.cumsum(number) - number, number)
    like = next(iter(groups.values()))
    return found.assign(
        {
            name: xr.Variable("unit", values.astype(np.int32), like[name].attrs)
            for name, values in (("unit_layer", layer), ("unit_channel", channel))
        }
    )


def _of_one_output(
    groups: Mapping[int, xr.Dataset], skipped: dict[str, str]
) -> dict[int, xr.Dataset]:
    """Return the output groups that are about the same as the first; say which are not."""

    def about(group: xr.Dataset) -> tuple[Any, ...]:
        names = [
            group[n].to_numpy().tolist() for n in ("output_unit", "target_class") if n in group
        ]
        return (group.attrs.get("task"), *names)

    first = about(next(iter(groups.values())))
    for place, group in groups.items():
        if about(group) != first:
            skipped[f"output of rank {place}"] = "another task, other classes or other units"
    return {place: group for place, group in groups.items() if about(group) == first}


def _gradient(
    groups: Mapping[int, xr.Dataset], alignment: Alignment, layers: UnitedRows
) -> xr.Dataset:
    """Return a group of gradients, by parameter or by layer."""
    some = list(groups.values())
    row = str(some[0]["elements"].dims[0])
    rows = layers.pick(list(groups))
    standing = {}
    if row != "layer":
        rows = unite_rows([group[row].to_numpy() for group in some])
        names = [n for n, v in some[0].variables.items() if v.dims == (row,)]
        for name in names:
            values = rows.first([group[name].to_numpy() for group in some])
            standing[str(name)] = xr.Variable(row, values, some[0][name].attrs)
    bins = [n for n, v in some[0].variables.items() if v.dims and v.dims[-1] not in (row, "batch")]
    for name in bins:
        if not all(np.array_equal(group[name], some[0][name]) for group in some):
            raise RankMismatchError(
                f"the ranks of this run cannot be merged: {name!r} differs between them; open "
                "them one by one"
            )
    sharded = any(group.attrs.get("gradients") == "sharded" for group in some)
    kind = "sharded" if sharded else "whole"
    if row == "layer":
        # What flows back into a layer's output is each rank's own, as the output is.
        kind = "layers"
    merged = merge_batches(
        [with_rows(group, row, at) for group, at in zip(some, rows.at, strict=True)],
        alignment,
        kind=kind,
    )
    coords = {name: standing.pop(name) for name in list(standing) if name in some[0].coords}
    return merged.assign(standing).assign_coords(coords)
