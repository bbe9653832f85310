"""The same answers from memory, from disk through the opener, and by plain xarray."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.synthetic import synthetic_run

from actrace.analysis.divergence import divergence
from actrace.analysis.peaks import find_peaks
from actrace.analysis.rates import rates
from actrace.analysis.table import epoch_table
from actrace.analysis.twin_peaks import twin_peaks
from actrace.store.reader import open_run
from actrace.store.rows import BatchRow, LayerInfo, OutputInfo, WindowRow
from actrace.store.run import Run
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

QUESTIONS = {
    "twin_peaks": twin_peaks,
    "twin_peaks by class": lambda run: twin_peaks(run, by="class"),
    "find_peaks": find_peaks,
    "divergence": divergence,
    "rates by batch": rates,
    "rates by epoch": lambda run: rates(run, by="epoch"),
}


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


@pytest.fixture(scope="module")
def in_memory() -> Run:
    return synthetic_run(n_batches=6, window=2)


@pytest.fixture(scope="module")
def path(in_memory: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "made.zarr"
    write(in_memory, path)
    return path


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_stored_run_answers_as_the_one_in_memory(name: str, in_memory: Run, path: Path) -> None:
    question = QUESTIONS[name]
    expected = question(in_memory).compute()
    with open_run(path) as run:
        xr.testing.assert_equal(question(run).compute(), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # plain xarray's own, about consolidated metadata
        tree = xr.open_datatree(path)
    lazy = question(tree)
    assert all(variable.chunks is not None for variable in lazy.values())
    xr.testing.assert_equal(lazy.compute(), expected)
    tree.close()


def test_the_table_is_the_same_too(in_memory: Run, path: Path) -> None:
    with open_run(path) as run:
        assert epoch_table(run) == epoch_table(in_memory)
