"""In-memory schema-1 runs from given samples, for tests of analysis and charts.

`run_from_samples` takes the activations themselves, batch by batch, and computes
every variable of the schema the slow and obvious way (`numpy.histogram`,
`numpy.mean`), so a test may hold any statistic against the very samples.
`synthetic_run` makes up such samples: a small classifier whose YES and NO drift
apart from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.store.axis import Asinh, Axis
from actrace.store.run import Run
from actrace.store.schema import (
    BATCH_SCALARS,
    COUNTERS,
    MAX_MATRIX_CLASSES,
    MOMENTS,
    PHASE_VARIABLES,
    ROOT_VARIABLES,
    UNIT_VARIABLES,
    WINDOW_SCALARS,
    Variable,
    output_variables,
)

THRESHOLD = 1e-8


@dataclass
class Batch:
    """What one batch of one phase did.

    activations : layer name -> array (samples, units, ...); a layer left out was not called
    target : (samples,) class index (single-label, binary), (samples, units) of 0 and 1
        (multi-label) or of float (regression); None is unlabelled
    """

    activations: Mapping[str, NDArray[Any]]
    epoch: int = 0
    target: NDArray[Any] | None = None
    loss: float = float("nan")
    logged: Mapping[str, float] = field(default_factory=dict)


def run_from_samples(
    phases: Mapping[str, Sequence[Batch]],
    *,
    layers: Sequence[str] | None = None,
    axis: Axis | None = None,
    task: str = "single-label",
    output: str | None = None,
    classes: Sequence[str] | None = None,
    threshold: float = 0.0,
    window: int = 1,
    units: bool = True,
    chunks: Mapping[str, int] | None = None,
    attributes: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Run:
    """Return the run that recording these batches would have made.

    layers : all layers in order; those of the batches when left out
    output : the output layer, the last one when left out
    window : batches of an output or unit window (cut at an epoch's end)
    units : whether to make the unit group
    chunks : dims -> size, to make the run lazy; None keeps NumPy arrays
    kinds : layer -> its type, "Layer" for the others
    """
    axis = Asinh() if axis is None else axis
    everything = [batch for batches in phases.values() for batch in batches]
    if layers is None:
        layers = list(dict.fromkeys(name for batch in everything for name in batch.activations))
    output = layers[-1] if output is None else output
    shapes = {
        name: next((b.activations[name].shape[1:] for b in everything if name in b.activations), ())
        for name in layers
    }
    children: dict[str, xr.Dataset] = {
        "/": _root(layers, shapes, axis, output, dict(attributes or {}), kinds or {})
    }
    step = 0
    for phase, batches in phases.items():
        children[f"/{phase}"] = _phase(batches, layers, axis, phase, step)
        labelled = [b for b in batches if b.target is not None]
        if labelled and len(labelled) == len(batches):
            names = _names(everything, shapes[output], task, classes)
            children[f"/{phase}/output"] = _output(
                batches, output, axis, task, names, threshold, window
            )
        if units:
            children[f"/{phase}/unit"] = _unit(batches, layers, shapes, window)
    if chunks is not None:
        children = {
            path: ds if path == "/" else ds.chunk({k: v for k, v in chunks.items() if k in ds.dims})
            for path, ds in children.items()
        }
    tree = xr.DataTree.from_dict(children)
    return Run(dataset=tree.to_dataset(), children=dict(tree.children))


def synthetic_run(
    n_layers: int = 3,
    n_batches: int = 8,
    *,
    epochs: int = 3,
    phases: Sequence[str] = ("train", "valid"),
    axis: Axis | None = None,
    labelled: bool = True,
    task: str = "single-label",
    n_classes: int = 4,
    samples: int = 32,
    gap: float = 2.0,
    rng: int | np.random.Generator = 0,
    **options: Any,
) -> Run:
    """Return a made-up run: ReLU-like hidden layers and a classifier's output.

    n_layers : layers, the last one ("fc") the output; the first ones are
        "conv0", "conv1", ... with 6 channels of 3 x 3
    n_batches : batches of an epoch of phase "train"; other phases have half as many
    gap : how far YES and NO part per epoch, in activation units, at unit spread
    options : passed on to `run_from_samples`
    """
    rng = np.random.default_rng(rng)
    hidden = [f"conv{i}" for i in range(n_layers - 1)]
    made: dict[str, list[Batch]] = {}
    for phase in phases:
        made[phase] = []
        for epoch in range(epochs):
            for _ in range(n_batches if phase == "train" else max(1, n_batches // 2)):
                distance = gap * (epoch + 1) * (1.0 if phase == "train" else 0.8)
                target, logits = _answers(rng, task, samples, n_classes, distance)
                activations = {
                    name: np.maximum(
                        rng.normal(0.0, 1.0 + i, (samples, 6, 3, 3)).astype(np.float32), 0.0
                    )
                    for i, name in enumerate(hidden)
                }
                for array in activations.values():
                    array[:, 0] = 0.0  # a dead channel
                activations["fc"] = logits.astype(np.float32)
                loss = float(np.exp(-distance / 2) + 0.01 * rng.random())
                made[phase].append(Batch(activations, epoch, target if labelled else None, loss))
    return run_from_samples(made, layers=[*hidden, "fc"], axis=axis, task=task, **options)


def _answers(
    rng: np.random.Generator, task: str, n: int, n_classes: int, distance: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    if task == "regression":
        target = rng.normal(0.0, 2.0, (n, n_classes))
        return target, target + rng.normal(0.0, 2.0 / distance, target.shape)
    if task == "multi-label":
        target = (rng.random((n, n_classes)) < 0.3).astype(np.int64)
        return target, rng.normal(0.0, 1.0, target.shape) + distance * (target - 0.5)
    if task == "binary":
        target = rng.integers(0, 2, n)
        return target, (rng.normal(0.0, 1.0, n) + distance * (target - 0.5))[:, None]
    target = rng.integers(0, n_classes, n)
    logits = rng.normal(0.0, 1.0, (n, n_classes))
    logits[np.arange(n), target] += distance
    return target, logits


def _root(
    layers: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    axis: Axis,
    output: str,
    attributes: dict[str, Any],
    kinds: Mapping[str, str],
) -> xr.Dataset:
    values: dict[str, Any] = {
        "layer": np.array(layers, dtype=object).astype(str),
        "layer_type": np.array([kinds.get(name, "Layer") for name in layers]),
        "layer_shape": np.array(["x".join(map(str, shapes[name])) for name in layers], dtype=str),
        "layer_order": np.array([i if shapes[n] else -1 for i, n in enumerate(layers)], np.int32),
        "layer_units": np.array([shapes[n][0] if shapes[n] else 0 for n in layers], np.int32),
        "bin_left": axis.left,
        "bin_right": axis.right,
    }
    attrs = {
        "actrace_schema": 1,
        "actrace_version": "0",
        "torch_version": "0",
        "python_version": "0",
        "run_id": "0" * 32,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "host": "here",
        "git_commit": None,
        "config": {},
        "tags": [],
        "status": "finished",
        "axis": axis.to_dict(),
        "active_threshold": THRESHOLD,
        "schedule": None,
        "output_layer": output,
        "lost_batches": {},
        "skipped": {},
        "waited_seconds": 0.0,
        **attributes,
    }
    coords = {v.name: _array(v, values[v.name]) for v in ROOT_VARIABLES}
    return xr.Dataset(coords=coords, attrs=attrs)


def _phase(
    batches: Sequence[Batch], layers: Sequence[str], axis: Axis, phase: str, step: int
) -> xr.Dataset:
    n, m = len(batches), len(layers)
    out: dict[str, NDArray[Any]] = {"count": np.zeros((m, axis.n_bins, n), np.uint32)}
    out |= {v.name: np.zeros((m, n), np.uint32) for v in COUNTERS}
    out |= {v.name: np.full((m, n), np.nan, np.float32) for v in MOMENTS}
    out["step"] = step + np.arange(n, dtype=np.int64)
    out["epoch"] = np.array([b.epoch for b in batches], np.int32)
    out["samples"] = np.array([len(next(iter(b.activations.values()))) for b in batches], np.int64)
    out["loss"] = np.array([b.loss for b in batches], np.float64)
    out["time"] = 1.7e9 + np.arange(n, dtype=np.float64)
    for j, batch in enumerate(batches):
        for i, name in enumerate(layers):
            if name in batch.activations:
                for key, value in _statistics(batch.activations[name], axis).items():
                    out[key][i, ..., j] = value
    data = {v.name: _array(v, out[v.name]) for v in PHASE_VARIABLES}
    scalars = {v.name for v in BATCH_SCALARS}
    for key in sorted({key for b in batches for key in b.logged} - scalars):
        data[key] = xr.DataArray([b.logged.get(key, np.nan) for b in batches], dims="batch")
    return xr.Dataset(data, attrs={"phase": phase})


def _histogram(values: NDArray[Any], axis: Axis) -> tuple[NDArray[np.int64], int, int, int]:
    """Return counts, underflow, overflow and non-finite."""
    finite = values[np.isfinite(values)].astype(np.float64)
    counts = np.histogram(finite, axis.edges)[0]
    below = int((finite < axis.edges[0]).sum())
    above = int((finite > axis.edges[-1]).sum())
    return counts, below, above, values.size - finite.size


def _statistics(x: NDArray[Any], axis: Axis) -> dict[str, Any]:
    counts, below, above, _ = _histogram(x.ravel(), axis)
    finite = x[np.isfinite(x)].astype(np.float64)
    active = np.abs(x) > THRESHOLD
    per_unit = active.reshape(*x.shape[:2], -1).mean(axis=(0, 2)) if x.ndim > 1 else None
    out: dict[str, Any] = {
        "count": counts,
        "underflow": below,
        "overflow": above,
        "nan": np.isnan(x).sum(),
        "posinf": np.isposinf(x).sum(),
        "neginf": np.isneginf(x).sum(),
        "zero": (x == 0).sum(),
        "elements": x.size,
        "calls": 1,
    }
    if finite.size:
        out |= {
            "mean": finite.mean(),
            "std": finite.std(),
            "min": finite.min(),
            "max": finite.max(),
            "norm": np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1).mean(),
        }
    if per_unit is not None:
        out |= {"activation_rate": per_unit.mean(), "death_rate": (per_unit == 0).mean()}
    return out


def _windows(batches: Sequence[Batch], length: int) -> list[tuple[int, int]]:
    """Return (first batch, batches) of each window, none crossing an epoch's end."""
    found: list[tuple[int, int]] = []
    for j, batch in enumerate(batches):
        if found:
            first, n = found[-1]
            if n < length and batches[first].epoch == batch.epoch:
                found[-1] = (first, n + 1)
                continue
        found.append((j, 1))
    return found


def _window_scalars(
    batches: Sequence[Batch], windows: Sequence[tuple[int, int]]
) -> dict[str, NDArray[Any]]:
    return {
        "first_batch": np.array([first for first, _ in windows], np.int64),
        "batches": np.array([n for _, n in windows], np.int64),
        "epoch": np.array([batches[first].epoch for first, _ in windows], np.int32),
    }


def _names(
    everything: Sequence[Batch], shape: tuple[int, ...], task: str, classes: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Return the names of classes and output units."""
    n_units = shape[0]
    n_classes = {"binary": 2, "regression": 0}.get(task, n_units)
    named = list(classes) if classes is not None else [str(i) for i in range(n_classes)]
    return named, named if len(named) == n_units else [str(i) for i in range(n_units)]


def _roles(task: str, logits: NDArray[Any], target: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where an output is a YES, shape (samples, units)."""
    if task == "single-label":
        return np.arange(logits.shape[1]) == target[:, None]
    if task == "binary":
        return np.asarray(target, bool).reshape(len(logits), 1)
    return np.asarray(target, bool)


def _output(
    batches: Sequence[Batch],
    layer: str,
    axis: Axis,
    task: str,
    names: tuple[list[str], list[str]],
    threshold: float,
    window: int,
) -> xr.Dataset:
    classes, units = names
    windows = _windows(batches, window)
    variables = list(output_variables(task, len(classes), len(units)))
    sizes = {
        "target_class": len(classes),
        "output_unit": len(units),
        "role": 2,
        "bin": axis.n_bins,
        "window": len(windows),
    }
    roles = ["prediction", "target"] if task == "regression" else ["yes", "no"]
    out: dict[str, NDArray[Any]] = {
        v.name: np.full([sizes[d] for d in v.dims], v.fill, _dtype(v))
        for v in variables
        if v.dtype != "string"
    }
    out |= {"output_unit": np.array(units, str), "role": np.array(roles, str)}
    if task != "regression":
        out["target_class"] = np.array(classes, str)
    out |= _window_scalars(batches, windows)
    for w, (first, n) in enumerate(windows):
        part = batches[first : first + n]
        logits = np.concatenate([b.activations[layer] for b in part])
        target = np.concatenate([np.asarray(b.target) for b in part])
        if task == "regression":
            _fill_regression(out, w, logits, target, axis)
        else:
            _fill_labelled(out, w, logits, target, axis, task, threshold)
    data = {v.name: _array(v, out[v.name]) for v in variables}
    coords = {
        name: data.pop(name) for name in ("output_unit", "role", "target_class") if name in data
    }
    attrs = {"task": task, "layer": layer, "threshold": threshold}
    return xr.Dataset(data, coords=coords, attrs=attrs)


def _put(
    out: dict[str, NDArray[Any]],
    suffix: str,
    at: tuple[int, int, int],
    values: NDArray[Any],
    axis: Axis,
) -> None:
    i, role, w = at
    counts, below, above, odd = _histogram(values, axis)
    out[f"count_{suffix}"][i, role, :, w] = counts
    out[f"underflow_{suffix}"][at] = below
    out[f"overflow_{suffix}"][at] = above
    out[f"nonfinite_{suffix}"][at] = odd
    out[f"elements_{suffix}"][at] = values.size
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size:
        out[f"mean_{suffix}"][at] = finite.mean()
        out[f"std_{suffix}"][at] = finite.std()


def _fill_labelled(
    out: dict[str, NDArray[Any]],
    w: int,
    logits: NDArray[Any],
    target: NDArray[Any],
    axis: Axis,
    task: str,
    threshold: float,
) -> None:
    yes = _roles(task, logits, target)
    for u in range(logits.shape[1]):
        for role, mask in enumerate((yes[:, u], ~yes[:, u])):
            _put(out, "by_unit", (u, role, w), logits[mask, u], axis)
    said = logits.argmax(axis=1) if task == "single-label" else logits > threshold
    for c in range(out["samples"].shape[0]):
        if task == "multi-label":
            mine, right = yes[:, c], said[:, c]
        elif task == "binary":
            mine, right = np.asarray(target).ravel() == c, said[:, 0] == yes[:, 0]
        else:
            mine, right = target == c, said == target
        for role, cells in enumerate((yes[mine], ~yes[mine])):
            if task == "multi-label" and role == 0:
                cells = cells & (np.arange(logits.shape[1]) == c)
            _put(out, "by_class", (c, role, w), logits[mine][cells], axis)
        out["samples"][c, w] = mine.sum()
        out["correct"][c, w] = (right & mine).sum()
        if "output_mean" in out and mine.any() and logits.shape[1] <= MAX_MATRIX_CLASSES:
            for u in range(logits.shape[1]):
                values = logits[mine, u].astype(np.float64)
                values = values[np.isfinite(values)]
                if values.size:
                    out["output_mean"][c, u, w] = values.mean()
                    out["output_std"][c, u, w] = values.std()
        if "confusion" in out:
            for u in range(logits.shape[1]):
                out["confusion"][c, u, w] = (mine & (said == u)).sum()


def _fill_regression(
    out: dict[str, NDArray[Any]], w: int, logits: NDArray[Any], target: NDArray[Any], axis: Axis
) -> None:
    for u in range(logits.shape[1]):
        for role, values in enumerate((logits, target)):
            _put(out, "by_unit", (u, role, w), values[:, u], axis)
        out["squared_error"][u, w] = np.square(logits[:, u] - target[:, u], dtype=np.float64).sum()


def _unit(
    batches: Sequence[Batch],
    layers: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    window: int,
) -> xr.Dataset:
    windows = _windows(batches, window)
    pairs = [(i, c) for i, n in enumerate(layers) if shapes[n] for c in range(shapes[n][0])]
    out: dict[str, NDArray[Any]] = {
        "unit_layer": np.array([i for i, _ in pairs], np.int32),
        "unit_channel": np.array([c for _, c in pairs], np.int32),
        "active": np.zeros((len(pairs), len(windows)), np.uint64),
        "total": np.zeros((len(pairs), len(windows)), np.uint64),
    }
    out |= _window_scalars(batches, windows)
    for w, (first, n) in enumerate(windows):
        for u, (i, c) in enumerate(pairs):
            for batch in batches[first : first + n]:
                if layers[i] in batch.activations:
                    x = batch.activations[layers[i]][:, c]
                    out["active"][u, w] += np.uint64((np.abs(x) > THRESHOLD).sum())
                    out["total"][u, w] += np.uint64(x.size)
    variables = (*UNIT_VARIABLES, *WINDOW_SCALARS)
    return xr.Dataset({v.name: _array(v, out[v.name]) for v in variables})


def _dtype(variable: Variable) -> Any:
    return np.uint32 if variable.dtype == "count" else np.dtype(variable.dtype)


def _array(variable: Variable, values: NDArray[Any]) -> xr.DataArray:
    if variable.dtype != "string":
        values = values.astype(_dtype(variable))
    attrs = {"long_name": variable.long_name, "units": variable.units}
    return xr.DataArray(values, dims=variable.dims, attrs=attrs)
