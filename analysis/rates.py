"""How much of each layer is active and how much of it is dead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.design import silent_by_design
from actrace.analysis.kernels.units import unit_rates
from actrace.analysis.reduce import by_phase, described, lazy, parallel, sum_over
from actrace.errors import NotRecordedError
from actrace.store.schema import UNIT_GROUP

__all__ = ["rates"]

_MONITORCH: Final = "monitorch, OutputActivation"


def _table(window: str) -> dict[str, tuple[str, str, str]]:
    return {
        "activation_rate": ("mean over units of the share of active elements", "1", _MONITORCH),
        "death_rate": (f"share of units with no active element in the {window}", "1", _MONITORCH),
        "lowest_activation_rate": ("lowest activation_rate of the layers", "1", _MONITORCH),
        "lowest_activation_layer": ("layer of lowest_activation_rate", "", ""),
        "highest_death_rate": ("highest death_rate of the layers", "1", _MONITORCH),
        "highest_death_layer": ("layer of highest_death_rate", "", ""),
    }


def rates(
    run: xr.DataTree,
    *,
    layers: str | Iterable[str] | None = None,
    phases: str | Iterable[str] | None = None,
    by: str | int = "batch",
    by_design: bool = False,
) -> xr.Dataset:
    """Return activation and death rates, by layer and batch, epoch or any window.

    An element is active if its size is above the run's ``active_threshold``; a unit is
    a channel or neuron, dead in a batch or epoch in which none of its elements is
    active.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.
    layers : str or iterable of str, optional
        Names or patterns; all when left out.
    phases : str or iterable of str, optional
        By epoch all that recorded units. Otherwise one phase, by default ``train`` (the
        first where there is none): phases have different batches.
    by : "batch", "epoch" or int, default "batch"
        The window in which a unit without activity is dead. By batch as the recorder
        stored it; by epoch, or in windows of so many batches, exact over all batches.
    by_design : bool, default False
        Layers that are silent by design (dropout, softmax) count in the extremes too.

    Returns
    -------
    Dataset, lazy
        Dims (layer, batch) with ``step`` and ``epoch`` beside ``batch`` and the phase
        as a scalar coordinate; dims (layer, window) with ``first_batch`` besides; or
        dims (phase, layer, epoch). Coordinate ``by_design`` (layer). activation_rate and
        death_rate, NaN for layers without units; lowest_activation_rate and
        highest_death_rate over the layers, with the name of the layer, "" where none
        has a rate.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        By epoch or window, and a phase has no units recorded; a run without any phase.
    ValueError
        Another `by`, several phases by batch, or windows of fewer batches than those
        that units were recorded in.

    Examples
    --------
    >>> rates(run)["activation_rate"].sizes
    Frozen({'layer': 3, 'batch': 24})
    >>> rates(run, by="epoch")["death_rate"].dims
    ('phase', 'layer', 'epoch')
    """
    at = select.select_layers(run, layers)
    if by == "batch":
        found = _by_batch(run, phases)
    elif by == "epoch":
        found = _by_epoch(run, phases)
    elif isinstance(by, str):
        raise ValueError(f"by must be 'batch', 'epoch' or a number of batches, got {by!r}")
    else:
        found = _by_window(run, phases, by)
    found = found.assign_coords(by_design=("layer", silent_by_design(run))).isel(layer=at)
    window = by if isinstance(by, str) else f"window of {by} batches"
    return described(_with_extremes(found, by_design=by_design), _table(window), by=by)


def _one_phase(run: xr.DataTree, phases: str | Iterable[str] | None) -> str:
    names = select.select_phases(run, phases)
    if phases is None:
        names = names[:1]
        if not names:
            raise NotRecordedError("this run recorded no batch yet, so it has no rates")
    if len(names) != 1:
        raise ValueError(
            f"by batch, rates are those of one phase, got {', '.join(names) or 'none'}; "
            "ask for one phase at a time, or by='epoch'"
        )
    return names[0]


def _by_window(run: xr.DataTree, phases: str | Iterable[str] | None, by: int) -> xr.Dataset:
    name = _one_phase(run, phases)
    parts = select.unit_parts(run, name, by)
    found = _rates_of(run, name, run.dataset["layer"], parts)
    node, group = run.children[name], run.children[name].children[UNIT_GROUP]
    first = np.array([group["first_batch"].to_numpy()[at[0]] for at in parts.values()], np.int64)
    coords = {what: ("window", node[what].to_numpy()[first]) for what in ("step", "epoch")}
    found = found.rename_dims(epoch="window").drop_vars("epoch")
    return found.assign_coords({**coords, "first_batch": ("window", first), "phase": name})


def _by_batch(run: xr.DataTree, phases: str | Iterable[str] | None) -> xr.Dataset:
    name = _one_phase(run, phases)
    node = run.children[name].to_dataset()
    coords = {name: ("batch", node[name].to_numpy()) for name in ("step", "epoch")}
    chosen = {name: lazy(node[name]) for name in ("activation_rate", "death_rate")}
    return xr.Dataset(chosen).assign_coords({**coords, "phase": name})


def _by_epoch(run: xr.DataTree, phases: str | Iterable[str] | None) -> xr.Dataset:
    names = select.select_phases(run, phases)
    if phases is None:
        names = tuple(name for name in names if _has_units(run.children[name]))
    if not names:
        raise NotRecordedError(
            "this run recorded no units, so a death over an epoch cannot be told; "
            "ask by='batch', or for layers with channels or neurons"
        )
    layers = run.dataset["layer"]
    return by_phase({name: _epochs_of(run, name, layers) for name in names}, {})


def _has_units(phase: xr.DataTree) -> bool:
    group = phase.children.get(UNIT_GROUP)
    return group is not None and group.sizes.get("window", 0) > 0


def _epochs_of(run: xr.DataTree, phase: str, layers: xr.DataArray) -> xr.Dataset:
    return _rates_of(run, phase, layers, select.unit_parts(run, phase, "epoch"))


def _rates_of(
    run: xr.DataTree, phase: str, layers: xr.DataArray, parts: Mapping[int, NDArray[np.int64]]
) -> xr.Dataset:
    """Return both rates, dims (layer, epoch), where `epoch` numbers the parts."""
    node = run.children[phase].children[UNIT_GROUP].to_dataset()
    owner = node["unit_layer"].to_numpy()
    n_layers = layers.sizes["layer"]
    active, total = (
        sum_over(node[name], "window", parts).chunk({"unit": -1}) for name in ("active", "total")
    )
    activation, death = parallel(
        lambda some, whole: unit_rates(some, whole, owner, n_layers),
        active,
        total,
        core=[["unit"], ["unit"]],
        out=[["layer"], ["layer"]],
        sizes={"layer": n_layers},
    )
    found = xr.Dataset({"activation_rate": activation, "death_rate": death})
    return found.assign_coords(layer=layers).transpose("layer", "epoch")


def _with_extremes(found: xr.Dataset, *, by_design: bool) -> xr.Dataset:
    names = np.array([str(name) for name in found["layer"].to_numpy()], dtype=str)
    kind = np.dtype(f"<U{max([1, *map(len, names)])}")
    counts = xr.ones_like(found["by_design"]) if by_design else ~found["by_design"]
    whole = found[["activation_rate", "death_rate"]].where(counts).chunk({"layer": -1})
    for source, rate, layer, sign in (
        ("activation_rate", "lowest_activation_rate", "lowest_activation_layer", 1),
        ("death_rate", "highest_death_rate", "highest_death_layer", -1),
    ):
        found[rate], found[layer] = parallel(
            lambda values, sign=sign: _lowest(values, sign, names, kind),
            whole[source],
            core=[["layer"]],
            out=[[], []],
            dtypes=[np.dtype(np.float64), kind],
        )
    return found


def _lowest(
    values: NDArray[Any], sign: int, names: NDArray[Any], kind: np.dtype[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the lowest (sign 1) or highest (-1) rate over layers and whose it is."""
    rate = np.full(values.shape[:-1], np.nan, values.dtype)
    at = np.full(rate.shape, -1)
    # Layer by layer, each a row of memory: a million batches have few layers.
    for layer in range(values.shape[-1]):
        some = values[..., layer]
        better = (sign * some < sign * rate) | (np.isnan(rate) & ~np.isnan(some))
        rate[better], at[better] = some[better], layer
    return rate.astype(np.float64), np.append(names, "").astype(kind)[at]
