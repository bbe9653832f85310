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
    beside_stretches,
    quantile_by_epoch,
    split_epochs,
    stretches,
    tails,
    windows_by_epoch,
)
from actrace.analysis.reduce import by_phase, described, joined_bins, parallel, sum_over
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

_Parts = Mapping[int, slice | NDArray[np.int64]]


def task_of(run: xr.DataTree, phases: Sequence[str]) -> str | None:
    """Return the task of the phases' targets, None where one has none."""
    tasks = {
        group.attrs.get("task") if group is not None and group.sizes.get("window", 0) else None
        for group in (run.children[phase].children.get(OUTPUT_GROUP) for phase in phases)
    }
    return tasks.pop() if len(tasks) == 1 else None


def error_series(
    run: xr.DataTree, phases: tuple[str, str], task: str, quantile: float
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

    Returns
    -------
    Dataset, lazy
        error and loss (phase, epoch), gap, gap_null and null_windows (epoch) and, but
        for a regression, d_prime (phase, epoch); errors in nats, of a regression in
        activation units squared.
    """
    parts = {}
    for phase in phases:
        windows = select.window_indices(run, phase, OUTPUT_GROUP)
        parts[phase] = xr.Dataset({"error": _error(run, phase, task, windows)})
        parts[phase]["loss"] = losses(run, phase)
    found = by_phase(parts, {})
    first, second = (found["error"].sel(phase=phase, drop=True) for phase in phases)
    splits = split_epochs(run, *phases, OUTPUT_GROUP)
    found["gap"] = second - first
    found["gap_null"] = _null_gap(run, phases[0], task, splits, quantile)
    found["null_windows"] = windows_by_epoch(splits)
    if task != "regression":
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
    run: xr.DataTree, phase: str, task: str, splits: Sequence[EpochSplit], quantile: float
) -> xr.DataArray:
    """Return the quantile of the gaps within each epoch, dims (epoch)."""
    parts = stretches(splits)
    if not parts:
        return xr.DataArray(np.full(len(splits), np.nan), dims="epoch").assign_coords(
            epoch=[split.epoch for split in splits]
        )
    before = _error(run, phase, task, parts).drop_vars("epoch").rename(epoch="block")
    tail = beside_stretches(_error(run, phase, task, tails(splits)), splits)
    return quantile_by_epoch(abs(before - tail), splits, quantile)


def _error(run: xr.DataTree, phase: str, task: str, parts: _Parts) -> xr.DataArray:
    """Return the error of a phase's outputs over the windows of each part, dims (epoch)."""
    node = run.children[phase].children[OUTPUT_GROUP].to_dataset()
    if task == "regression":
        return _squared_error(node, parts)
    names = (f"{name}_by_unit" for name in ("count", "underflow", "overflow"))
    histogram = joined_bins(*(sum_over(node[name], "window", parts) for name in names))
    histogram = histogram.sum("output_unit").chunk({"cell": -1, "role": -1})
    yes, no = (histogram.sel(role=role, drop=True) for role in ("yes", "no"))
    values = cell_values(select.bin_edges(run), _layer_type(run, node.attrs.get("layer")))
    n_units = node.sizes["output_unit"]

    def kernel(p: NDArray[np.uint64], q: NDArray[np.uint64]) -> NDArray[np.float64]:
        if task == "single-label":
            return softmax_cross_entropy(p, q, values, n_units)
        return sigmoid_cross_entropy(p, q, values)

    found: xr.DataArray = parallel(kernel, yes, no, core=[["cell"], ["cell"]])
    return found


def _squared_error(node: xr.Dataset, parts: _Parts) -> xr.DataArray:
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
