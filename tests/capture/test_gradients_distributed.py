"""Two real processes: what is recorded is what the optimizer finds, on every rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.capture.test_gradients import Gradients, check
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import actrace

NAMES = ["0.weight", "0.bias", "2.weight"]
#: Ways to hand a model to both ranks. A tiny bucket makes many of them, a static
#: graph averages in a callback that queues another.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "many-buckets": {"bucket_cap_mb": 1e-4},
    "static-graph": {"static_graph": True},
    "unused": {"find_unused_parameters": True},
}


def local(parameter: nn.Parameter) -> np.ndarray:
    gradient: Any = parameter.grad
    mine = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return mine.detach().double().numpy().copy()


def train(model: nn.Module, path: Path, rank: int) -> None:
    """Train and record; check the store against p.grad, bin for bin."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    wanted: list[Gradients] = []
    with actrace.record(model, path, gradients=True) as recorder:
        for seed in range(3):
            generator = torch.Generator().manual_seed(10 * seed + rank)
            optimizer.zero_grad()
            model(torch.randn(5, 8, generator=generator)).square().sum().backward()
            gradients = map(local, model.parameters())
            wanted.append(dict(zip(NAMES, gradients, strict=True)))
            optimizer.step()
    assert recorder.report().remarks == ()
    check(path / f"rank-{rank}", wanted)


def new_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 17), nn.ReLU(), nn.Linear(17, 3, bias=False))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name, settings in WAYS.items():
        model = DistributedDataParallel(new_model(), **settings)
        train(model, Path(folder) / name, rank)
    model, mesh = new_model(), init_device_mesh("cpu", (2,))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    train(model, Path(folder) / "sharded", rank)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two processes left a run for every way and rank."""
    path = tmp_path_factory.mktemp("ranks")
    mp.start_processes(work, args=(str(path),), nprocs=2, start_method="spawn")
    return path


@pytest.mark.parametrize("way", WAYS)
def test_data_parallel_gradients_are_the_averaged_ones(folder: Path, way: str) -> None:
    """Each rank compared them with its p.grad; here they are the same on both, and merged."""
    run = actrace.open(folder / way)
    ranks = [rank["train/gradient"] for rank in run.ranks]
    assert len(ranks) == 2
    assert ranks[0].attrs["gradients"] == "whole"
    assert ranks[0]["parameter"].values.tolist() == NAMES
    assert ranks[0].to_dataset().identical(ranks[1].to_dataset())
    assert (ranks[0]["elements"].values == [[136] * 3, [17] * 3, [51] * 3]).all()
    merged = run["train/gradient"]
    for name in ("count", "elements", "zero", "mean", "norm", "death_rate", "gradient_scale"):
        np.testing.assert_array_equal(merged[name].values, ranks[0][name].values)


def test_sharded_gradients_are_recorded_by_shard_and_merged_whole(folder: Path) -> None:
    run = actrace.open(folder / "sharded")
    whole = actrace.open(folder / "plain")["train/gradient"]
    assert [rank["train/gradient"].attrs["gradients"] for rank in run.ranks] == ["sharded"] * 2
    merged = run["train/gradient"]
    assert merged["parameter_shape"].values.tolist() == ["17x8", "17", "3x17"]
    np.testing.assert_array_equal(merged["elements"].values, whole["elements"].values)
    np.testing.assert_allclose(merged["norm"].values, whole["norm"].values, rtol=1e-4)
    np.testing.assert_allclose(
        merged["activation_rate"].values, whole["activation_rate"].values, rtol=1e-4
    )
    assert (merged["count"].sum("gradient_bin") == merged["elements"]).all()
