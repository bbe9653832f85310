"""What recording does to the graphs that a compiler makes, and to the layouts in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition

import actrace
from actrace.capture import compiled
from actrace.capture.hooks import LayerHook

# torch's compiler uses what Python or torch itself has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
]

OPERATOR = torch.ops.actrace.hand_over.default


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Block(nn.Module):
    """In-place ReLUs, a sum with a shortcut, and after the last convolution a ReLU and a mean."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        for at, before in ((1, 4), (2, 8), (3, 8)):
            self.add_module(f"conv{at}", nn.Conv2d(before, 8, 3, 1, 1, bias=False))
            self.add_module(f"norm{at}", norm(8))
            self.add_module(f"relu{at}", nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu1(self.norm1(self.conv1(x)))
        second = self.relu2(self.norm2(self.conv2(first)) + first)
        out: Tensor = self.pool(self.relu3(self.norm3(self.conv3(second))))
        return out


class Graphs:
    """A backend that splits and keeps graphs as inductor does, and compiles nothing."""

    def __init__(self) -> None:
        self.kept: list[fx.GraphModule] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        from torch._inductor.decomposition import select_decomp_table

        compile_both = aot_autograd(
            fw_compiler=self._keep,
            bw_compiler=self._keep,
            partition_fn=min_cut_rematerialization_partition,
            decompositions=select_decomp_table(),
        )
        return compile_both(graph, inputs)

    def _keep(self, graph: fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
        self.kept.append(graph)
        boxed: Callable[..., Any] = make_boxed_func(graph)
        return boxed


def work(graph: fx.GraphModule) -> list[str]:
    """Return the calls of a graph, by name."""
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def saved(graph: fx.GraphModule) -> list[str]:
    """Return the tensors that a backward graph is given, the recorder's own left out."""
    values = (node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder")
    return sorted(f"{value.dtype} {tuple(value.shape)}" for value in values)


def graphs(record: bool, path: Path, model: nn.Module, x: Tensor) -> list[fx.GraphModule]:
    """Return the forward and the backward graph of a training step."""
    torch.compiler.reset()
    kept = Graphs()
    call = torch.compile(model, backend=kept, fullgraph=True)
    if record:
        with actrace.record(model, path):
            call(x).sum().backward()
    else:
        call(x).sum().backward()
    return kept.kept


def test_the_backward_graph_is_that_of_the_same_model_not_recorded(tmp_path: Path) -> None:
    x = torch.randn(2, 4, 6, 6)
    forward, backward = graphs(False, tmp_path / "none", Block(), x)
    recorded_forward, recorded_backward = graphs(True, tmp_path / "run", Block(), x)
    assert work(recorded_backward) == work(backward)
    assert saved(recorded_backward) == saved(backward)
    assert len(work(recorded_forward)) > len(work(forward))  # it is recorded


@pytest.mark.parametrize("fault", [lambda _: None, lambda _: 1 / 0], ids=["no tracer", "a fault"])
def test_where_calls_cannot_be_moved_the_graphs_are_dearer_and_the_counts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Any], Any]
) -> None:
    x = torch.randn(2, 4, 6, 6)
    model = Block()
    _, backward = graphs(True, tmp_path / "moved", model, x)
    monkeypatch.setattr(compiled, "let_readers_pass", fault)
    _, other = graphs(True, tmp_path / "left", model, x)
    assert saved(other) != saved(backward)
    runs = [actrace.open(tmp_path / name)["train"]["count"].values for name in ("moved", "left")]
    np.testing.assert_array_equal(*runs)


def test_each_layer_is_handed_over_before_the_next_and_behind_its_readers(tmp_path: Path) -> None:
    forward, _ = graphs(True, tmp_path / "run", Block(), torch.randn(2, 4, 6, 6))
    nodes = list(forward.graph.nodes)
    calls = [at for at, node in enumerate(nodes) if node.args and node.args[0] is OPERATOR]
    assert len(calls) == 10
    relus = [at for at, node in enumerate(nodes) if node.target is torch.ops.aten.relu.default]
    norm1, norm2, norm3 = calls[1], calls[4], calls[7]
    assert [relus[0] < norm1, relus[1] < norm2, relus[2] < norm3] == [True] * 3
    assert calls[3] < relus[1]  # one layer later, not at the end
    assert actrace.open(tmp_path / "run")["layer_order"].values.tolist() == list(range(10))


def on_integers(model: nn.Module) -> nn.Module:
    """Make the parameters integers, so that every order of summing is exact."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
    return model


def test_inductor_hands_layers_over_as_they_lie_and_counts_what_eager_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels-last after a convolution, and never what an in-place layer made of it."""
    strides: list[tuple[int, ...]] = []
    observed = LayerHook.observed

    def noting(self: LayerHook, value: Tensor, beside: Tensor | None, note: str) -> None:
        strides.append(value.stride())
        observed(self, value, beside, note)

    x = torch.randint(-3, 4, (2, 4, 6, 6), generator=torch.Generator().manual_seed(1)).float()
    model = on_integers(Block(norm=lambda _: nn.ReLU6(inplace=True)))
    with actrace.record(model, tmp_path / "eager"):
        model(x)
    monkeypatch.setattr(LayerHook, "observed", noting)
    with actrace.record(model, tmp_path / "inductor"):
        torch.compile(model, fullgraph=True)(x)
    eager, run = actrace.open(tmp_path / "eager"), actrace.open(tmp_path / "inductor")
    for name in ("count", "zero", "overflow", "elements", "min", "max", "death_rate"):
        np.testing.assert_array_equal(run["train"][name].values, eager["train"][name].values)
    for name in ("active", "total"):
        np.testing.assert_array_equal(
            run["train"]["unit"][name].values, eager["train"]["unit"][name].values
        )
    # (samples, 8, 6, 6) with the eight channels of a pixel side by side.
    assert strides[:9] == [(288, 1, 48, 8)] * 9


def test_recording_leaves_a_training_that_inductor_compiled_bitwise_alone(tmp_path: Path) -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))

    def trained(record: bool) -> list[Tensor]:
        torch.compiler.reset()
        torch.manual_seed(0)
        model = Block()
        call = torch.compile(model, fullgraph=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with actrace.record(model, tmp_path / "run") if record else nullcontext():
            for _ in range(2):
                optimizer.zero_grad()
                call(x).square().mean().backward()
                optimizer.step()
        return [tensor.detach().clone() for tensor in model.state_dict().values()]

    for plain, watched in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, watched)
    assert actrace.open(tmp_path / "run").n_batches("train") == 2
