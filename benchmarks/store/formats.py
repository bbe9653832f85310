"""The same recorded batches in other formats: bytes a layer and batch.

h5py, pyarrow and TensorBoard's own event file writer (requirements/bench.txt); one
that is not installed is a row that says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from benchmarks.store.generate import Plan, layer_infos

from actrace.store.paths import size_on_disk
from actrace.store.rows import BatchRows
from actrace.store.schema import BATCH_SCALARS, COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

__all__ = ["FORMATS", "sizes"]

_BY_LAYER = tuple(v.name for v in (*COUNTERS, *MOMENTS))


def _actrace(data: xr.Dataset, plan: Plan, folder: Path) -> None:
    writer = RunWriter.create(folder / "run", axis=plan.axis, attributes={}, levels=False)
    writer.declare_layers(layer_infos(plan))
    scalars = {v.name: data[v.name].values for v in BATCH_SCALARS}
    scalars["time"] = scalars["time"].astype("datetime64[ns]").astype(float) / 1e9
    writer.append_batches(
        BatchRows(
            "train",
            data["count"].transpose("batch", "layer", "bin").values,
            np.stack([data[v.name].values.T for v in COUNTERS]),
            np.stack([data[v.name].values.T for v in MOMENTS]).astype(float),
            logged=[{} for _ in range(data.sizes["batch"])],
            **{name: values.tolist() for name, values in scalars.items()},
        )
    )
    writer.close()


def _hdf5(data: xr.Dataset, plan: Plan, folder: Path) -> None:
    import h5py

    n = data.sizes["batch"]
    with h5py.File(folder / "run.h5", "w") as file:
        packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        file.create_dataset(
            "count", data=data["count"].values, chunks=(1, plan.bins, min(n, 512)), **packed
        )
        for name in _BY_LAYER:
            file.create_dataset(name, data=data[name].values, chunks=(plan.layers, n), **packed)


def _parquet(data: xr.Dataset, plan: Plan, folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    layers, n = plan.layers, data.sizes["batch"]
    count = data["count"].transpose("layer", "batch", "bin").values.reshape(-1)
    columns = {
        "layer": pa.array(np.repeat(np.arange(layers, dtype=np.int32), n)),
        "batch": pa.array(np.tile(np.arange(n), layers)),
        "count": pa.FixedSizeListArray.from_arrays(pa.array(count), plan.bins),
    }
    columns |= {name: pa.array(data[name].values.reshape(-1)) for name in _BY_LAYER}
    parquet.write_table(
        pa.table(columns), folder / "run.parquet", compression="zstd", compression_level=3
    )


def _tensorboard(data: xr.Dataset, plan: Plan, folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    count = data["count"].transpose("batch", "layer", "bin").values
    about = {name: data[name].values for name in ("min", "max", "mean", "std", "elements")}
    right = plan.axis.edges[1:]
    for batch in range(data.sizes["batch"]):
        values = []
        for layer in range(plan.layers):
            # Empty bins at both ends are left out, as SummaryWriter.add_histogram does.
            held = np.flatnonzero(count[batch, layer])
            part = slice(max(int(held[0]) - 1, 0), int(held[-1]) + 1)
            own = {name: float(found[layer, batch]) for name, found in about.items()}
            total = own["mean"] * own["elements"]
            histogram = HistogramProto(
                min=own["min"],
                max=own["max"],
                num=own["elements"],
                sum=total,
                sum_squares=(own["std"] ** 2 + own["mean"] ** 2) * own["elements"],
                bucket_limit=right[part].tolist(),
                bucket=count[batch, layer, part].tolist(),
            )
            values.append(Summary.Value(tag=f"layer{layer}", histo=histogram))
        writer.add_event(Event(step=batch, wall_time=1.7e9, summary=Summary(value=values)))
    writer.close()


#: Name -> what writes it.
FORMATS: dict[str, Callable[[xr.Dataset, Plan, Path], None]] = {
    "actrace, levels apart": _actrace,
    "HDF5, gzip 4 and shuffle": _hdf5,
    "Parquet, zstd 3": _parquet,
    "TensorBoard event file, histograms alone": _tensorboard,
}


def sizes(data: xr.Dataset, plan: Plan) -> Iterator[tuple[str, float | str]]:
    """Yield each format and its bytes a layer and batch, or why there are none."""
    records = data.sizes["batch"] * plan.layers
    for name, write in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                write(data, plan, Path(folder))
            except ImportError as error:
                yield name, f"not installed: {error.name}"
                continue
            yield name, size_on_disk(Path(folder)) / records
