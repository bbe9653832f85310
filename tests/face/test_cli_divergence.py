"""``actrace divergence``: what it prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import actrace
from actrace.cli import main


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "a"
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    loss_fn = nn.CrossEntropyLoss()
    with actrace.record(model, path, criterion=loss_fn):
        for _ in range(3):
            for training, batches in ((True, 16), (False, 3)):
                model.train(training)
                for _ in range(batches):
                    loss_fn(model(torch.randn(10, 4)), torch.randint(3, (10,)))
    return str(path)


def test_it_says_the_onset_and_a_row_a_layer(
    run_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["divergence", run_path]) == 0
    said = capsys.readouterr().out
    assert "no onset: valid did not get worse" in said
    assert "train against valid, epoch 2" in said
    for word in ("Jensen-Shannon", "Hellinger", "of band", " 0 ", " 1 ", " 2 "):
        assert word in said
    assert main(["divergence", run_path, "--by", "class", "--epoch", "1"]) == 0
    said = capsys.readouterr().out
    assert "epoch 1" in said
    assert said.count("yes") == 3


def test_json_holds_every_epoch_and_the_onset(
    run_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["divergence", run_path, "--json", "--layers", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = actrace.divergence(actrace.open(run_path), layers="2").compute()
    assert found["onset"]["epoch"] is None
    assert found["dims"]["hellinger"] == ["layer", "epoch"]
    assert found["coords"] == {"layer": ["2"], "epoch": [0, 1, 2]}
    for name in expected:
        np.testing.assert_allclose(found["values"][name], expected[name].values)


def test_windows_of_steps_instead_of_epochs(
    run_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["divergence", run_path, "--window", "16"]) == 0
    assert "train against valid, steps 32 to 47" in capsys.readouterr().out
    assert main(["divergence", run_path, "--window", "16", "--epoch", "1"]) == 0
    assert "train against valid, steps 16 to 31" in capsys.readouterr().out
    assert main(["divergence", run_path, "--window", "16:48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = actrace.divergence(actrace.open(run_path), window=(16, 48)).compute()
    assert found["coords"]["step"] == [16]
    assert found["coords"]["last_step"] == [47]
    for name in expected:
        np.testing.assert_allclose(found["values"][name], expected[name].values)


def test_errors_are_one_line(run_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--epoch", "9"], "epoch 9 has not both phases; epochs that have: 0, 1, 2"),
        (["--layers", "x"], "layer 'x' is not in this run"),
        (["--phases", "train", "test"], "phase 'test' is not in this run"),
    ):
        assert main(["divergence", run_path, *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_run_too_short_for_an_onset_says_so_and_shows_its_distances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    with actrace.record(model, tmp_path / "b"):
        for training in (True, False):
            model.train(training)
            model(torch.randn(10, 4))
    assert main(["divergence", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "no onset can be told: an onset with patience 2 takes 3 epochs" in said
    assert "epoch 0" in said


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["divergence", "--help"])
    assert stop.value.code == 0
    assert "examples:\n  actrace divergence" in capsys.readouterr().out
