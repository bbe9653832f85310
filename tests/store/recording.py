"""Rows that depend on their index alone, so that any store can be checked row by row."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from actrace.store.axis import Linear
from actrace.store.rows import BatchRow, BatchRows, LayerInfo, OutputInfo, WindowRow
from actrace.store.schema import COUNTERS, MOMENTS, output_variables
from actrace.store.writer import RunWriter

N_LAYERS, N_BINS = 3, 4
AXIS = Linear(-1, 1, N_BINS)
LAYERS = tuple(LayerInfo(f"layer{i}", "Linear", (2 + i,), i, 2 + i) for i in range(N_LAYERS))
N_UNITS = sum(layer.units for layer in LAYERS)
OUTPUT = OutputInfo("layer2", "single-label", ("cat", "dog"), ("cat", "dog"))
ONE_LOGIT = OutputInfo("layer2", "binary", ("no", "yes"), ("logit",), 0.5)
REGRESSION = OutputInfo("layer2", "regression", (), ("x", "y"))


def random_for(phase: str, index: int) -> np.random.Generator:
    return np.random.default_rng((zlib.crc32(phase.encode()), index))


def batch_row(
    phase: str, index: int, n_layers: int = N_LAYERS, n_bins: int = N_BINS, **logged: float
) -> BatchRow:
    rng = random_for(phase, index)
    row = BatchRow.empty(n_layers, n_bins)
    row.count[:] = rng.integers(0, 50, (n_layers, n_bins))
    row.counters[:] = rng.integers(0, 9, row.counters.shape)
    row.moments[:] = rng.normal(size=row.moments.shape).astype(np.float32)
    row.phase, row.step, row.epoch, row.samples = phase, index, index // 10, 8
    row.loss, row.time, row.logged = float(rng.normal()), 1.7e9 + index, dict(logged)
    return row


def batch_values(row: BatchRow) -> dict[str, Any]:
    """Return variable -> value of one batch, as the store should give it back."""
    values: dict[str, Any] = {"count": row.count, **row.logged}
    values |= {v.name: row.counters[i] for i, v in enumerate(COUNTERS)}
    values |= {v.name: row.moments[i] for i, v in enumerate(MOMENTS)}
    for name in ("step", "epoch", "samples", "loss"):
        values[name] = getattr(row, name)
    return values


def output_sizes(info: OutputInfo, n_bins: int = N_BINS) -> dict[str, int]:
    return {
        "output_unit": len(info.units),
        "target_class": len(info.classes),
        "role": 2,
        "bin": n_bins,
    }


def output_window(phase: str, index: int, batches: int, info: OutputInfo = OUTPUT) -> WindowRow:
    rng = random_for(phase + "/output", index)
    sizes = output_sizes(info)
    values = {}
    for variable in output_variables(info.task, len(info.classes), len(info.units)):
        if variable.dims[-1] != "window" or variable.dims == ("window",):
            continue
        shape = tuple(sizes[dim] for dim in variable.dims[:-1])
        is_real = variable.dtype == "float64"
        values[variable.name] = rng.normal(size=shape) if is_real else rng.integers(0, 99, shape)
    return WindowRow(phase, "output", batches, 0, values)


def unit_window(phase: str, index: int, batches: int, later: int = 0) -> WindowRow:
    rng = random_for(phase + "/unit", index)
    values = {name: rng.integers(0, 99, N_UNITS) for name in ("active", "total")}
    return WindowRow(phase, "unit", batches, 0, values, later)


def batch_rows(rows: Sequence[BatchRow]) -> BatchRows:
    """Return batches of one phase together."""
    return BatchRows(
        rows[0].phase,
        np.stack([row.count for row in rows]),
        np.stack([row.counters for row in rows], 1),
        np.stack([row.moments for row in rows], 1),
        *([getattr(row, name) for row in rows] for name in ("step", "epoch", "samples")),
        *([getattr(row, name) for row in rows] for name in ("time", "loss", "logged")),
    )


def new_writer(path: Path, **settings: Any) -> RunWriter:
    attributes = settings.pop("attributes", {})
    writer = RunWriter.create(path, axis=AXIS, attributes=attributes, **settings)
    writer.declare_layers(LAYERS)
    return writer


def write_run(path: Path, n: int = 40, *, phase: str = "train", **settings: Any) -> Path:
    """Write a finished run of `n` batches, with both window groups, and return its path."""
    writer = new_writer(path, **settings)
    writer.declare_output(phase, OUTPUT)
    for index in range(n):
        writer.append_batch(batch_row(phase, index, lr=0.1))
        if index % 4 == 3:
            writer.append_window(output_window(phase, index // 4, 4))
            writer.append_window(unit_window(phase, index // 4, 4))
    writer.close()
    return writer.path


def assert_rows(phase: xr.DataTree | xr.Dataset, name: str, indices: list[int]) -> None:
    """Assert that the group holds exactly the rows of `indices`, every value of them."""
    dataset = phase.to_dataset() if isinstance(phase, xr.DataTree) else phase
    assert dataset.sizes["batch"] == len(indices)
    expected = [batch_values(batch_row(name, index)) for index in indices]
    for variable in expected[0] if expected else ():
        want = np.stack([np.asarray(row[variable]) for row in expected], axis=-1)
        got = dataset[variable].transpose(..., "batch").values
        np.testing.assert_array_equal(got, want.astype(got.dtype), err_msg=variable)
