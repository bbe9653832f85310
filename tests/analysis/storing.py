"""Runs made in memory, written through the store's own writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from actrace.store.rows import BatchRow, LayerInfo, OutputInfo, WindowRow
from actrace.store.run import Run
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

__all__ = ["write"]


def write(run: Run, path: Path) -> None:
    """Write an in-memory run through the store's writer."""
    writer = RunWriter.create(path, axis=run.axis, attributes=dict(run.attrs))
    writer.declare_layers(
        [
            LayerInfo(str(name), str(kind), tuple(map(int, shape.split("x"))), int(order), int(n))
            for name, kind, shape, order, n in zip(
                *(
                    run[key].values.tolist()
                    for key in ("layer", "layer_type", "layer_shape", "layer_order", "layer_units")
                ),
                strict=True,
            )
        ]
    )
    for phase in run.phases:
        node, output, unit = run[phase], run[phase]["output"], run[phase]["unit"]
        names = [tuple(map(str, output[key].values)) for key in ("target_class", "output_unit")]
        writer.declare_output(
            phase, OutputInfo(output.attrs["layer"], output.attrs["task"], *names)
        )
        ends = {
            int(f + n): w
            for w, (f, n) in enumerate(zip(unit["first_batch"], unit["batches"], strict=True))
        }
        for j in range(node.sizes["batch"]):
            writer.append_batch(
                BatchRow(
                    count=node["count"].values[:, :, j].astype(np.uint64),
                    counters=np.stack([node[v.name].values[:, j] for v in COUNTERS]).astype(
                        np.uint64
                    ),
                    moments=np.stack([node[v.name].values[:, j] for v in MOMENTS]).astype(float),
                    phase=phase,
                    **{key: int(node[key][j]) for key in ("step", "epoch", "samples")},
                    **{key: float(node[key][j]) for key in ("time", "loss")},
                )
            )
            if j + 1 not in ends:
                continue
            w = ends[j + 1]
            for name, group in (("output", output), ("unit", unit)):
                values = {
                    key: v.values[..., w]
                    for key, v in group.data_vars.items()
                    if v.dims[-1] == "window" and v.ndim > 1
                }
                n, epoch = int(group["batches"][w]), int(group["epoch"][w])
                writer.append_window(WindowRow(phase, name, n, epoch, values))
    writer.close()
