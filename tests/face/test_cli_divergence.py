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


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a run that learns noise by heart: three classes, of which one is never validated."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "over"
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 3))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, y = torch.randn(60, 30), torch.arange(60) % 3
    x_valid, y_valid = torch.randn(60, 30), torch.arange(60) % 2
    x[:, 0] += y
    x_valid[:, 0] += y_valid
    with actrace.record(model, path, criterion=loss_fn):
        for _ in range(12):
            model.train()
            for batch in torch.randperm(60).split(5):
                optimizer.zero_grad()
                loss_fn(model(x[batch]), y[batch]).backward()
                optimizer.step()
            model.eval()
            loss_fn(model(x_valid), y_valid)
    return str(path)


def test_by_class_the_onset_of_each_is_told(
    overfitted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = actrace.onset_by_class(actrace.open(overfitted))
    assert list(expected.parted)  # both classes learn by heart, or there would be nothing to see
    assert expected.unjudged == ("2",)
    assert main(["divergence", overfitted, "--by", "class"]) == 0
    said = capsys.readouterr().out
    assert f"{len(expected.parted)} of 2 classes have an onset" in said
    assert "too few epochs with samples of '2'" in said
    rows = said.partition("onset by class")[2].partition("train against valid")[0].splitlines()
    told = [row.split() for row in rows if row.strip()[:1].isdecimal()]
    assert told == [
        [name, str(epoch), str(expected[name].best), str(expected[name].confirmed)]
        for name, epoch in expected.parted.items()
    ]
    assert main(["divergence", overfitted]) == 0
    assert "classes have an onset" not in capsys.readouterr().out


def test_by_class_json_holds_each_onset(
    overfitted: str, run_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["divergence", overfitted, "--by", "class", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["onset_by_class"]
    expected = actrace.onset_by_class(actrace.open(overfitted))
    assert {name: one["epoch"] for name, one in told.items() if one} == {
        name: one.epoch for name, one in expected.items()
    }
    assert told["2"] is None
    assert main(["divergence", run_path, "--json"]) == 0
    assert "onset_by_class" not in json.loads(capsys.readouterr().out)


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
