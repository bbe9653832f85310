"""`sample=` on a device: the batches are those of the same recording on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.cuda.doubles import HandDevice, on_gpu, record_on
from tests.capture.cuda.graph_double import captured
from torch import nn

import actrace
from actrace.capture.recorder import Recorder

Record = Callable[..., Recorder]
Data = dict[str, np.ndarray]
STEPS = 40
#: On the CPU the first batches are read whole: they tell what the layers are like.
WHOLE = 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10))


def images(step: int) -> torch.Tensor:
    return torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(step))


def train(record: Record, path: Path, put: Callable[..., torch.Tensor], **more: Any) -> Data:
    """Run the network and return what the store has of its training batches."""
    model = network()
    with record(model, path, flush_seconds=1e6, **more) as recorder, torch.no_grad():
        for step in range(STEPS):
            with recorder.batch(samples=40):
                model(put(images(step)))
    return arrays_of(path)


def arrays_of(path: Path) -> Data:
    data = actrace.open(path)["train"].to_dataset()
    return {name: array.transpose("batch", ...).values for name, array in data.data_vars.items()}


def assert_same(got: Data, want: Data, first: int = WHOLE) -> None:
    for name, array in want.items():
        if name == "time":
            continue
        if array.dtype.kind == "f":
            atol = 1e-6 * float(np.nanmax(want["std"])) if name == "mean" else 0
            np.testing.assert_allclose(
                got[name][first:], array[first:], rtol=2e-6, atol=atol, err_msg=name
            )
        else:
            np.testing.assert_array_equal(got[name][first:], array[first:], err_msg=name)


@pytest.mark.parametrize("mode", ["histogram", "all"])
@pytest.mark.parametrize("lag", [0, 3], ids=["prompt", "late"])
def test_what_is_read_of_a_batch_is_what_the_cpu_reads_of_it(
    tmp_path: Path, mode: str, lag: int
) -> None:
    more = {"sample": mode, "sample_stride": 5}
    cpu = train(actrace.record, tmp_path / "cpu", lambda x: x, **more)

    def record(model: nn.Module, path: Path, **settings: Any) -> Recorder:
        return record_on(HandDevice(lag), model, path, n_rows=4, **settings)

    gpu = train(record, tmp_path / "gpu", on_gpu, **more)
    assert_same(gpu, cpu)
    held = gpu["count"].sum(-1) + gpu["underflow"] + gpu["overflow"]
    np.testing.assert_array_equal(held, gpu["sampled"])
    # The convolution is sampled from the first batch on, the small output never.
    assert (gpu["sampled"][:, 0] < gpu["elements"][:, 0] / 3).all()
    np.testing.assert_array_equal(gpu["sampled"][:, 3], gpu["elements"][:, 3])
    assert actrace.open(tmp_path / "gpu").attrs["sample"] == {"mode": mode, "stride": 5}


@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_a_replayed_graph_reads_what_is_due_in_its_batch(tmp_path: Path, mode: str) -> None:
    more = {"sample": mode, "sample_stride": 5}
    cpu = train(actrace.record, tmp_path / "cpu", lambda x: x, **more)
    model, device, static = network(), HandDevice(1), on_gpu(images(0))
    with (
        record_on(device, model, tmp_path / "gpu", n_rows=4, **more) as recorder,
        torch.no_grad(),
    ):
        for step in range(STEPS):
            static.copy_(images(step))
            if step == 3:
                with captured(device) as graph:
                    model(static)
            with recorder.batch(samples=40):
                model(static) if step < 3 else graph.replay()
    assert_same(arrays_of(tmp_path / "gpu"), cpu)


class Growing(nn.Module):
    """A linear layer that is called with other numbers of units: its rates are told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.same(x)


def test_rates_of_a_layer_whose_units_change_are_those_of_what_was_read(tmp_path: Path) -> None:
    model = Growing()
    more: dict[str, Any] = {"sample": "all", "sample_stride": 5}
    with record_on(HandDevice(1), model, tmp_path / "run", **more) as recorder:
        for step in range(6):
            with recorder.batch(samples=40):
                for units in (200, 300):
                    x = torch.randn(40, units, generator=torch.Generator().manual_seed(step))
                    model(on_gpu(x.relu()))
    assert "number changed" in recorder.report().skipped["same"]
    rate = actrace.open(tmp_path / "run")["train"]["activation_rate"].sel(layer="same")
    np.testing.assert_allclose(rate, 0.5, atol=0.05)
