"""Trainings on a GPU: what is recorded there and what is not, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import actrace
from actrace.capture.kernels.reference import ReferenceKernel
from actrace.capture.kernels.slots import ELEMENTS, MEAN, Slot
from actrace.capture.tensors import flat_view, unit_dim
from actrace.errors import ActraceWarning
from actrace.store.axis import Asinh

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 32), nn.GELU(),
        nn.Linear(32, 4),
    ).cuda()  # fmt: skip


def batch_of(step: int, n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(n, 16, generator=generator)
    return x.cuda(), torch.randint(4, (n,), generator=generator).cuda()


def steps(
    model: nn.Module, criterion: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]]
) -> list[torch.Tensor]:
    """Train; return the losses, on the GPU."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@contextmanager
def no_waiting() -> Iterator[None]:
    """Let torch raise on whatever waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    return {name: node[...] for name, node in group.members(None) if isinstance(node, zarr.Array)}


def test_a_training_is_bitwise_the_same(tmp_path: Path) -> None:
    def train(path: Path | None) -> list[torch.Tensor]:
        model, criterion = network(), nn.CrossEntropyLoss()
        recorder = None
        if path is not None:
            recorder = actrace.record(model, path, criterion=criterion, cuda=True)
        torch.cuda.manual_seed(3)
        losses = steps(model, criterion, [batch_of(step) for step in range(50)])
        if recorder is not None:
            recorder.close()
        parameters = [parameter.detach() for parameter in model.parameters()]
        state = torch.cuda.get_rng_state()
        return [tensor.cpu() for tensor in (*parameters, *losses, state)]

    assert all(map(torch.equal, train(None), train(tmp_path / "run")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_the_store_has_what_the_layers_gave(tmp_path: Path, last: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 36, 5))
    layout = torch.channels_last if last else torch.contiguous_format
    model = model.to(dtype).cuda().to(memory_format=layout)
    seen: list[list[torch.Tensor]] = []
    for module in model:
        module.register_forward_hook(lambda m, a, out: seen[-1].append(out.detach().clone()))
    with actrace.record(model, tmp_path / "run", cuda=True) as recorder, torch.no_grad():
        for step in range(30):
            seen.append([])
            x = torch.randn(9, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            model(x.to(dtype).cuda().to(memory_format=layout))
            if step == 12:
                newest = recorder.latest("1")
                assert newest is not None
                assert newest.elements == 9 * 12 * 36
    axis, got = Asinh(), arrays(tmp_path / "run.zarr")
    kernel = ReferenceKernel(axis, 1e-8)
    for step, outputs in enumerate(seen):
        for at, (module, output) in enumerate(zip(model, outputs, strict=True)):
            flat, shape = flat_view(output.cpu(), unit_dim(module, output.ndim, None))
            want = Slot.empty(axis.n_bins, shape[2])
            kernel.add(flat, shape, want)
            np.testing.assert_array_equal(got["train/count"][at, :, step], want.count)
            assert got["train/elements"][at, step] == want.tally[ELEMENTS]
            assert got["train/mean"][at, step] == pytest.approx(want.sums[MEAN], rel=1e-5, abs=1e-6)


def test_labels_and_losses_are_the_training_s(tmp_path: Path) -> None:
    model, criterion = network(), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=criterion, cuda=True):
        losses = steps(model, criterion, [batch_of(step) for step in range(40)])
    got = arrays(tmp_path / "run.zarr")
    np.testing.assert_allclose(got["train/loss"], torch.stack(losses).cpu(), rtol=1e-6)
    classes = torch.cat([batch_of(step)[1] for step in range(40)]).bincount(minlength=4)
    samples = got["train/output/count_by_class"].sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(samples, 4 * classes.cpu().numpy())


def test_no_step_waits_for_the_device(tmp_path: Path) -> None:
    model, criterion = network().to(torch.bfloat16), nn.CrossEntropyLoss()
    batches = [(x.to(torch.bfloat16), y) for x, y in map(batch_of, range(200))]
    recorder = actrace.record(model, tmp_path / "run", criterion=criterion, cuda=True)
    steps(model, criterion, batches[:20])
    with no_waiting():
        steps(model, criterion, batches)
    recorder.close()
    assert recorder.report().batches == {"train": 220}
    assert recorder.report().lost == {}


def test_memory_is_the_same_after_a_thousand_batches(tmp_path: Path) -> None:
    model, criterion = network(), nn.CrossEntropyLoss()
    batches = [batch_of(step) for step in range(10)]

    def memory() -> tuple[int, int]:
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

    with actrace.record(model, tmp_path / "run", criterion=criterion, cuda=True):
        for _ in range(30):
            steps(model, criterion, batches)
        before = memory()
        for _ in range(100):
            steps(model, criterion, batches)
        assert memory() == before


def test_replays_of_a_captured_step_are_recorded(tmp_path: Path) -> None:
    """What `torch.cuda.graph` captures is recorded inside of `recorder.batch()`, to the bit."""
    batches = [batch_of(step) for step in range(40)]

    def train(path: Path, *, graphed: bool) -> list[torch.Tensor]:
        model, criterion = network(), nn.CrossEntropyLoss()
        model[2] = nn.Identity()  # random numbers of a graph are not those of eager code
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        x, y = (tensor.clone() for tensor in batches[0])

        def step() -> None:
            optimizer.zero_grad(set_to_none=False)
            criterion(model(x), y).backward()
            optimizer.step()

        graph = None
        with actrace.record(model, path, criterion=criterion, cuda=True) as recorder:
            for number, (new_x, new_y) in enumerate(batches):
                x.copy_(new_x), y.copy_(new_y)
                if graphed and number == 5:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        step()
                with recorder.batch(samples=len(x)):
                    step() if graph is None else graph.replay()
                if number == 20:
                    with torch.no_grad():
                        model.eval()(new_x)
                    model.train()
        return [parameter.detach().cpu() for parameter in model.parameters()]

    want = train(tmp_path / "eager", graphed=False)
    got = train(tmp_path / "graph", graphed=True)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)
    eager, graph = arrays(tmp_path / "eager.zarr"), arrays(tmp_path / "graph.zarr")
    for name in ("train/elements", "train/step", "train/samples", "valid/elements"):
        np.testing.assert_array_equal(graph[name], eager[name])
    for name in ("train/mean", "train/std", "train/loss"):
        np.testing.assert_allclose(graph[name], eager[name], rtol=1e-4, atol=1e-6)
    labelled = "train/output/count_by_class"
    assert graph[labelled].sum() == eager[labelled].sum()


def test_graphed_callables_inside_of_a_model_are_recorded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32))
    model = nn.Sequential(body, nn.Linear(32, 4)).cuda()
    with actrace.record(model, tmp_path / "run", cuda=True) as recorder:
        model(batch_of(0)[0])
        recorder.flush()
        torch.cuda.make_graphed_callables(body, (batch_of(0)[0],))
        for step in range(20):
            x, _ = batch_of(step)
            model(x).square().mean().backward()
    got = arrays(tmp_path / "run.zarr")
    assert got["train/elements"].shape == (4, 21)
    assert (got["train/elements"] > 0).all()
    assert (got["train/calls"] == 1).all()


def compiled(mode: str | None, path: Path | None, *, cuda: bool) -> list[torch.Tensor]:
    """Train for a few batches; return the final weights."""
    torch.compiler.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).cuda()
    recorder = None if path is None else actrace.record(model, path, cuda=cuda)
    call = model if mode is None else torch.compile(model, mode=mode)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        call(torch.randn(8, 16, device="cuda")).square().mean().backward()
        optimizer.step()
    if recorder is not None:
        recorder.close()
    return [parameter.detach().cpu() for parameter in model.parameters()]


def test_tensors_on_a_gpu_are_said_to_be_left_out(tmp_path: Path) -> None:
    plain = compiled(None, None, cuda=False)
    with pytest.warns(ActraceWarning, match=r"3 of 3 layers cannot be recorded.*cuda=True"):
        watched = compiled(None, tmp_path / "run", cuda=False)
    assert all(map(torch.equal, plain, watched))
    assert actrace.open(tmp_path / "run").n_batches("train") == 5


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.filterwarnings("ignore::actrace.errors.ActraceWarning")
def test_compiled_models_train_on(tmp_path: Path, mode: str, cuda: bool) -> None:
    plain = compiled(mode, None, cuda=False)
    watched = compiled(mode, tmp_path / "run", cuda=cuda)
    for one, other in zip(plain, watched, strict=True):
        torch.testing.assert_close(one, other)
    assert actrace.open(tmp_path / "run").n_batches("train") == 5
    if cuda:
        elements = arrays(tmp_path / "run.zarr")["train/elements"]
        assert elements.tolist() == [[8 * 32] * 5, [8 * 32] * 5, [8 * 4] * 5]
