"""What the onset of overfitting is read from: the error of two phases, by epoch.

Of a classifier the cross-entropy that its outputs imply, of a regression the squared
error of its outputs; both from the recorded outputs and targets, never from the loss.
The recorded loss stands beside them as a second witness. Imports NumPy and xarray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.kernels.cross_entropy import (
    cell_values,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from actrace.analysis.null_band import (
    EpochSplit,
    quantile_by_epoch,
    split_epochs,
    stretches,
    tails,
    windows_by_epoch,
)
from actrace.analysis.reduce import (
    Indexer,
    by_phase,
    described,
    joined_bins,
    numbered,
    parallel,
    sum_over,
)
from actrace.analysis.twin_peaks import twin_peaks
from actrace.store.schema import OUTPUT_GROUP

__all__ = ["error_series", "losses", "task_of"]

_TABLE: Final = {
    "error": ("error of the outputs", "nat", "Trefethen and Weideman (2014), SIAM Review 56:385"),
    "gap": ("error of the second phase less that of the first", "nat", ""),
    "gap_null": ("gap that windows of the first phase show among themselves", "nat", ""),
    "null_windows": ("stretches of the first phase behind gap_null", "1", ""),
    "d_prime": (
        "distance of YES and NO in units of the common spread",
        "1",
        "Simpson and Fitter (1973), Psychological Bulletin 80:481",
    ),
    "loss": ("recorded loss, weighted with samples", "1", ""),
}


def task_of(run: xr.DataTree, phases: Sequence[str]) -> str | None:
    """Return the task of the phases' targets, None where one has none."""
    tasks = {
        group.attrs.get("task") if group is not None and group.sizes.get("window", 0) else None
        for group in (run.children[phase].children.get(OUTPUT_GROUP) for phase in phases)
    }
    return tasks.pop() if len(tasks) == 1 else None


def error_series(
    run: xr.DataTree,
    phases: tuple[str, str],
    task: str,
    quantile: float,
    *,
    by_class: bool = False,
) -> xr.Dataset:
    """Return the errors of two phases by epoch, with the null band of their gap.

    Parameters
    ----------
    run : DataTree
    phases : two str
        Both with targets of the task.
    task : {"single-label", "binary", "multi-label", "regression"}
    quantile : float
        Which of the gaps between the last quarter of an epoch of the first phase and
        the stretches before it is the null band.
    by_class : bool, default False
        Of the samples of each true class apart; not of a regression.

    Returns
    -------
    Dataset, lazy
        error (phase[, target_class], epoch), gap and gap_null ([target_class,] epoch) and
        null_windows (epoch); errors in nats, of a regression in activation units squared.
        Not by class also loss (phase, epoch) and, but for a regression, d_prime.
    """
    first, second = phases
    windows = {phase: select.window_indices(run, phase, OUTPUT_GROUP) for phase in phases}
    splits = split_epochs(run, *phases, OUTPUT_GROUP)
    # What the band is taken from are the same windows: each is read once for all.
    wanted, places = numbered(windows[first], tails(splits), stretches(splits))
    every = _error(run, first, task, wanted, by_class)
    mine = every.isel(epoch=places[0]).assign_coords(epoch=list(windows[first]))
    parts = {
        first: xr.Dataset({"error": mine}),
        second: xr.Dataset({"error": _error(run, second, task, windows[second], by_class)}),
    }
    if not by_class:
        for phase in phases:
            parts[phase]["loss"] = losses(run, phase)
    found = by_phase(parts, {})
    one, other = (found["error"].sel(phase=phase, drop=True) for phase in phases)
    found["gap"] = other - one
    found["gap_null"] = _null_gap(every, splits, places[1:], quantile)
    found["null_windows"] = windows_by_epoch(splits)
    if task != "regression" and not by_class:
        found["d_prime"] = twin_peaks(run, phases=phases)["d_prime"]
    table = dict(_TABLE)
    if task == "regression":
        for name in ("error", "gap", "gap_null"):
            table[name] = (table[name][0], "activation units squared", "")
    return described(found, table, phases=list(phases), null_quantile=quantile)


def losses(run: xr.DataTree, phase: str) -> xr.DataArray:
    """Return the recorded loss by epoch, over the chart's window, NaN where there is none.

    Weighted with samples. Dims (epoch), float64; computed at once.
    """
    node = run.children[phase].dataset
    loss, samples = node["loss"].to_numpy(), node["samples"].to_numpy().astype(np.float64)
    parts = select.epoch_batches(run, phase)
    means = []
    for part in parts:
        known = part.batches[~np.isnan(loss[part.batches])]
        weight = samples[known].sum()
        means.append(float(loss[known] @ samples[known] / weight) if weight > 0 else math.nan)
    return xr.DataArray(means, dims="epoch", coords={"epoch": [part.epoch for part in parts]})


def _null_gap(
    every: xr.DataArray,
    splits: Sequence[EpochSplit],
    places: Sequence[NDArray[np.int64]],
    quantile: float,
) -> xr.DataArray:
    """Return the quantile of the gaps within each epoch, dims (..., epoch).

    Parameters
    ----------
    every : DataArray, dims (..., epoch)
        The error of every part; `places` says which are the last quarters, and which the
        stretches before them.
    """
    of_tails, before = places
    if not len(before):
        nothing = every.isel(epoch=of_tails).astype(np.float64) * np.nan
        return nothing.assign_coords(epoch=[split.epoch for split in splits])
    tail = np.repeat(of_tails, [len(split.before) for split in splits])
    errors = every.drop_vars("epoch").rename(epoch="block")
    return quantile_by_epoch(
        abs(errors.isel(block=before) - errors.isel(block=tail)), splits, quantile
    )


def _error(
    run: xr.DataTree, phase: str, task: str, parts: Mapping[int, Indexer], by_class: bool
) -> xr.DataArray:
    """Return the error of a phase's outputs over the windows of each part.

    Dims (epoch), or (target_class, epoch).
    """
    node = run.children[phase].children[OUTPUT_GROUP].to_dataset()
    if task == "regression":
        return _squared_error(node, parts)
    suffix = "by_class" if by_class else "by_unit"
    names = (f"{name}_{suffix}" for name in ("count", "underflow", "overflow"))
    histogram = joined_bins(*(sum_over(node[name], "window", parts) for name in names))
    if not by_class:
        histogram = histogram.sum("output_unit")
    histogram = histogram.chunk({"cell": -1, "role": -1})
    yes, no = (histogram.sel(role=role, drop=True) for role in ("yes", "no"))
    values = cell_values(select.bin_edges(run), _layer_type(run, node.attrs.get("layer")))
    n_units = node.sizes["output_unit"]

    def kernel(p: NDArray[np.uint64], q: NDArray[np.uint64]) -> NDArray[np.float64]:
        if task == "single-label":
            return softmax_cross_entropy(p, q, values, n_units)
        return sigmoid_cross_entropy(p, q, values)

    found: xr.DataArray = parallel(kernel, yes, no, core=[["cell"], ["cell"]])
    return found


def _squared_error(node: xr.Dataset, parts: Mapping[int, Indexer]) -> xr.DataArray:
    """Return the mean squared error over units and samples, dims (epoch)."""
    squares = node["squared_error"].sum("output_unit").to_numpy()
    counted = node["elements_by_unit"].astype(np.int64) - node["nonfinite_by_unit"]
    # What is finite in both: no more than in either.
    pairs = counted.min("role").sum("output_unit").to_numpy()
    means = [
        float(squares[at].sum() / pairs[at].sum()) if pairs[at].sum() else math.nan
        for at in parts.values()
    ]
    return xr.DataArray(means, dims="epoch", coords={"epoch": list(parts)})


def _layer_type(run: xr.DataTree, layer: object) -> str:
    names = select.layer_names(run)
    if layer not in names:
        return ""
    return str(run.dataset["layer_type"].to_numpy()[names.index(str(layer))])
