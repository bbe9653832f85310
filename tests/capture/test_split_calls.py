"""Rows for each call of a module that is called several times in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import actrace
from actrace.errors import RecorderError


class Unrolled(nn.Module):
    """A cell called a few times, and an activation called after each."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.act = nn.ReLU()
        self.steps = 3
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        self.seen = []
        for _ in range(self.steps):
            state = self.cell(x, state)
            self.seen.append(self.act(state[0]))
        return self.seen[-1]


def histogram(run: actrace.Run, values: torch.Tensor) -> np.ndarray:
    return np.histogram(values.detach().numpy().astype(np.float64), run.axis.edges)[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_each_call_has_a_row_of_its_own(tmp_path: Path, compiled: bool) -> None:
    model = Unrolled()
    if compiled:
        model.compile(backend="aot_eager", fullgraph=True)
    seen = []
    with actrace.record(model, tmp_path / "run", split_calls=True):
        for _ in range(2):
            model(torch.randn(5, 3))
            seen.append(list(model.seen))
    torch.compiler.reset()
    run = actrace.open(tmp_path / "run")
    cells = [f"cell{call}{leaf}" for call in ("", "#2", "#3") for leaf in ("[0]", "[1]")]
    assert run.layer.values.tolist() == [*cells, "act", "act#2", "act#3"]
    assert (run["train"]["calls"].values == 1).all()
    for batch, outputs in enumerate(seen):
        for layer, output in zip(("act", "act#2", "act#3"), outputs, strict=True):
            got = run["train"]["count"].sel(layer=layer).values[:, batch]
            np.testing.assert_array_equal(got, histogram(run, output))


def test_added_up_they_are_the_rows_without(tmp_path: Path) -> None:
    model, x = Unrolled(), torch.randn(5, 3)
    for name, split in (("whole", False), ("split", True)):
        with actrace.record(model, tmp_path / name, split_calls=split):
            model(x)
    whole, split = (actrace.open(tmp_path / name)["train"]["count"] for name in ("whole", "split"))
    calls = split.sel(layer=["act", "act#2", "act#3"]).sum("layer")
    np.testing.assert_array_equal(calls.values, whole.sel(layer="act").values)


def test_gradients_of_outputs_stand_with_their_call(tmp_path: Path) -> None:
    model = Unrolled()
    with actrace.record(model, tmp_path / "run", split_calls=True, gradients="outputs"):
        model(torch.randn(5, 3)).sum().backward()
    found = actrace.open(tmp_path / "run")["train/output_gradient"]["elements"]
    # Only the last activation reaches the loss.
    assert found.sel(layer=["act", "act#2", "act#3"]).values[:, 0].tolist() == [0, 0, 20]


def test_more_calls_than_in_the_first_forward_are_skipped_with_the_reason(tmp_path: Path) -> None:
    model = Unrolled()
    with actrace.record(model, tmp_path / "run", split_calls=True) as recorder:
        for steps in (2, 3, 1):
            model.steps = steps
            model(torch.randn(5, 3))
    calls = actrace.open(tmp_path / "run")["train"]["calls"]
    assert calls.sel(layer="act#2").values.tolist() == [1, 1, 0]
    assert "fixes the layers" in recorder.report().skipped["act#3"]


def test_a_run_of_split_calls_is_resumed_with_split_calls(tmp_path: Path) -> None:
    model = Unrolled()
    for resume in (False, True):
        with actrace.record(model, tmp_path / "run", split_calls=True, resume=resume):
            model(torch.randn(5, 3))
    run = actrace.open(tmp_path / "run")
    assert run["train"]["calls"].sel(layer="act#3").values.tolist() == [1, 1]
    with pytest.raises(RecorderError, match="split_calls=True; pass it again"):
        actrace.record(model, tmp_path / "run", resume=True)
