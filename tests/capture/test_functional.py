"""Activations that are function calls: named in the report, recorded when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits
from torch import nn
from torch.nn import functional as F

import actrace
from actrace.capture.model.functions import functions_in
from actrace.errors import RecorderError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc(x))
        for _ in range(2):
            x = torch.tanh(x)
        return self.helper(x) + self.helper(-x)

    def helper(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.second = Block()
        self.act = nn.ReLU()
        self.soft = nn.Softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.second(self.first(x)))
        x = F.softmax(x, 1)
        return self.soft(x)


CALLS = [
    f"{block}.{name}"
    for block in ("first", "second")
    for name in ("relu()", "tanh()", "relu()[1]", "relu()[2]")
] + ["softmax()"]


def test_the_report_names_what_no_hook_sees(tmp_path: Path) -> None:
    model = Net()
    with actrace.record(model, tmp_path / "run") as recorder:
        for _ in range(2):
            model(torch.randn(3, 5))
    named = ["softmax()", "first.relu()", "first.tanh()", "second.relu()", "second.tanh()"]
    assert list(recorder.report().functions) == named
    assert "functional=True" in repr(recorder.report())
    assert list(actrace.open(tmp_path / "run").attrs["coverage"]["functions"]) == named
    assert actrace.open(tmp_path / "run").layer.values.tolist() == [
        "first.fc",
        "second.fc",
        "act",
        "soft",
    ]


def test_functions_are_recorded_when_asked_with_the_right_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Net()
    seen: list[torch.Tensor] = []
    real = Block.helper

    def helper(self: Block, x: torch.Tensor) -> torch.Tensor:
        seen.append(real(self, x).detach())
        return seen[-1]

    monkeypatch.setattr(Block, "helper", helper)
    with actrace.record(model, tmp_path / "run", functional=True) as recorder:
        model(torch.randn(3, 5))
        model(torch.randn(3, 5))
    run = actrace.open(tmp_path / "run")
    assert set(CALLS) <= set(run.layer.values.tolist())
    assert recorder.report().functions == {}
    found = run["train"]
    assert found["calls"].sel(layer="first.tanh()").values.tolist() == [2, 2]
    assert found["elements"].sel(layer="first.tanh()").values.tolist() == [30, 30]
    for at, layer in enumerate([c for c in CALLS if c.endswith("]")]):
        for batch in range(2):
            values = seen[at + 4 * batch].numpy().astype(np.float64)
            want = np.histogram(values, run.axis.edges)[0]
            got = found["count"].sel(layer=layer).values[:, batch]
            np.testing.assert_array_equal(got, want)
    assert run["layer_type"].sel(layer="softmax()").item() == "softmax()"
    assert (found["count"].sum("bin") == found["elements"]).all()


def test_the_output_may_be_a_functions(tmp_path: Path) -> None:
    model = Net()
    model.forward = lambda x: F.log_softmax(model.first(x), 1)  # type: ignore[method-assign]
    loss_fn = nn.NLLLoss()
    with actrace.record(model, tmp_path / "run", functional=True, criterion=loss_fn):
        loss_fn(model(torch.randn(4, 5)), torch.tensor([0, 1, 2, 3]))
    run = actrace.open(tmp_path / "run")
    assert run.attrs["output_layer"] == "log_softmax()"
    assert run.output("train") is not None


def test_watching_functions_is_neutral(tmp_path: Path) -> None:
    def train(functional: bool | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = None
        if functional is not None:
            recorder = actrace.record(
                model, tmp_path / "run", functional=functional, overwrite=True
            )
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.randn(3, 5)).square().sum()
            loss.backward()
            optimizer.step()
        if recorder is not None:
            recorder.close()
        return [*model.parameters(), torch.get_rng_state()]

    plain = train(None)
    for functional in (False, True):
        assert all(map(torch.equal, plain, train(functional)))


def test_a_forward_that_raises_ends_the_watch(tmp_path: Path) -> None:
    model = Net()
    with actrace.record(model, tmp_path / "run", functional=True):
        with pytest.raises(RuntimeError):
            model(torch.randn(3, 7))
        assert torch.overrides._get_current_function_mode() is None
        model(torch.randn(3, 5))
    assert torch.overrides._get_current_function_mode() is None
    assert actrace.open(tmp_path / "run").n_batches("train") == 1


def test_a_call_first_made_later_is_reported(tmp_path: Path) -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 5)
            self.late = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.fc(x)
            return F.gelu(x) if self.late else x

    model = Late()
    with actrace.record(model, tmp_path / "run", functional=True) as recorder:
        model(torch.randn(3, 5))
        model.late = True
        model(torch.randn(3, 5))
    assert "fixes the layers" in recorder.report().functions["gelu()"]


def test_a_run_with_functions_is_resumed_with_functions(tmp_path: Path) -> None:
    model = Net()
    for resume in (False, True):
        with actrace.record(model, tmp_path / "run", functional=True, resume=resume):
            model(torch.randn(3, 5))
    run = actrace.open(tmp_path / "run")
    assert (run["train"]["calls"].sel(layer="second.relu()").values == 1).all()
    assert run.n_batches("train") == 2
    with pytest.raises(RecorderError, match="functional=True; pass it again"):
        actrace.record(model, tmp_path / "run", resume=True)


def test_functions_inside_torchs_own_layers_are_named(tmp_path: Path) -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with actrace.record(model, tmp_path / "run") as recorder:
        model(torch.randn(2, 3, 8))
    assert list(recorder.report().functions) == ["relu()"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return F.relu(x)", ("relu",)),
        ("return torch.sigmoid(x).tanh()", ("sigmoid", "tanh")),
        ("return x.relu_()", ("relu",)),
        ("return gelu(x)", ("gelu",)),
        ("return [F.silu(part) for part in x]", ("silu",)),
        ("return self.relu(x)", ()),
        ("return self.fc.weight", ()),
        ("return x.threshold", ("threshold",)),
    ],
)
def test_the_code_of_a_module_tells_what_it_calls(body: str, found: tuple[str, ...]) -> None:
    names: dict[str, object] = {"F": F, "torch": torch, "gelu": F.gelu}
    exec(f"def forward(self, x):\n    {body}", names)
    kind = type("Written", (nn.Module,), {"forward": names["forward"]})
    assert functions_in(kind(), {}) == found


def test_in_compiled_code_the_report_says_why_there_are_none(tmp_path: Path) -> None:
    model = Net()
    with actrace.record(model, tmp_path / "run", functional=True) as recorder:
        torch.compile(model, backend="eager", fullgraph=True)(torch.randn(3, 5))
    torch.compiler.reset()
    assert "torch.compile" in str(recorder.report().functions)
    assert recorder.report().fired == ("first.fc", "second.fc", "act", "soft")


def test_schedules_name_functions_too(tmp_path: Path) -> None:
    model = Net()
    layers = {"*()*": actrace.every(2)}
    with actrace.record(model, tmp_path / "run", functional=True, layer_schedule=layers):
        for _ in range(3):
            model(torch.randn(3, 5))
    calls = actrace.open(tmp_path / "run")["train"]["calls"]
    assert calls.sel(layer="first.relu()").values.tolist() == [1, 0, 1]
    assert calls.sel(layer="first.fc").values.tolist() == [1, 1, 1]


def test_a_model_without_functions_has_none_in_its_report(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
    assert recorder.report().functions == {}
