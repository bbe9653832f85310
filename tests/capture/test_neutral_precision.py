"""Neutral also under autocast, loss scaling, checkpointing, averaging and a schedule."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.capture.models import ConvNet, digits
from tests.capture.test_neutral import same
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import actrace


class Net(nn.Module):
    """A convolutional net whose first half can be checkpointed; it has dropout and batch norm."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        whole = ConvNet()
        self.body = nn.Sequential(whole.conv1, whole.norm, whole.act, whole.drop)
        self.pool, self.fc = whole.pool, whole.fc
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.view(-1, 1, 8, 8)
        if self.reentrant is None or not self.training:
            x = self.body(x)
        else:
            # A reentrant one needs an input with a gradient.
            x = checkpoint(self.body, x.clone().requires_grad_(), use_reentrant=self.reentrant)
        return self.fc(self.pool(x).flatten(1))


def train(kind: str, path: Path | None) -> dict[str, Any]:
    """Return everything a training leaves behind, recorded if `path` is given."""
    torch.manual_seed(11)
    reentrant = {"checkpoint": False, "reentrant checkpoint": True}.get(kind)
    model, loss_fn = Net(reentrant), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=8)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    reduced = {"bfloat16": torch.bfloat16, "float16 and a scaler": torch.float16}.get(kind)
    recorder = None if path is None else actrace.record(model, path, criterion=loss_fn)
    outputs, losses = [], []
    for epoch in range(2):
        model.train()
        for seed in range(4):
            x, y = digits(16, 10 * epoch + seed)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=reduced) if reduced else nullcontext():
                loss = loss_fn(model(x), y)
            if "scaler" in kind:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()
                optimizer.step()
            scheduler.step()
            averaged.update_parameters(model)
            losses.append(loss.detach())
        model.eval()
        with torch.no_grad():
            outputs += [model(digits(16, 99)[0]).clone(), averaged(digits(16, 99)[0]).clone()]
    state = optimizer.state_dict()["state"]
    left: dict[str, Any] = {
        "outputs": outputs,
        "losses": losses,
        "gradients": [p.grad.clone() for p in model.parameters() if p.grad is not None],
        "weights": [t.clone() for t in model.state_dict().values()],
        "averaged": [t.clone() for t in averaged.state_dict().values()],
        "optimizer": [t for one in state.values() for t in one.values()],
        "scale": scaler.get_scale(),
        "rate": scheduler.get_last_lr(),
        "random": torch.get_rng_state(),
    }
    if recorder is not None:
        recorder.close()
        assert recorder.report().remarks == ()
        assert recorder.report().batches == {"train": 8, "valid": 2}
    return left


@pytest.mark.parametrize(
    "kind",
    ["plain", "bfloat16", "float16 and a scaler", "checkpoint", "reentrant checkpoint"],
)
def test_nothing_differs_bit_for_bit(tmp_path: Path, kind: str) -> None:
    bare, recorded = train(kind, None), train(kind, tmp_path / "run")
    for what in bare:
        assert same(bare[what], recorded[what]), what
    # The comparison sees a difference where there is one.
    assert not same(
        bare["weights"], train("plain" if kind == "bfloat16" else "bfloat16", None)["weights"]
    )
