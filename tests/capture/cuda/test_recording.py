"""`record(cuda=True)` with a device of the tests' own: the store is the CPU recording's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from tests.capture.cuda.doubles import HandDevice, OnGpu, on_gpu, record_on
from torch import nn

import actrace
from actrace.capture.recorder import Recorder
from actrace.errors import ActraceWarning, RecorderError

Put = Callable[[torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Convolution, normalisation, a shared activation, and a forward that can raise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.hidden = nn.Linear(6 * 36, 16)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(16, 4)
        self.fails = False
        self.on_cpu = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv(x))).flatten(1)
        if self.fails:
            raise RuntimeError("no memory")
        x = self.drop(self.act(self.hidden(x)))
        if self.on_cpu:
            x = x.as_subclass(torch.Tensor)
        return self.out(x)


def stay(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def batch_of(seed: int, n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=generator)
    return x, torch.randint(4, (n,), generator=generator)


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    return {name: node[...] for name, node in group.members(None) if isinstance(node, zarr.Array)}


def assert_same_store(got: Path, want: Path) -> None:
    """Counts and names are the same, one by one; numbers are to six digits."""
    one, other = arrays(got), arrays(want)
    assert one.keys() == other.keys()
    assert one["train/count"].any()
    for name, array in one.items():
        if name.endswith("/time"):
            assert array.shape == other[name].shape
        elif array.dtype.kind == "f":
            # A mean beside zero has the digits of what it is the mean of.
            spread = np.nanmax(other[name[:-4] + "std"]) if name.endswith("/mean") else 0.0
            np.testing.assert_allclose(
                array, other[name], rtol=1e-6, atol=1e-6 * spread + 1e-12, err_msg=name
            )
        else:
            np.testing.assert_array_equal(array, other[name], err_msg=name)
    attributes = [dict(zarr.open_group(path, mode="r").attrs) for path in (got, want)]
    for both in attributes:
        both["coverage"].pop("seconds")
    for key in ("skipped", "output_layer", "coverage", "status", "lost_batches"):
        assert attributes[0].get(key) == attributes[1].get(key), key


def train(recorder: Recorder, model: Net, put: Put, steps: range, criterion: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    for step in steps:
        x, y = batch_of(step)
        optimizer.zero_grad()
        if step % 5 == 3:
            model.fails = True
            with pytest.raises(RuntimeError, match="no memory"):
                model(put(x))
            model.fails = False
        loss = criterion(model(put(x)), put(y))
        if step % 4 == 1:
            recorder.log(loss=float(step), lr=0.05)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for step in steps[:3]:
            x, y = batch_of(1000 + step, 7)
            criterion(model(put(x)), put(y))


def whole(record: Callable[..., Recorder], path: Path, put: Put) -> list[torch.Tensor]:
    """Record three epochs, phases of other names, and a resumed run."""
    torch.manual_seed(0)
    model, criterion = Net(), nn.CrossEntropyLoss()
    recorder = record(model, path, criterion=criterion, flush_seconds=1e6)
    for epoch in range(3):
        train(recorder, model, put, range(20 * epoch, 20 * epoch + 11), criterion)
    with recorder.phase("test"), torch.no_grad():
        for step in range(4):
            x, y = batch_of(2000 + step, 5)
            model(put(x))
            recorder.log(target=put(y))
    recorder.flush()
    train(recorder, model, put, range(70, 76), criterion)
    recorder.epoch(9)
    with recorder.batch(samples=24):
        for step in (80, 81):
            model(put(batch_of(step)[0]))
    recorder.close()
    recorder = record(model, path, criterion=criterion, resume=True, flush_seconds=1e6)
    train(recorder, model, put, range(90, 97), criterion)
    recorder.close()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("n_rows", "lag"), [(2, 0), (2, None), (5, 2), (5, None), (64, 7)], ids=str
)
def test_the_store_is_that_of_the_cpu(tmp_path: Path, n_rows: int, lag: int | None) -> None:
    device = HandDevice(lag)

    def record(model: nn.Module, path: Path, **more: Any) -> Recorder:
        return record_on(device, model, path, n_rows=n_rows, **more)

    want = whole(actrace.record, tmp_path / "cpu", stay)
    got = whole(record, tmp_path / "gpu", on_gpu)
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")
    assert all(map(torch.equal, got, want))
    run = actrace.open(tmp_path / "gpu")
    assert run.n_batches("train") == 33 + 6 + 7
    assert run.n_batches("test") == 4


def pair(
    tmp_path: Path, run: Callable[[Callable[..., Recorder], Path, Put], object], **of_device: Any
) -> HandDevice:
    """Let `run` record on the CPU, then on a device; the stores must be the same."""
    device = HandDevice(of_device.pop("lag", 1))

    def record(model: nn.Module, path: Path, **more: Any) -> Recorder:
        return record_on(device, model, path, **of_device, **more)

    run(actrace.record, tmp_path / "cpu", stay)
    run(record, tmp_path / "gpu", on_gpu)
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")
    return device


class Plain(nn.Module):
    """Two layers, neither of them shared."""

    def __init__(self, units: int = 6) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(4, units)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.first(x))


def values(step: int, n: int = 8) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(step)) + step


def test_what_the_cpu_computes_of_the_same_batch_is_added(tmp_path: Path) -> None:
    def run(record: Callable[..., Recorder], path: Path, put: Put) -> None:
        model = Plain()
        with record(model, path, flush_seconds=1e6) as recorder:
            for step in range(12):
                with recorder.batch(samples=16):
                    if step % 4 != 1:
                        model(put(values(step)))
                    if step % 4 != 2:
                        model(values(step + 100))

    pair(tmp_path, run, n_rows=3)


@pytest.mark.parametrize("more", [{"functional": True}, {"split_calls": True}], ids=str)
def test_calls_with_rows_of_their_own_and_functions(tmp_path: Path, more: dict[str, bool]) -> None:
    class Model(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.act(super().forward(x) - 3))

    def run(record: Callable[..., Recorder], path: Path, put: Put) -> None:
        model = Model()
        with record(model, path, flush_seconds=1e6, **more):
            for step in range(6):
                model(put(values(step)))

    pair(tmp_path, run)


def test_schedules_leave_the_same_batches_out(tmp_path: Path) -> None:
    def run(record: Callable[..., Recorder], path: Path, put: Put) -> None:
        model = Plain()
        every = {"first": lambda step: step % 6 == 3}
        with record(
            model, path, flush_seconds=1e6, layer_schedule=every, schedule=actrace.every(3)
        ):
            for step in range(30):
                with torch.inference_mode(step > 20):
                    model(put(values(step)))

    pair(tmp_path, run)


def test_layers_with_other_units_leave_the_unit_group(tmp_path: Path) -> None:
    class Model(Plain):
        width = 4

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(super().forward(x)[:, : self.width])

    def run(record: Callable[..., Recorder], path: Path, put: Put) -> None:
        model = Model()
        with record(model, path, flush_seconds=1e6):
            for step in range(9):
                model(put(values(step)))

    pair(tmp_path, run)


def test_rates_of_units_that_the_device_does_not_count_are_not_told(tmp_path: Path) -> None:
    model = Plain()
    device = HandDevice(1)
    with record_on(device, model, tmp_path / "run", layers="act"):
        for width in (6, 6, 5, 6):
            model.act(on_gpu(values(0)))
            model.first = nn.Linear(4, width)
            model(on_gpu(values(1)))
    got = arrays(tmp_path / "run.zarr")
    assert got["train/elements"].tolist() == [[48, 48, 40, 48]]
    assert np.isnan(got["train/activation_rate"][0]).tolist() == [False, False, True, False]
    assert "changed from 6 to 5" in zarr.open_group(tmp_path / "run.zarr").attrs["skipped"]["act"]  # type: ignore[index]


def test_the_newest_statistics_are_those_of_the_cpu(tmp_path: Path) -> None:
    model, same, device = Plain(), Plain(), HandDevice()
    here = actrace.record(same, tmp_path / "cpu")
    there = record_on(device, model, tmp_path / "gpu")
    for step in range(5):
        same(values(step))
        model(on_gpu(values(step)))
        got, want = there.latest("act"), here.latest("act")
        assert got is not None
        assert want is not None
        assert (got.step, got.elements, got.zero) == (step, want.elements, want.zero)
        assert got.count.tolist() == want.count.tolist()
        assert got.std == pytest.approx(want.std, rel=1e-6)
        assert got.death_rate == want.death_rate
    here.close()
    there.close()
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")


def test_no_step_waits_for_a_device_that_keeps_up(tmp_path: Path) -> None:
    model, device, criterion = Net(), HandDevice(3), nn.CrossEntropyLoss()
    recorder = record_on(device, model, tmp_path / "run", criterion=criterion)
    for step in range(300):
        x, y = batch_of(step % 7)
        criterion(model(on_gpu(x)), on_gpu(y)).backward()
    assert device.waits == 0
    recorder.close()
    assert recorder.report().batches == {"train": 300}
    assert recorder.report().device == "cuda:0"
    assert recorder.report().waited_seconds < 1
    assert "and the device" in repr(recorder.report())
    assert recorder.report().lost == {}


def test_outputs_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(record: Callable[..., Recorder], path: Path, put: Put) -> None:
        torch.manual_seed(0)
        model, criterion = Net(), nn.CrossEntropyLoss()
        with record(model, path, criterion=criterion, flush_seconds=1e6) as recorder:
            train(recorder, model, put, range(40), criterion)
            assert len(getattr(recorder._session.outbox, "_waiting", ())) <= 5

    monkeypatch.setattr("actrace.capture.cuda.outbox.KEPT_BYTES", 1200)
    assert pair(tmp_path, run, lag=None).waits > 5


def test_a_large_output_has_no_labels_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actrace.capture.cuda.capture.MAX_HOST_BYTES", 100)
    model, criterion = Net(), nn.CrossEntropyLoss()
    x, y = batch_of(0)
    recorder = record_on(HandDevice(1), model, tmp_path / "run", criterion=criterion)
    with pytest.warns(ActraceWarning, match="on cuda:0 is too large to keep"):
        criterion(model(on_gpu(x)), on_gpu(y))
    recorder.close()
    got = arrays(tmp_path / "run.zarr")
    assert np.isfinite(got["train/loss"]).all()
    assert not any(name.startswith("train/output") for name in got)


def test_a_device_that_fails_costs_what_had_not_come(tmp_path: Path) -> None:
    model, device = Net(), HandDevice()
    recorder = record_on(device, model, tmp_path / "run", n_rows=4)
    x, _ = batch_of(0)
    for _ in range(3):
        model(on_gpu(x))
    recorder.flush()
    model(on_gpu(x))
    model(on_gpu(x))
    device.broken = RuntimeError("CUDA error: an illegal memory access")

    def go_on() -> None:
        for _ in range(4):
            model(on_gpu(x))
        model(x)
        recorder.flush()

    with pytest.warns(ActraceWarning) as said:
        go_on()
    words = [str(warning.message) for warning in said]
    assert any("given up" in text and "illegal memory access" in text for text in words)
    assert any("lost_batches" in text for text in words)
    model(x)
    recorder.close()
    report = recorder.report()
    assert "given up: RuntimeError" in str(report.device)
    assert report.skipped["conv"] == "on cuda:0: recording there was given up"
    lost = report.lost["train"]
    got = arrays(tmp_path / "run.zarr")
    elements = (got["train/elements"] > 0).all(axis=0).tolist()
    assert lost + len(elements) == 11
    assert 2 <= lost <= 4
    assert elements == [True] * 3 + [False] * (6 - lost) + [True] * 2


def test_a_layer_that_fails_on_the_device_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = Plain(), HandDevice(1)
    recorder = record_on(device, model, tmp_path / "run")
    capture = recorder._session.device
    assert capture is not None
    add, calls = capture.add, []

    def fail_once(at: int, tensor: torch.Tensor, shape: tuple[int, int, int, int]) -> None:
        add(at, tensor, shape)
        calls.append(at)
        if len(calls) == 7:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(capture, "add", fail_once)
    for step in range(3):
        model(on_gpu(values(step)))
    with pytest.warns(ActraceWarning, match="'first' is no longer recorded"):
        model(on_gpu(values(3)))
    for step in range(4, 6):
        model(on_gpu(values(step)))
    recorder.close()
    got = arrays(tmp_path / "run.zarr")["train/elements"].tolist()
    assert got == [[48, 48, 48, 0, 0, 0], [48] * 6]


def test_a_forked_child_asks_nothing_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = Plain(), HandDevice()
    recorder = record_on(device, model, tmp_path / "run")
    for step in range(3):
        model(on_gpu(values(step)))
    device.broken = AssertionError("asked in a child")
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        recorder._session.seal()
    capture = recorder._session.device
    assert capture is not None
    assert capture.off is None
    device.broken = None
    model(on_gpu(values(5)))
    recorder.close()
    got = arrays(tmp_path / "run.zarr")
    assert got["train/step"].tolist() == [0, 1, 3]
    assert got["train/elements"].tolist() == [[48] * 3] * 2


def test_another_device_is_named(tmp_path: Path) -> None:
    class Elsewhere(OnGpu):
        device = torch.device("cuda", 1)

    model = Plain()
    with (
        pytest.warns(ActraceWarning, match="on cuda:1: this recorder records the CPU and cuda:0"),
        record_on(HandDevice(1), model, tmp_path / "run"),
    ):
        model(values(0).as_subclass(Elsewhere))


def test_without_cuda_the_parameter_is_named(tmp_path: Path) -> None:
    model = Plain()
    with (
        pytest.warns(ActraceWarning, match=r"on cuda:0.*actrace\.record\(\.\.\., cuda=True\)"),
        actrace.record(model, tmp_path / "run"),
    ):
        model(on_gpu(values(0)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sample": "all", "sample_stride": 2**31}, "sample_stride of up to 2147483647"),
        ({"gradients": True}, "does not record gradients"),
        ({"gradients": "outputs"}, "does not record gradients"),
    ],
    ids=str,
)
def test_what_a_device_cannot_do_is_refused(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecorderError, match=words):
        record_on(HandDevice(), Plain(), tmp_path / "run", **more)
    assert not list(tmp_path.iterdir())


def test_several_devices_no_bool_and_no_gpu_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecorderError, match="DistributedDataParallel"):
        record_on(HandDevice(), nn.DataParallel(Plain()), tmp_path / "run")
    with pytest.raises(RecorderError, match="cuda must be True or False"):
        actrace.record(Plain(), tmp_path / "run", cuda="cuda:0")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecorderError, match=r"cuda=torch\.cuda\.is_available\(\)"):
        actrace.record(Plain(), tmp_path / "run", cuda=True)
    assert not list(tmp_path.iterdir())
