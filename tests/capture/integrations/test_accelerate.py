"""A loop that Accelerate prepared, recorded by one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tests.capture.integrations.data import data, net, same, weights
from torch import Tensor, nn
from torch.utils.data import DataLoader

import actrace
from actrace.errors import RecorderError


@pytest.fixture(autouse=True)
def _fresh_state() -> None:
    """Accelerate keeps one precision for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


def train(path: Path | None, **more: Any) -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(2)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, **more)
    model, loss_fn = net(), nn.CrossEntropyLoss()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.01}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    loader = DataLoader(data(64), batch_size=16)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    if path is not None:
        actrace.record_accelerate(accelerator, model, path, criterion=loss_fn)
    accelerator.init_trackers("digits", config={"a": 1})
    for _ in range(2):
        model.train()
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = loss_fn(model(x), y)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                accelerator.log({"train/loss": loss.item(), "note": "text"}, step=3)
        model.eval()
        with torch.no_grad():
            logits = model(data(24, 1).tensors[0])
        accelerator.log({"accuracy": (logits.argmax(1) == 0).float().mean()})
    accelerator.end_training()
    return model, [*weights(model), torch.get_rng_state()]


def test_a_loop_gives_phases_epochs_steps_losses_rates_and_what_it_logs(tmp_path: Path) -> None:
    model, _ = train(tmp_path / "run")
    run = actrace.open(tmp_path / "run")
    training = run["train"]
    assert run.status == "finished"
    assert training["epoch"].values.tolist() == [0] * 4 + [1] * 4
    assert training["step"].values.tolist() == list(range(8))
    assert np.allclose(training["lr"].values, 0.1)
    assert np.allclose(training["lr_1"].values, 0.01)
    assert np.allclose(training["loss"].values, training["train_loss"].values)
    assert np.isfinite(run["valid"]["accuracy"].values).all()
    assert run["train/output"]["samples"].values.sum() == 128
    assert not model._forward_hooks


def test_the_same_weights_with_and_without(tmp_path: Path) -> None:
    assert same(train(None)[1], train(tmp_path / "run")[1])


def test_mixed_precision_is_recorded_as_it_is(tmp_path: Path) -> None:
    bare = train(None, mixed_precision="bf16")[1]
    AcceleratorState._reset_state(reset_partial_state=True)
    assert same(bare, train(tmp_path / "run", mixed_precision="bf16")[1])
    run = actrace.open(tmp_path / "run")
    assert run.n_batches("train") == 8
    assert run["train/output"]["samples"].values.sum() == 128


def test_a_prepared_model_can_be_pickled_meanwhile(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(net())
    with actrace.record_accelerate(accelerator, model, tmp_path / "run") as recorder:
        pickle.loads(pickle.dumps(model))(torch.zeros(2, 8))
        model(torch.zeros(2, 8))
    assert recorder.report().batches == {"train": 1}


def test_what_is_no_accelerator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match=r"must be an .*Accelerator, got Linear"):
        actrace.record_accelerate(nn.Linear(2, 2), nn.Linear(2, 2), tmp_path / "run")
