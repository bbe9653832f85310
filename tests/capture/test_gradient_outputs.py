"""Gradients of the layers' outputs, eager and inside a compiled graph."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.capture.models import LSTMNet, digits
from torch import nn

import actrace
from actrace.store.gradients import GRADIENT_AXIS


class Net(nn.Module):
    """A convolution, an in-place ReLU after it, a shared layer, a branch not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.act = nn.ReLU(inplace=True)
        self.shared = nn.Linear(144, 144)
        self.fc = nn.Linear(144, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.conv(x[:, None])).flatten(1)
        return self.fc(self.shared(torch.relu(self.shared(hidden))))


def group(path: Path) -> xr.Dataset:
    run = actrace.open(path)
    try:
        return run["train/output_gradient"].to_dataset().load()
    finally:
        run.close()


def test_rows_are_the_gradients_of_the_outputs(tmp_path: Path) -> None:
    """Also before an in-place operation and where a layer is called twice."""
    model, wanted = Net(), []
    with actrace.record(model, tmp_path / "run", gradients="outputs") as recorder:
        for seed in range(3):
            found: dict[str, list[np.ndarray]] = {"conv": [], "shared": [], "fc": [], "act": []}
            handles = []
            for name, kept in found.items():

                def keep(
                    m: nn.Module, a: Any, out: torch.Tensor, kept: list[np.ndarray] = kept
                ) -> None:
                    out.register_hook(lambda g: kept.append(g.double().numpy().copy()))

                handles.append(model.get_submodule(name).register_forward_hook(keep))
            model(digits(6, seed)[0]).square().mean().backward()
            wanted.append(found)
            for handle in handles:
                handle.remove()
    assert recorder.report().remarks == ()
    data = group(tmp_path / "run")
    assert data["count"].dims == ("layer", "gradient_bin", "batch")
    for at, found in enumerate(wanted):
        assert {name: len(kept) for name, kept in found.items()} == {
            "conv": 1, "shared": 2, "fc": 1, "act": 1,
        }  # fmt: skip
        for name, kept in found.items():
            row = data.sel(layer=name).isel(batch=at)
            values = np.concatenate([value.ravel() for value in kept])
            want = np.histogram(values, GRADIENT_AXIS.edges)[0]
            np.testing.assert_array_equal(row["count"], want, err_msg=name)
            assert int(row.elements) == values.size
            norms = np.concatenate([np.sqrt((v.reshape(6, -1) ** 2).sum(1)) for v in kept])
            np.testing.assert_allclose(row.norm, norms.mean(), rtol=1e-5)
            units = np.concatenate(
                [np.moveaxis(np.abs(v) > 1e-8, 1, 0).reshape(v.shape[1], -1) for v in kept], axis=1
            )
            np.testing.assert_allclose(row.activation_rate, units.mean(), rtol=1e-5)
            np.testing.assert_allclose(row.death_rate, (~units.any(1)).mean(), rtol=1e-5)


def test_outputs_in_tuples_have_rows_of_their_own(tmp_path: Path) -> None:
    model = LSTMNet()
    with actrace.record(model, tmp_path / "run", gradients="outputs"):
        model(digits(4)[0]).sum().backward()
    elements = group(tmp_path / "run").elements.isel(batch=0)
    # The last hidden and cell states are not used by the head.
    assert dict(zip(elements.layer.values, elements.values, strict=True)) == {
        "lstm[0]": 4 * 8 * 12,
        "lstm[1][0]": 0,
        "lstm[1][1]": 0,
        "head": 40,
    }


def test_an_output_can_be_saved_without_a_word(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    with actrace.record(model, tmp_path / "run", gradients="outputs"):
        torch.save(model(torch.randn(2, 3)), io.BytesIO())


def test_a_backward_after_the_end_is_not_recorded(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    with actrace.record(model, tmp_path / "run", gradients="outputs"):
        out = model(torch.randn(2, 3))
    out.sum().backward()
    assert set(actrace.open(tmp_path / "run")["train"].children) & {
        "gradient", "output_gradient",
    } == set()  # fmt: skip


class Outer(nn.Module):
    """Its forward is not compiled, so batches begin and end as ever."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def train(path: Path, backend: str | None) -> tuple[xr.Dataset, xr.Dataset, list[torch.Tensor]]:
    """Return parameter and output gradients as stored, and the parameters' own."""
    torch._dynamo.reset()
    torch.manual_seed(3)
    net = Net()
    model = Outer(net)
    recorder = actrace.record(model, path, gradients="outputs")
    model(digits(6)[0])  # settles the rows, not compiled
    if backend is not None:
        model.inner = torch.compile(net, backend=backend, fullgraph=True)
    with recorder:
        for seed in range(3):
            model.zero_grad()
            model(digits(6, seed)[0]).square().mean().backward()
    assert recorder.report().remarks == ()
    run = actrace.open(path)["train"]
    mine, theirs = (run[name].to_dataset().load() for name in ("gradient", "output_gradient"))
    return mine, theirs, [p.grad for p in net.parameters()]


# torch's own: inductor imports what torch deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_graph_stays_whole_and_gives_the_same_gradients(
    tmp_path: Path, backend: str
) -> None:
    """fullgraph=True raises at any graph break; counts equal the eager ones."""
    eager = train(tmp_path / "eager", None)
    compiled = train(tmp_path / "compiled", backend)
    torch._dynamo.reset()
    exact = backend == "aot_eager"
    for one, other in zip(eager[:2], compiled[:2], strict=True):
        np.testing.assert_array_equal(one.elements, other.elements)
        np.testing.assert_allclose(one.norm, other.norm, rtol=1e-4)
        if exact:
            np.testing.assert_array_equal(one["count"], other["count"])
    for one, other in zip(eager[2], compiled[2], strict=True):
        torch.testing.assert_close(one, other, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-6)


def test_a_graph_that_outlives_its_recording_does_nothing(tmp_path: Path) -> None:
    torch._dynamo.reset()
    model = Outer(nn.Linear(3, 2))
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    recorder = actrace.record(model, tmp_path / "run", gradients="outputs")
    call(torch.ones(1, 3)).sum().backward()
    loss = call(torch.ones(1, 3)).sum()
    recorder.close()
    before = model.inner.weight.grad.clone()
    loss.backward()
    torch._dynamo.reset()
    assert group(tmp_path / "run").elements.values.tolist() == [[2, 0]]
    assert torch.equal(model.inner.weight.grad, 2 * before)
