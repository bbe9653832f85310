"""One rank of a training on several processes, run as a program by test_distributed.

``python -m tests.capture.ranks_training CASE RANK WORLD FOLDER``. Rendezvous is a
file in the folder, so that tests that run at the same time cannot meet.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from tests.capture.models import ConvNet, digits, step
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import actrace

N_TRAIN, N_VALID, EPOCHS, BATCH = 2, 40, 2, 8
#: Signs of a linear loss: its gradients are as exact as its inputs.
SIGNS = torch.tensor([[1, -1, -1, 1], [-1, 1, -1, 1], [-1, -1, 1, 1], [1, 1, 1, -1]])


def exact_model() -> nn.Module:
    """Return a float64 model all of whose numbers have few bits, so that every sum is exact."""
    torch.manual_seed(3)
    model = nn.Sequential()
    for name, module in (("fc1", nn.Linear(6, 8)), ("act", nn.ReLU()), ("fc2", nn.Linear(8, 4))):
        model.add_module(name, module)
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape) / 4)
        # Units that are dead in some batches on one rank alone.
        model.fc1.bias[:6] = -1.5
    return model


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-2, 3, (BATCH, 6), generator=generator).double()
    return x, torch.randint(0, 4, (BATCH,), generator=generator)


def linear_loss(output: Tensor, target: Tensor) -> Tensor:
    return (output * SIGNS.double()[target]).sum(dim=1).mean()


def train_exactly(
    model: nn.Module,
    recorder: actrace.Recorder,
    parameters: list[nn.Parameter],
    part: slice,
    flush: Callable[[int], bool] = lambda _: False,
) -> None:
    """Train and validate on a part of every batch; the weights stay multiples of 2**-k."""
    optimizer = torch.optim.SGD(parameters, lr=0.125)
    for epoch in range(EPOCHS):
        model.train()
        for seed in range(N_TRAIN):
            x, y = batch(100 * epoch + seed)
            loss = linear_loss(model(x[part]), y[part])
            recorder.log(target=y[part], loss=loss, lr=0.125)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for seed in range(N_VALID):
                x, y = batch(1000 + seed)
                recorder.log(target=y[part], loss=linear_loss(model(x[part]), y[part]))
                if flush(seed):
                    recorder.flush()


def half(rank: int) -> slice:
    return slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)


def ddp(rank: int, folder: Path) -> None:
    """Record before wrapping; rank 1 commits at other moments than rank 0."""
    model = exact_model()
    recorder = actrace.record(model, folder / "ddp", flush_seconds=1e6, axis=AXIS)
    wrapped = DistributedDataParallel(model)
    train_exactly(wrapped, recorder, list(model.parameters()), half(rank), lambda n: n == 5 + rank)
    recorder.close()


def fsdp(rank: int, folder: Path, *, after: bool = False) -> None:
    """Record before sharding, or after it, when the layers have other classes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = exact_model()

    def attach(name: str) -> actrace.Recorder:
        return actrace.record(model, folder / name, flush_seconds=1e6, axis=AXIS)

    recorder = None if after else attach("fsdp")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model.fc1, mesh=mesh)
    fully_shard(model, mesh=mesh)
    recorder = recorder or attach("fsdp_after")
    train_exactly(model, recorder, list(model.parameters()), half(rank))
    recorder.close()


def fsdp_after(rank: int, folder: Path) -> None:
    fsdp(rank, folder, after=True)


def neutral(rank: int, folder: Path) -> None:
    """Weights and buffers after DDP are bitwise those without a recorder; wrapped models too."""
    left = []
    for how in ("bare", "before", "after"):
        torch.manual_seed(5)
        model, loss_fn = ConvNet(), nn.CrossEntropyLoss()
        settings = {"criterion": loss_fn, "path": folder / how}
        if how == "before":
            actrace.record(model, **settings)
        wrapped = DistributedDataParallel(model)
        recorder = None
        if how == "after":
            recorder = actrace.record(wrapped, **settings)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for seed in range(3):
            step(wrapped, loss_fn, optimizer, *digits(8, 10 * rank + seed))
        left.append([t.clone() for t in model.state_dict().values()])
        if recorder is not None:
            recorder.close()
    for recorded in left[1:]:
        assert all(map(torch.equal, left[0], recorded))
    (folder / f"neutral-{rank}").touch()


def killed(rank: int, folder: Path) -> None:
    """Rank 1 is killed in the middle of the second epoch."""
    model = exact_model()
    with actrace.record(model, folder / "killed", flush_seconds=1e6) as recorder:
        wrapped = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
        for seed in range(10):
            x, y = batch(seed)
            loss = linear_loss(wrapped(x[half(rank)]), y[half(rank)])
            if seed == 3:
                recorder.flush()
                if rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


AXIS = actrace.Linear(-20, 20, 80)
CASES = {"ddp": ddp, "fsdp": fsdp, "fsdp_after": fsdp_after, "neutral": neutral, "killed": killed}


def main(case: str, rank: str, world: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=int(rank),
        world_size=int(world),
        timeout=timedelta(seconds=120),
    )
    CASES[case](int(rank), Path(folder))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
