"""How much of each layer is active and how much of it is dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
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
    by: str = "batch",
) -> xr.Dataset:
    """Return activation and death rates, by layer and batch or epoch.

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
        By batch one phase, by default ``train`` (the first where there is none):
        phases have different batches. By epoch all that recorded units.
    by : {"batch", "epoch"}, default "batch"
        The window in which a unit without activity is dead. By batch as the recorder
        stored it; by epoch exact over all batches of the epoch.

    Returns
    -------
    Dataset, lazy
        Dims (layer, batch) with ``step`` and ``epoch`` beside ``batch`` and the phase
        as a scalar coordinate; or dims (phase, layer, epoch). activation_rate and
        death_rate, NaN for layers without units; lowest_activation_rate and
        highest_death_rate over the layers, with the name of the layer, "" where none
        has a rate.

    Raises
    ------
    LayerNotFoundError, PhaseNotFoundError
        Not in this run; the message lists what is.
    NotRecordedError
        By epoch, and a phase has no units recorded.
    ValueError
        Another `by`, or several phases by batch.

    Examples
    --------
    >>> rates(run)["activation_rate"].sizes
    Frozen({'layer': 3, 'batch': 24})
    >>> rates(run, by="epoch")["death_rate"].dims
    ('phase', 'layer', 'epoch')
    """
    if by not in ("batch", "epoch"):
        raise ValueError(f"by must be 'batch' or 'epoch', got {by!r}")
    at = select.select_layers(run, layers)
    found = _by_batch(run, phases) if by == "batch" else _by_epoch(run, phases)
    return described(_with_extremes(found.isel(layer=at)), _table(by), by=by)


def _by_batch(run: xr.DataTree, phases: str | Iterable[str] | None) -> xr.Dataset:
    names = select.select_phases(run, phases)
    if phases is None:
        names = names[:1]
    if len(names) != 1:
        raise ValueError(
            f"by batch, rates are those of one phase, got {', '.join(names) or 'none'}; "
            "ask for one phase at a time, or by='epoch'"
        )
    node = run.children[names[0]].to_dataset()
    coords = {name: ("batch", node[name].to_numpy()) for name in ("step", "epoch")}
    chosen = {name: lazy(node[name]) for name in ("activation_rate", "death_rate")}
    return xr.Dataset(chosen).assign_coords({**coords, "phase": names[0]})


def _by_epoch(run: xr.DataTree, phases: str | Iterable[str] | None) -> xr.Dataset:
    names = select.select_phases(run, phases)
    if phases is None:
        names = tuple(name for name in names if UNIT_GROUP in run.children[name].children)
    if not names:
        raise NotRecordedError(
            "this run recorded no units, so a death over an epoch cannot be told; "
            "ask by='batch', or for layers with channels or neurons"
        )
    layers = run.dataset["layer"]
    return by_phase({name: _epochs_of(run, name, layers) for name in names}, {})


def _epochs_of(run: xr.DataTree, phase: str, layers: xr.DataArray) -> xr.Dataset:
    parts = select.window_indices(run, phase, UNIT_GROUP, window="epoch")
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


def _with_extremes(found: xr.Dataset) -> xr.Dataset:
    names = np.array([str(name) for name in found["layer"].to_numpy()], dtype=str)
    kind = np.dtype(f"<U{max([1, *map(len, names)])}")
    whole = found.chunk({"layer": -1})
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
    known = ~np.isnan(values)
    any_known = known.any(axis=-1)
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], "", kind)
    at = np.where(known, sign * values, np.inf).argmin(axis=-1)
    rate = np.take_along_axis(values, at[..., None], axis=-1)[..., 0].astype(np.float64)
    return rate, np.where(any_known, names[at], "").astype(kind)
