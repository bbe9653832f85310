"""What the twin-peaks chart draws, as one plain Dataset.

Curves of YES and NO, or of the whole layer, on a grid by epoch and phase,
with the numbers that stand in the titles. Imports NumPy and xarray; draws
nothing, so the chart is tested without pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.charts.peaks.curves import peak_curves
from actrace.analysis.kernels.peaks import peaks_of
from actrace.analysis.sampled import as_read
from actrace.analysis.select import (
    bin_edges,
    epoch_batches,
    output_layer,
    phase_names,
    select_layer,
    select_phases,
    window_indices,
)
from actrace.analysis.thinned import count_over
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import ChartError
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["MOST_EPOCHS", "choose_epochs", "twin_peaks_data"]

#: Panels of a chart unless told otherwise.
MOST_EPOCHS: Final = 12


def twin_peaks_data(
    run: xr.DataTree,
    *,
    phases: str | Iterable[str] | None = None,
    epochs: int | Iterable[int] | None = None,
    layer: str | None = None,
    shared: bool = False,
    most: int = MOST_EPOCHS,
) -> xr.Dataset:
    """Return what the twin-peaks chart draws.

    Parameters
    ----------
    run : DataTree
    phases : str or iterable of str, optional
        All if left out; of a run with targets, those that have them.
    epochs : int or iterable of int, optional
        Epochs to draw; at most `most` evenly spaced ones if left out.
    layer : str, optional
        The output layer if left out.
    shared : bool, default False
        All epochs have one grid, which leaves out what an epoch that reaches far beyond
        most has outside.
    most : int, default 12

    Returns
    -------
    Dataset, dims (epoch, phase, role, cell, edge)
        ``density`` (epoch, phase, role, cell): curves that `peak_curve` gives, the
        ones peaks are searched in, scaled so that the roles of an epoch and phase
        together hold 1; ``value`` (epoch, cell) and ``value_edge`` (epoch, edge):
        the grid, the same for all epochs unless one reaches far beyond most;
        ``mean`` and ``elements`` (epoch, phase, role), and by epoch and phase:
        ``understanding``, ``share_yes``, ``accuracy`` (labelled), ``rmse``
        (regression), ``peaks`` (unlabelled). NaN or 0 where an epoch has no such
        batch. ``attrs``: ``layer``, ``task`` (one of the schema's, or "unlabelled").

    Raises
    ------
    ChartError
        An epoch that the run does not have.
    LayerNotFoundError, PhaseNotFoundError, NotRecordedError
    """
    if not phase_names(run):
        return peak_curves({}, [], [], [], bin_edges(run)).assign_attrs(layer="", task="unlabelled")
    name = select_layer(run, layer) if layer is not None else _output_layer(run)
    asked = select_phases(run, phases)
    labelled = tuple(phase for phase in asked if _has_targets(run.children[phase], name))
    if labelled and (phases is None or len(labelled) == len(asked)):
        task = str(run[labelled[0]][OUTPUT_GROUP].attrs.get("task", "single-label"))
        found = _labelled(run, labelled, epochs, task, shared=shared, most=most)
        return found.assign_attrs(layer=name, task=task)
    found = _unlabelled(run, asked, epochs, name, shared=shared, most=most)
    return found.assign_attrs(layer=name, task="unlabelled")


def choose_epochs(
    known: Sequence[int], asked: int | Iterable[int] | None, most: int = MOST_EPOCHS
) -> list[int]:
    """Return the epochs to draw, increasing.

    Parameters
    ----------
    known : sequence of int
        Epochs of the run, increasing.
    asked : int or iterable of int, optional
        None for at most `most` evenly spaced ones, first and last among them.

    Raises
    ------
    ChartError
        An epoch that is not known.

    Examples
    --------
    >>> choose_epochs(range(100), None, most=4)
    [0, 33, 66, 99]
    """
    if asked is None:
        places = np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round())
        return [int(known[int(place)]) for place in places]
    wanted = [asked] if isinstance(asked, (int, np.integer)) else list(asked)
    for epoch in wanted:
        if epoch not in known:
            held = f"it has {_range(known)}" if len(known) else "it has none yet"
            raise ChartError(f"epoch {epoch!r} is not in this run; {held}")
    return sorted({int(epoch) for epoch in wanted})


def _range(known: Sequence[int]) -> str:
    if len(known) == known[-1] - known[0] + 1:
        return f"{known[0]} to {known[-1]}"
    return ", ".join(str(epoch) for epoch in known[:20])


def _output_layer(run: xr.DataTree) -> str:
    """Return the layer of the labelled group where there is one, else the run's own."""
    for phase in phase_names(run):
        group = run.children[phase].children.get(OUTPUT_GROUP)
        if group is not None and group.attrs.get("layer"):
            # It need not be a row: the model's output may be made by a function.
            return str(group.attrs["layer"])
    return output_layer(run)


def _has_targets(phase: xr.DataTree, layer: str) -> bool:
    group = phase.children.get(OUTPUT_GROUP)
    return (
        group is not None
        and group.sizes.get("window", 0) > 0
        and group.attrs.get("layer", layer) == layer
    )


def _labelled(
    run: xr.DataTree,
    phases: Sequence[str],
    epochs: int | Iterable[int] | None,
    task: str,
    *,
    shared: bool,
    most: int,
) -> xr.Dataset:
    windows = {phase: window_indices(run, phase, OUTPUT_GROUP) for phase in phases}
    chosen = choose_epochs(sorted({e for held in windows.values() for e in held}), epochs, most)
    node = {phase: run.children[phase][OUTPUT_GROUP].to_dataset() for phase in phases}
    roles = [str(role) for role in node[phases[0]]["role"].values]
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    numbers: dict[str, dict[tuple[int, str], float]] = {}
    means: dict[tuple[int, str, str], float] = {}
    for phase, held in windows.items():
        for epoch in chosen:
            if epoch not in held:
                continue
            part = node[phase].isel(window=held[epoch])
            count = part["count_by_unit"].sum(["output_unit", "window"])
            for role in roles:
                counts[epoch, phase, role] = count.sel(role=role).values.astype(np.uint64)
                means[epoch, phase, role] = _pooled_mean(part, role)
            if task == "regression":
                size = part["elements_by_unit"].sel(role=roles[0]).sum().values
                error = float(part["squared_error"].sum().values)
                numbers.setdefault("rmse", {})[epoch, phase] = (
                    float(np.sqrt(error / size)) if size else float("nan")
                )
    data = peak_curves(counts, chosen, phases, roles, bin_edges(run), means, shared=shared)
    if task != "regression":
        # The very numbers that twin_peaks() answers with.
        wanted = ["understanding", "share_yes", "accuracy"]
        table = twin_peaks(run, phases=phases)[wanted].reindex(epoch=chosen).compute()
        for name in wanted:
            data[name] = (
                table[name]
                .transpose("epoch", "phase")
                .drop_vars([c for c in table[name].coords if c not in ("epoch", "phase")])
            )
    return _with(data, numbers)


def _pooled_mean(part: xr.Dataset, role: str) -> float:
    """Return the mean over units and windows of one role's finite outputs."""
    mine = part[["elements_by_unit", "nonfinite_by_unit", "mean_by_unit"]].sel(role=role)
    n = mine["elements_by_unit"].values.astype(np.float64)
    n -= mine["nonfinite_by_unit"].values
    mean = mine["mean_by_unit"].values
    used = n > 0
    return float(np.average(mean[used], weights=n[used])) if used.any() else float("nan")


def _unlabelled(
    run: xr.DataTree,
    phases: Sequence[str],
    epochs: int | Iterable[int] | None,
    layer: str,
    *,
    shared: bool,
    most: int,
) -> xr.Dataset:
    parts = {phase: {part.epoch: part for part in epoch_batches(run, phase)} for phase in phases}
    chosen = choose_epochs(sorted({e for held in parts.values() for e in held}), epochs, most)
    edges = bin_edges(run)
    at = [str(name) for name in run.dataset["layer"].values].index(layer)
    counts: dict[tuple[int, str, str], NDArray[np.uint64]] = {}
    means: dict[tuple[int, str, str], float] = {}
    found: dict[tuple[int, str], float] = {}
    for phase, held in parts.items():
        whole = as_read(run, phase).isel(layer=at)
        for epoch in chosen:
            if epoch not in held:
                continue
            part = whole.isel(batch=held[epoch].indexer)
            count = count_over(run, phase, at, {epoch: held[epoch].indexer}).values[..., 0]
            counts[epoch, phase, "all"] = count
            means[epoch, phase, "all"] = _batch_mean(part)
            found[epoch, phase] = float(len(peaks_of(count, edges))) if count.any() else 0.0
    data = peak_curves(counts, chosen, phases, ["all"], edges, means, shared=shared)
    return _with(data, {"peaks": found})


def _batch_mean(part: xr.Dataset) -> float:
    n = part["elements"].values.astype(np.float64)
    for odd in ("nan", "posinf", "neginf"):
        n -= part[odd].values
    used = n > 0
    mean = part["mean"].values.astype(np.float64)
    return float(np.average(mean[used], weights=n[used])) if used.any() else float("nan")


def _with(data: xr.Dataset, numbers: Mapping[str, Mapping[tuple[int, str], float]]) -> xr.Dataset:
    for name, values in numbers.items():
        table = [
            [values.get((int(epoch), str(phase)), float("nan")) for phase in data["phase"].values]
            for epoch in data["epoch"].values
        ]
        data[name] = (
            ("epoch", "phase"),
            np.array(table, np.float64).reshape(data.sizes["epoch"], data.sizes["phase"]),
        )
    return data
