"""``actrace diagnose``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.datasets import load_digits
from torch import manual_seed, nn, optim, randperm, tensor

import actrace
from actrace.cli import main

_LESS = "dead-units.inactive_units=0.8"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three epochs whose hidden layer has mostly dead units."""
    manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "dead.zarr"
    images, labels = load_digits(return_X_y=True)
    x, y = tensor(images[:640] / 16).float(), tensor(labels[:640])
    model = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    model[0].bias.data[:14] = -100.0
    loss_fn = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    with actrace.record(model, path, criterion=loss_fn):
        for _ in range(3):
            model.train()
            for batch in randperm(640).split(64):
                loss = loss_fn(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            loss_fn(model(x), y)
    return path


def test_findings_are_told_and_the_exit_code_is_1(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(run)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: dead-units - 1, unit 0, 1, 2" in said
    assert "(share of inactive units 0.75) limit 0.5 (inactive_units: SageMaker" in said


def test_nothing_of_the_severity_asked_for_is_exit_code_0(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(run), "--severity", "error"]) == 0
    assert "below severity error" in capsys.readouterr().out
    assert main(["diagnose", str(run), "--rule", "not-finite"]) == 0
    assert main(["diagnose", str(run), "--rule", "dead-*", "--threshold", _LESS]) == 0


def test_json_html_and_table(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "findings.html"
    assert main(["diagnose", str(run), "--rule", "dead-*", "--json", "--html", str(page)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["rules"] == ["dead-layer", "dead-units"]
    (finding,) = document["findings"]
    assert (finding["layer"], finding["value"]) == ("1", 0.75)
    assert "dead-units" in page.read_text()
    assert main(["diagnose", str(run), "--brief"]) == 1
    assert "share of inactive units" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--rule", "nothing"], ["--threshold", "dead-units"], ["--threshold", "dead-units.x=1"]],
)
def test_an_error_is_one_line_and_exit_code_2(
    run: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(run), *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_path_without_a_run_is_exit_code_2(tmp_path: Path) -> None:
    assert main(["diagnose", str(tmp_path)]) == 2
