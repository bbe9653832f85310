"""Hooks come off the model for the batches left out, and are back wherever they are needed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch import nn

import actrace
from actrace.capture.hooks_at_rest import HooksAtRest


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def hooked(model: nn.Module) -> list[bool]:
    return [bool(module._forward_hooks) for module in model.children()]


def steps(model: nn.Module, n: int) -> None:
    for _ in range(n):
        model(torch.ones(2, 4))


def recorded(path: Path) -> list[int]:
    return actrace.open(path)["train"]["step"].values.tolist()


def test_hooks_are_off_between_recorded_batches(tmp_path: Path) -> None:
    model = net()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(3)):
        seen = []
        for _ in range(6):
            steps(model, 1)
            seen.append(hooked(model))
        assert seen == [[True] * 3, [False] * 3, [False] * 3] * 2
    assert hooked(model) == [False] * 3
    assert recorded(tmp_path / "run") == [0, 3]


def test_a_layer_with_a_schedule_has_its_hook_only_then(tmp_path: Path) -> None:
    model = net()
    with actrace.record(model, tmp_path / "run", layer_schedule={"1": actrace.every(2)}):
        steps(model, 2)
        assert hooked(model) == [True, False, True]
        steps(model, 1)
        assert hooked(model) == [True] * 3
    calls = actrace.open(tmp_path / "run")["train"]["calls"]
    assert calls.sel(layer="1").values.tolist() == [1, 0, 1]
    assert hooked(model) == [False] * 3


@pytest.mark.parametrize("how", ["wrapper", "in place", "a part"])
def test_what_is_compiled_in_a_batch_left_out_is_recorded_later(tmp_path: Path, how: str) -> None:
    model = nn.Sequential(Part(), nn.Linear(8, 3))
    call: nn.Module = model
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(4)):
        steps(model, 2)
        assert not model[0].layer._forward_hooks
        if how == "wrapper":
            call = torch.compile(model, backend="eager", fullgraph=True)  # type: ignore[assignment]
        elif how == "in place":
            model.compile(backend="eager", fullgraph=True)
        else:
            model[0].compile(backend="eager", fullgraph=True)
        steps(call, 7)
    run = actrace.open(tmp_path / "run")
    assert run["train"]["step"].values.tolist() == [0, 4, 8]
    assert (run["train"]["calls"] == 1).all()
    assert (run["train"]["elements"].isel(batch=0) == run["train"]["elements"].isel(batch=2)).all()


def test_hooks_stay_on_once_something_was_compiled(tmp_path: Path) -> None:
    model = net()
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    with actrace.record(model, tmp_path / "run", schedule=actrace.first(1)):
        steps(model, 3)
        assert hooked(model) == [True] * 3


def test_ours_stay_beside_somebody_elses_hook(tmp_path: Path) -> None:
    model = net()
    with actrace.record(model, tmp_path / "run", schedule=actrace.first(1)):
        handle = model[1].register_forward_hook(lambda *_: None)
        steps(model, 2)
        assert hooked(model) == [False, True, False]
        assert len(model[1]._forward_hooks) == 2
        handle.remove()


def test_hooks_come_back_before_those_that_were_hung_meanwhile(tmp_path: Path) -> None:
    model = net()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(3)):
        steps(model, 2)
        # Hung while ours rest, and it changes the output: ours must see what the layer gave.
        model[0].register_forward_hook(lambda _m, _a, output: output * 0)
        steps(model, 2)
    run = actrace.open(tmp_path / "run")
    assert float(run["train"]["norm"].sel(layer="0").isel(batch=1)) > 0
    assert float(run["train"]["norm"].sel(layer="1").isel(batch=1)) >= 0
    assert float(run["train"]["max"].sel(layer="1").isel(batch=1)) == 0


def test_a_model_copied_meanwhile_has_no_hooks_and_the_original_has(tmp_path: Path) -> None:
    model = net()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(2)):
        steps(model, 2)
        other = copy.deepcopy(model)
        steps(other, 3)
        steps(model, 1)
        assert hooked(other) == [False] * 3
    assert recorded(tmp_path / "run") == [0, 2]


def test_nothing_is_left_with_the_compiler(tmp_path: Path) -> None:
    callbacks = torch._dynamo.callback.callback_handler.start_callbacks
    before = list(callbacks)
    model = net()
    with actrace.record(model, tmp_path / "run", schedule=actrace.first(1)):
        steps(model, 2)
        assert len(callbacks) == len(before) + 1
    assert callbacks == before


def test_taking_off_twice_is_once() -> None:
    layer = nn.ReLU()
    handle = layer.register_forward_hook(lambda *_: None)
    hooks = HooksAtRest([handle])
    for _ in range(2):
        hooks.take_off()
    assert not layer._forward_hooks
    for _ in range(2):
        hooks.put_on()
    assert list(layer._forward_hooks) == [handle.id]
    hooks.end()
