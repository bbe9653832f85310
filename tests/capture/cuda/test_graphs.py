"""Layers in a CUDA graph: each replay is counted into the batch that is open, and no other."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.capture.cuda.doubles import HandDevice, on_gpu, record_on
from tests.capture.cuda.graph_double import HandGraph, captured
from tests.capture.cuda.test_recording import arrays, assert_same_store
from torch import nn

import actrace
from actrace.capture.recorder import Recorder
from actrace.errors import ActraceWarning

Record = Callable[..., Recorder]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))


def batch_of(step: int, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(n, 6, generator=generator), torch.randn(n, 4, generator=generator)


def eager(record: Record, path: Path, steps: range, **more: Any) -> list[torch.Tensor]:
    """Train as anybody would; return the weights."""
    model, criterion = network(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with record(model, path, criterion=criterion, flush_seconds=1e6, **more) as recorder:
        for step in steps:
            x, y = batch_of(step)
            with recorder.batch(samples=len(x)):
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            if step % 5 == 4:
                model.eval()
                with torch.no_grad():
                    model(batch_of(1000 + step, 5)[0])
                model.train()
    return [parameter.detach() for parameter in model.parameters()]


def graphed(path: Path, steps: range, device: HandDevice, **more: Any) -> list[torch.Tensor]:
    """Do the same with one graph of the whole step from the fourth batch on."""
    n_rows = more.pop("n_rows", 4)
    model, criterion = network(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    static_x, static_y = (on_gpu(tensor) for tensor in batch_of(-1))

    def step_of() -> None:
        optimizer.zero_grad(set_to_none=False)
        criterion(model(static_x), static_y).backward()
        optimizer.step()

    graph: HandGraph | None = None
    with record_on(
        device, model, path, n_rows=n_rows, criterion=criterion, flush_seconds=1e6, **more
    ) as recorder:
        for step in steps:
            x, y = batch_of(step)
            static_x.copy_(x), static_y.copy_(y)
            if step == steps[0] + 3:
                with captured(device) as graph:
                    step_of()
            with recorder.batch(samples=len(x)):
                step_of() if graph is None else graph.replay()
            if step % 5 == 4:
                model.eval()
                with torch.no_grad():
                    model(on_gpu(batch_of(1000 + step, 5)[0]))
                model.train()
    return [parameter.detach() for parameter in model.parameters()]


def replaying(
    graph: HandGraph, into: torch.Tensor, out: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a forward that replays a graph, as `torch.cuda.make_graphed_callables` does."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        into.copy_(x)
        graph.replay()
        return out

    return forward


@pytest.mark.parametrize(("n_rows", "lag"), [(2, 0), (3, None), (4, 2), (64, 5)])
def test_replays_of_a_whole_step_are_the_batches_of_an_eager_training(
    tmp_path: Path, n_rows: int, lag: int | None
) -> None:
    steps = range(20)
    want = eager(actrace.record, tmp_path / "cpu", steps, output="2")
    got = graphed(tmp_path / "gpu", steps, HandDevice(lag), n_rows=n_rows, output="2")
    assert all(map(torch.equal, got, want))
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")


def test_parts_of_a_model_that_are_graphs_are_counted_in_its_forwards(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
            self.head = nn.Linear(12, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    device = HandDevice(1)
    model, same = Model(), Model()
    with (
        torch.no_grad(),
        actrace.record(same, tmp_path / "cpu") as here,
        record_on(device, model, tmp_path / "gpu", n_rows=3),
    ):
        assert here.path.name == "cpu.zarr"
        static = on_gpu(batch_of(-1)[0])
        for step in range(12):
            x, _ = batch_of(step)
            same(x)
            if step == 2:
                with captured(device) as graph:
                    out = model.body(static)

                model.body.forward = replaying(graph, static, out)
            model(on_gpu(x))
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")


def test_replays_outside_of_every_batch_hurt_none_and_are_said(tmp_path: Path) -> None:
    device, model = HandDevice(1), network().eval()
    recorder = record_on(device, model, tmp_path / "run", n_rows=4)
    static = on_gpu(batch_of(0)[0])
    with torch.no_grad():
        model(static)
        with (
            pytest.warns(ActraceWarning, match=r"inside `with recorder\.batch\(samples=\.\.\.\)"),
            captured(device) as graph,
        ):
            model(static)
        for _ in range(7):
            graph.replay()
            model(static)
            graph.replay()
    with pytest.warns(ActraceWarning, match=r"no batch was open \(up to 14 calls of a layer\)"):
        recorder.close()
    for _ in range(3):
        graph.replay()
    got = arrays(tmp_path / "run.zarr")
    assert got["valid/elements"].tolist() == [[96] * 8, [96] * 8, [32] * 8]
    assert (got["valid/calls"] == 1).all()


def test_a_graph_before_the_first_forward_is_not_recorded_and_that_is_said(tmp_path: Path) -> None:
    device, model = HandDevice(1), network().eval()
    static = on_gpu(batch_of(0)[0])
    with torch.no_grad(), record_on(device, model, tmp_path / "run") as recorder:
        with (
            pytest.warns(ActraceWarning, match="before the first recorded forward"),
            captured(device) as graph,
        ):
            model(static)
        model(static)
        with recorder.batch(samples=8):
            graph.replay()
    assert arrays(tmp_path / "run.zarr")["valid/elements"].tolist() == [[96, 0], [96, 0], [32, 0]]


def test_schedules_leave_replays_out(tmp_path: Path) -> None:
    device, model = HandDevice(1), network().eval()
    static = on_gpu(batch_of(0)[0])
    with (
        torch.no_grad(),
        record_on(
            device,
            model,
            tmp_path / "run",
            schedule=actrace.every(2),
            layer_schedule={"1": lambda step: step % 4 == 0},
        ) as recorder,
    ):
        for step in range(10):
            if step == 2:  # after one that was left out, and its hooks taken off
                with captured(device) as graph:
                    model(static)
            with recorder.batch(samples=8):
                model(static) if step < 2 else graph.replay()
    got = arrays(tmp_path / "run.zarr")
    assert got["valid/elements"].tolist() == [[96] * 5, [96, 0, 96, 0, 96], [32] * 5]


def test_labels_are_those_of_the_graph_that_was_replayed(tmp_path: Path) -> None:
    device, model, criterion = HandDevice(2), network().eval(), nn.MSELoss()
    static_x, static_y = (on_gpu(tensor) for tensor in batch_of(0))
    with (
        torch.no_grad(),
        record_on(
            device, model, tmp_path / "run", criterion=criterion, task="regression"
        ) as recorder,
    ):
        graphs = []
        for scale in (1.0, 2.0):
            with recorder.batch(samples=8):
                criterion(model(static_x), static_y)
            with captured(device) as graph:
                criterion(model(static_x * scale), static_y)
            graphs.append(graph)
        for graph in (graphs[1], graphs[0], None, graphs[1]):
            with recorder.batch(samples=8):
                if graph is not None:
                    graph.replay()
    got = arrays(tmp_path / "run.zarr")
    assert got["valid/calls"][0].tolist() == [1, 1, 1, 1, 0, 1]
    loss = got["valid/loss"].tolist()
    assert loss[0] == loss[1] == loss[3]
    assert loss[2] == loss[5] != loss[0]
    assert loss[4] != loss[4]
    # The older graph's output is not the newest one's: rather none than another's.
    assert got["valid/output/batches"].sum() == 4


def test_a_call_with_other_units_is_left_out_of_the_graph(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(x)

    device, model = HandDevice(1), Model()
    static = on_gpu(torch.ones(8, 5))
    with record_on(device, model, tmp_path / "run") as recorder:
        with recorder.batch(samples=8):
            model(on_gpu(torch.ones(8, 6)))
        with captured(device) as graph:
            model(static)
        with recorder.batch(samples=8):
            graph.replay()
        assert "with 5 units, where the first call had 6" in recorder.report().skipped["act"]
    assert arrays(tmp_path / "run.zarr")["train/elements"].tolist() == [[48, 0]]


def test_a_large_output_in_a_graph_has_no_labels_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, model, criterion = HandDevice(1), network(), nn.MSELoss()
    static_x, static_y = (on_gpu(tensor) for tensor in batch_of(0))
    with record_on(device, model, tmp_path / "run", criterion=criterion) as recorder:
        with recorder.batch():
            criterion(model(static_x), static_y)
        monkeypatch.setattr("actrace.capture.cuda.captured.MAX_HOST_BYTES", 100)
        with (
            pytest.warns(ActraceWarning, match="in a CUDA graph is too large to keep"),
            captured(device) as graph,
        ):
            criterion(model(static_x), static_y)
        with recorder.batch(samples=8):
            graph.replay()
    got = arrays(tmp_path / "run.zarr")
    loss = got["train/loss"].tolist()
    assert loss[0] == loss[1]
    assert got["train/output/batches"].sum() == 1


def test_replays_after_the_device_failed_are_left_alone(tmp_path: Path) -> None:
    device, model, criterion = HandDevice(), network(), nn.MSELoss()
    static_x, static_y = (on_gpu(tensor) for tensor in batch_of(0))
    recorder = record_on(device, model, tmp_path / "run", n_rows=4, criterion=criterion)
    with recorder.batch(samples=8):
        criterion(model(static_x), static_y)
    with captured(device) as graph:
        criterion(model(static_x), static_y)
    recorder.flush()
    device.broken = RuntimeError("CUDA error: an illegal memory access")

    def go_on() -> None:
        for _ in range(6):
            with recorder.batch(samples=8):
                graph.replay()
        recorder.close()

    with pytest.warns(ActraceWarning) as said:
        go_on()
    words = [str(warning.message) for warning in said]
    assert any("given up" in text and "illegal memory access" in text for text in words)
    assert not any("targets" in text or "labels" in text for text in words)
    report = recorder.report()
    assert report.batches["train"] + report.lost["train"] == 7


def test_what_a_graph_writes_to_is_kept_when_the_recorder_is_gone(tmp_path: Path) -> None:
    def words_of(path: Path, *, graphed: bool) -> weakref.ref[torch.Tensor]:
        device, model = HandDevice(1), network().eval()
        static = on_gpu(batch_of(0)[0])
        recorder = record_on(device, model, path)
        with torch.no_grad():
            with recorder.batch():
                model(static)
            if graphed:
                with captured(device):
                    model(static)
        recorder.close()
        counting = recorder._session.device
        assert counting is not None
        assert counting.ring is not None
        return weakref.ref(counting.ring.words)

    plain = words_of(tmp_path / "plain", graphed=False)
    kept = words_of(tmp_path / "graphed", graphed=True)
    gc.collect()
    assert plain() is None
    assert kept() is not None
