"""Trainings on a GPU: what is not recorded yet is said, and the training goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import actrace
from actrace.errors import ActraceWarning

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
]


def train(mode: str | None, path: Path | None) -> list[torch.Tensor]:
    """Train for a few batches; return the final weights."""
    torch.compiler.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).cuda()
    recorder = None if path is None else actrace.record(model, path)
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
    plain = train(None, None)
    with pytest.warns(ActraceWarning, match="3 of 3 layers cannot be recorded.*cuda"):
        watched = train(None, tmp_path / "run")
    assert all(map(torch.equal, plain, watched))
    assert actrace.open(tmp_path / "run").n_batches("train") == 5


@pytest.mark.filterwarnings("ignore::actrace.errors.ActraceWarning")
def test_cuda_graphs_train_on(tmp_path: Path) -> None:
    plain = train("reduce-overhead", None)
    watched = train("reduce-overhead", tmp_path / "run")
    for one, other in zip(plain, watched, strict=True):
        torch.testing.assert_close(one, other)
    assert actrace.open(tmp_path / "run").n_batches("train") == 5
