"""``actrace compare`` and ``actrace check --against``: what they print and exit with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.store import recording as rec

from actrace.cli import build_parser, main
from actrace.store.schema import COUNTERS

ELEMENTS = [v.name for v in COUNTERS].index("elements")


def write(path: Path, shift: int = 0, **config: object) -> Path:
    """Write 40 batches of one shape, moved by `shift` bins in the second half."""
    writer = rec.new_writer(path, attributes={"config": config})
    rng = np.random.default_rng(len(path.name))
    for i in range(40):
        row = rec.batch_row("train", i)
        row.count[:] = np.roll([1, 80, 5, 0], shift * (i >= 20)) + rng.integers(0, 3, (3, 4))
        row.counters[:] = 0
        row.counters[ELEMENTS] = row.count.sum(axis=-1)
        writer.append_batch(row)
    writer.close()
    return writer.path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a", lr=0.1, seed=1)
    write(tmp_path / "b", lr=0.1, seed=2)
    write(tmp_path / "far\x1b[31m", 2, lr=1.0, seed=1)
    return tmp_path


def test_compare_says_where_runs_part(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folder / name) for name in ("a", "b", "far\x1b[31m")]
    assert main(["compare", *paths, "--layers"]) == 0
    printed = capsys.readouterr().out
    assert f"{paths[1]} keeps to {paths[0]}" in printed
    assert f"parts from {paths[0]} at step 20 in layer0" in printed
    assert "config.lr" in printed
    assert "its noise" in printed
    assert "\x1b" not in printed


def test_compare_by_epoch_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folder / "a"), str(folder / "b"), "--by", "epoch", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by"] == "epoch"
    assert [part["parted"] for part in told["parts"]] == [False]


@pytest.mark.parametrize(("name", "code"), [("a", 0), ("b", 0), ("far\x1b[31m", 1), ("none", 2)])
def test_check_against_a_baseline_exits_for_ci(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    asked = ["check", str(folder / name), "--against", str(folder / "a")]
    assert main(asked) == code
    said = capsys.readouterr()
    assert ("there is no run" in said.err) is (code == 2)
    assert main([*asked, "--quiet"]) == code
    assert capsys.readouterr().out == ""


def test_check_against_takes_noise_tolerance_and_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["check", str(folder / "far\x1b[31m"), "--against", str(folder / "a")]
    assert main([*asked, "--tolerance", "1"]) == 0
    capsys.readouterr()
    assert main([*asked, "--noise", str(folder / "b"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["parts"][0]["layer"] == "layer0"
    assert main([*asked, "--phase", "valid"]) == 2
    assert "phase 'valid' is not in this run" in capsys.readouterr().err


def test_check_without_against_still_reads_every_byte(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder / "a")]) == 0
    assert "whole" in capsys.readouterr().out


def test_a_run_that_lacks_a_layer_departs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a")
    writer = rec.RunWriter.create(tmp_path / "short", axis=rec.AXIS, attributes={})
    writer.declare_layers(rec.LAYERS[:2])
    for i in range(40):
        row = rec.batch_row("train", i, n_layers=2)
        row.count[:] = [1, 80, 5, 0]
        writer.append_batch(row)
    writer.close()
    assert main(["check", str(tmp_path / "short"), "--against", str(tmp_path / "a")]) == 1
    assert "lacks 'layer2'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare"],
        ["compare", "a", "b", "--by", "time"],
        ["compare", "a", "b", "--width", "0"],
        ["compare", "a", "b", "--tolerance", "2"],
        ["check", "a", "--against"],
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


@pytest.mark.parametrize("command", ["compare", "check"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  actrace {command}" in capsys.readouterr().out


def test_one_run_is_an_error_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folder / "a")]) == 1
    assert "two runs or more" in capsys.readouterr().err
