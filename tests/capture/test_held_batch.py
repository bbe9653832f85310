"""Batches whose beginning and end are told, and steps that are set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.capture.models import digits, step
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import actrace
from actrace.errors import RecorderError


class Parts(nn.Module):
    """Has no forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
        self.head = nn.Linear(12, 10)


def test_a_batch_is_what_lies_inside_whatever_modules_are_called(tmp_path: Path) -> None:
    model, loss_fn = Parts(), nn.CrossEntropyLoss()
    x, y = digits(16)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder:
        for n in (1, 2):
            with recorder.batch(samples=16):
                h = [model.encoder(x) for _ in range(n)][-1]
                loss_fn(model.head(h), y).backward()
            recorder.log(lr=0.5)
        model.encoder(x)  # outside, and no batch
    train = actrace.open(tmp_path / "run")["train"]
    assert train["calls"].values.tolist() == [[1, 2], [1, 2], [1, 2], [1, 1]]
    assert train["elements"].values[3].tolist() == [160, 160]
    assert train["samples"].values.tolist() == [16, 16]
    assert train["lr"].values.tolist() == [0.5, 0.5]
    # The criterion's input is the output, where the model itself is never called.
    assert train["output"].attrs["layer"] == "head"
    assert train["output"]["samples"].values.sum() == 32


def test_several_forwards_are_one_batch_as_long_as_it_is_held(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, _ = digits(16)
    with actrace.record(model, tmp_path / "run") as recorder:
        with recorder.batch(), recorder.batch():
            model(x)
            model(x)
        model(x)
    train = actrace.open(tmp_path / "run")["train"]
    assert train["calls"].values.tolist() == [[2, 1], [2, 1]]
    assert train["samples"].values.tolist() == [16, 16]


def test_a_layer_that_checkpointing_runs_again_is_counted_once(tmp_path: Path) -> None:
    model, loss_fn = Parts(), nn.CrossEntropyLoss()
    x, y = digits(16)
    with (
        actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder,
        recorder.batch(samples=16),
    ):
        h: Tensor = checkpoint(model.encoder, x, use_reentrant=False)
        loss_fn(model.head(h), y).backward()
    train = actrace.open(tmp_path / "run")["train"]
    assert train["calls"].values.tolist() == [[1], [1], [1], [1]]


def test_a_batch_that_ends_in_an_error_is_dropped(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x, _ = digits(16)
    with actrace.record(model, tmp_path / "run") as recorder:
        with pytest.raises(RuntimeError), recorder.batch():
            model(model(x))
        model(x)
    assert recorder.report().batches == {"train": 1}
    assert recorder.report().remarks == ()


def test_a_held_training_is_bitwise_the_same(tmp_path: Path) -> None:
    def train(path: Path | None) -> list[Tensor]:
        torch.manual_seed(1)
        model, loss_fn = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        recorder = None if path is None else actrace.record(model, path, criterion=loss_fn)
        for seed in range(4):
            if recorder is None:
                step(model, loss_fn, optimizer, *digits(16, seed))
            else:
                with recorder.batch():
                    step(model, loss_fn, optimizer, *digits(16, seed))
        if recorder is not None:
            recorder.close()
        return [*model.state_dict().values(), torch.get_rng_state()]

    assert all(map(torch.equal, train(None), train(tmp_path / "run")))


def test_every_leaves_out_held_batches_too(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(2)) as recorder:
        for seed in range(5):
            with recorder.batch():
                model(digits(4, seed)[0])
    assert actrace.open(tmp_path / "run")["train"]["step"].values.tolist() == [0, 2, 4]


def test_a_step_that_is_set_is_that_of_the_next_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with actrace.record(model, tmp_path / "run") as recorder:
        recorder.step(100)
        for _ in range(2):
            model(digits(4)[0])
        for wrong in (-1, 1.5, True):
            with pytest.raises(RecorderError, match="whole number from 0"):
                recorder.step(wrong)  # type: ignore[arg-type]
    assert actrace.open(tmp_path / "run")["train"]["step"].values.tolist() == [100, 101]
