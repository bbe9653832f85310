"""Recording inside `torch.compile`: no graph breaks, and the eager counts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

import actrace
from actrace.errors import ActraceWarning

# torch's compiler uses what Python or torch itself has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
]

COUNTERS = ("calls", "elements", "zero", "nan", "underflow", "overflow")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.fc(x)))


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Net()
        self.last = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.inner(x))


class Adds(Net):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.fc(torch.stack(inputs).sum(0))))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


def sequential() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def same(model: nn.Module) -> nn.Module:
    return model


def compiled(backend: str) -> Callable[[nn.Module], Any]:
    return lambda model: torch.compile(model, backend=backend, fullgraph=True)


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager", fullgraph=True)
    return model


def inner_wrapped(model: nn.Module) -> nn.Module:
    model.inner = torch.compile(model.inner, backend="aot_eager", fullgraph=True)
    return model


def inner_in_place(model: nn.Module) -> nn.Module:
    model.inner.compile(backend="aot_eager", fullgraph=True)  # type: ignore[union-attr]
    return model


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def on_a_grid(model: nn.Module) -> nn.Module:
    """Round the parameters to eighths, so that sums of products are exact in any order."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 8).round() / 8)
    return model


def batches(n: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(n):
        x = torch.randint(-8, 9, (6, 4), generator=generator) / 4
        yield x, torch.randint(0, 3, (6,), generator=generator)


def train(
    call: Any, model: nn.Module, n: int = 4, loss_fn: nn.Module | None = None, lr: float = 0.1
) -> list[torch.Tensor]:
    """Train for n batches and look at one in evaluation; return outputs and final weights."""
    loss_fn = loss_fn or nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    kept = []
    for x, y in batches(n):
        call.train()
        optimizer.zero_grad()
        output = call(x)
        loss_fn(output, y).backward()
        optimizer.step()
        kept.append(output.detach().clone())
    call.eval()
    with torch.no_grad():
        kept.append(loss_fn(call(x), y))
    return kept + [p.detach().clone() for p in model.parameters()]


def recorded(
    path: Path, make: Callable[[], nn.Module], wrap: Callable[[nn.Module], Any], lr: float = 0.1
) -> Any:
    torch.manual_seed(0)
    model = on_a_grid(make())
    call, loss_fn = wrap(model), nn.CrossEntropyLoss()
    with actrace.record(call, path, criterion=loss_fn) as recorder:
        train(call, model, loss_fn=loss_fn, lr=lr)
    assert recorder.report().remarks == ()
    return actrace.open(path)


WAYS = [
    pytest.param(Net, compiled("eager"), id="eager"),
    pytest.param(Net, compiled("aot_eager"), id="aot_eager"),
    pytest.param(Net, in_place, id="in place"),
    pytest.param(sequential, compiled("aot_eager"), id="sequential"),
    pytest.param(Outer, inner_wrapped, id="a part"),
    pytest.param(Outer, inner_in_place, id="a part in place"),
    pytest.param(Checkpointed, compiled("aot_eager"), id="checkpointed"),
]


@pytest.mark.parametrize(("make", "wrap"), WAYS)
def test_compiled_counts_are_the_eager_ones_batch_for_batch(
    tmp_path: Path, make: Callable[[], nn.Module], wrap: Callable[[nn.Module], Any]
) -> None:
    eager = recorded(tmp_path / "eager", make, same)
    run = recorded(tmp_path / "compiled", make, wrap)
    assert run.layer.values.tolist() == eager.layer.values.tolist()
    assert run["layer_units"].values.tolist() == eager["layer_units"].values.tolist()
    assert run["layer_order"].values.tolist() == eager["layer_order"].values.tolist()
    assert run.attrs["output_layer"] == eager.attrs["output_layer"]
    for phase in ("train", "valid"):
        for name in ("count", *COUNTERS, "step", "epoch", "samples"):
            np.testing.assert_array_equal(run[phase][name].values, eager[phase][name].values)
        for name in ("mean", "std", "min", "max", "norm", "activation_rate", "loss"):
            np.testing.assert_allclose(
                run[phase][name].values, eager[phase][name].values, rtol=1e-5, atol=1e-6
            )
        labels, wanted = run.output(phase), eager.output(phase)
        np.testing.assert_array_equal(
            labels["count_by_unit"].values, wanted["count_by_unit"].values
        )
    assert int(run["train"]["calls"].sum()) == run["train"]["calls"].size


def test_inductor_counts_are_the_eager_ones_where_the_numbers_are(tmp_path: Path) -> None:
    # Without a step the weights stay on a grid on which every order of summing is exact.
    eager = recorded(tmp_path / "eager", Net, same, lr=0.0)
    run = recorded(tmp_path / "inductor", Net, compiled("inductor"), lr=0.0)
    for phase in ("train", "valid"):
        for name in ("count", *COUNTERS, "min", "max"):
            np.testing.assert_array_equal(run[phase][name].values, eager[phase][name].values)


def test_recording_leaves_a_compiled_training_bitwise_alone(tmp_path: Path) -> None:
    def once(record: bool) -> list[torch.Tensor]:
        torch.compiler.reset()
        torch.manual_seed(0)
        model = Net()
        call = torch.compile(model, backend="aot_eager", fullgraph=True)
        if not record:
            return [*train(call, model), torch.get_rng_state()]
        with actrace.record(model, tmp_path / "run"):
            return [*train(call, model), torch.get_rng_state()]

    for plain, watched in zip(once(False), once(True), strict=True):
        assert torch.equal(plain, watched)


def test_graphs_are_neither_broken_nor_made_again_by_recording(tmp_path: Path) -> None:
    def graphs(record: bool, n: int) -> int:
        torch.compiler.reset()
        counters.clear()
        for at in range(n):
            model = Net()
            call = torch.compile(model, backend="aot_eager", fullgraph=True)
            if record:
                with actrace.record(model, tmp_path / f"run{at}", overwrite=True):
                    train(call, model)
            else:
                train(call, model)
        return int(counters["stats"]["unique_graphs"])

    assert graphs(True, 1) == graphs(False, 1)
    # One process, many models in turn: the graph of the first serves all.
    assert graphs(True, 12) <= graphs(False, 12) + 1


def test_many_kinds_of_models_can_be_compiled_and_recorded_in_one_process(tmp_path: Path) -> None:
    """The compiler gives up on code with more than eight variants, and raises."""
    for at in range(12):
        # A code object of its own, or the limit would be met without us.
        code = Adds.forward.__code__.replace(co_firstlineno=1000 + at)
        kind = type(f"Adds{at}", (Adds,), {"forward": FunctionType(code, globals())})
        model = kind()
        call = torch.compile(model, backend="eager", fullgraph=True)
        with actrace.record(model, tmp_path / f"run{at}") as recorder:
            call(*(torch.ones(at + 1, 4) for _ in range(at + 1)))
        assert recorder.report().fired == ("fc", "act", "head")


@pytest.mark.parametrize(
    ("make", "wrap"),
    [
        pytest.param(Net, compiled("aot_eager"), id="model"),
        pytest.param(sequential, compiled("aot_eager"), id="sequential"),
        pytest.param(Net, in_place, id="in place"),
        pytest.param(Outer, inner_wrapped, id="a part"),
        pytest.param(Outer, inner_in_place, id="a part in place"),
    ],
)
@pytest.mark.parametrize("given", ["the compiled model", "the model"])
def test_a_recorder_that_comes_too_late_says_so_at_the_first_batch(
    tmp_path: Path, make: Callable[[], nn.Module], wrap: Callable[[nn.Module], Any], given: str
) -> None:
    model = make()
    call = wrap(model)
    x = torch.randn(6, 4)
    call(x)
    recorder = actrace.record(call if given == "the compiled model" else model, tmp_path / "run")
    with pytest.warns(ActraceWarning, match=r"before the recorder was attached.*compiler\.reset"):
        call(x)
    torch.compiler.reset()
    call(x)
    recorder.close()
    run = actrace.open(tmp_path / "run")
    assert run["train"]["calls"].values[:, -1].tolist() == [1] * run.sizes["layer"]


def test_a_recorder_in_time_says_nothing(tmp_path: Path) -> None:
    model = Net()
    call = torch.compile(model, backend="eager", fullgraph=True)
    with actrace.record(call, tmp_path / "run") as recorder:
        call(torch.randn(6, 4))
    assert recorder.report().remarks == ()
    assert recorder.report().fired == ("fc", "act", "head")


def test_a_closed_recorder_is_silent_in_code_that_still_has_its_operator(tmp_path: Path) -> None:
    model = Net()
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    recorder = actrace.record(model, tmp_path / "run")
    x = torch.randn(6, 4)
    want = call(x)
    recorder.close()
    assert torch.equal(call(x), want)
    assert actrace.open(tmp_path / "run").n_batches("train") == 1
    with actrace.record(model, tmp_path / "second"):
        torch.compiler.reset()
        call(x)
    assert actrace.open(tmp_path / "run").n_batches("train") == 1
    assert actrace.open(tmp_path / "second").n_batches("train") == 1


def test_a_batch_of_another_size_and_autocast_are_recorded(tmp_path: Path) -> None:
    model = Net()
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    with actrace.record(model, tmp_path / "run"):
        for size in (6, 3, 5, 2):
            call(torch.randn(size, 4))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            call(torch.randn(7, 4))
        with torch.inference_mode():
            call(torch.randn(1, 4))
    found = actrace.open(tmp_path / "run")["train"]
    assert found["samples"].values.tolist() == [6, 3, 5, 2, 7, 1]
    assert found["elements"].sel(layer="head").values.tolist() == [18, 9, 15, 6, 21, 3]


def test_a_whole_training_step_may_be_compiled(tmp_path: Path) -> None:
    model, loss_fn = Net(), nn.CrossEntropyLoss()

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = loss_fn(model(x), y)
        return loss

    step = torch.compile(loss_of, backend="aot_eager", fullgraph=True)
    losses = []
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        for x, y in batches(3):
            loss = step(x, y)
            loss.backward()
            losses.append(float(loss.detach()))
    run = actrace.open(tmp_path / "run")
    np.testing.assert_array_equal(run["train"]["loss"].values, losses)
    assert int(run.output("train")["count_by_unit"].sum()) == 3 * 6 * 3


def test_outputs_of_many_tensors_keep_their_paths(tmp_path: Path) -> None:
    class Many(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"logits": x + 1, "hidden": (x * 2, [x * 3]), "none": None}

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.many = Many()

        def forward(self, x: torch.Tensor) -> Any:
            return self.many(x)

    model = Root()
    with actrace.record(model, tmp_path / "run", output="many.logits"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(torch.ones(2, 3))
    layers = actrace.open(tmp_path / "run").layer.values.tolist()
    assert layers == ["many.logits", "many.hidden[0]", "many.hidden[1][0]"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_graph_breaks_of_the_model_itself_lose_nothing(tmp_path: Path) -> None:
    class Breaks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.fc(x)
            torch._dynamo.graph_break()
            return self.head(self.act(hidden))

    model = Breaks()
    call = torch.compile(model, backend="aot_eager")
    with actrace.record(model, tmp_path / "run"):
        for _ in range(2):
            call(torch.randn(6, 4)).sum().backward()
    assert (actrace.open(tmp_path / "run")["train"]["calls"].values == 1).all()


def test_schedules_hold_in_compiled_code(tmp_path: Path) -> None:
    model = Net()
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    schedules = {"schedule": actrace.every(2), "layer_schedule": {"act": actrace.every(4)}}
    with actrace.record(model, tmp_path / "run", **schedules):  # type: ignore[arg-type]
        for _ in range(6):
            call(torch.randn(6, 4))
    found = actrace.open(tmp_path / "run")["train"]
    assert found["step"].values.tolist() == [0, 2, 4]
    assert found["calls"].sel(layer=["fc", "act"]).values.tolist() == [[1, 1, 1], [1, 0, 1]]


def test_a_fault_of_ours_in_compiled_code_leaves_the_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Net()
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(6, 4)
    want = model(x)
    with actrace.record(model, tmp_path / "run") as recorder:
        monkeypatch.setattr(recorder._session.table.kernel, "add", lambda *_: 1 / 0)
        with pytest.warns(ActraceWarning, match="no longer recorded: ZeroDivisionError"):
            assert torch.equal(call(x), want)


def test_a_copy_of_a_recorded_model_is_compiled_without_the_recorder(tmp_path: Path) -> None:
    model = Net()
    with actrace.record(model, tmp_path / "run"):
        torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)(torch.randn(2, 4))
        model(torch.randn(2, 4))
    assert actrace.open(tmp_path / "run").n_batches("train") == 1
