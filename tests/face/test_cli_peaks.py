"""``actrace peaks``: tables for a person, JSON for a program, one line for an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.analysis.test_stored_runs import write
from tests.store import recording as rec
from tests.synthetic import synthetic_run
from torch import nn

import actrace
from actrace.cli import main


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose second class has a name that would colour a terminal."""
    folder = tmp_path_factory.mktemp("peaks") / "made.zarr"
    names = ["cat", "d\x1b[31mog", "[bold]cow", "emu"]
    write(synthetic_run(n_batches=4, classes=names), folder)
    return folder


def test_the_last_epoch_of_each_phase_by_default(path, capsys) -> None:
    assert main(["peaks", str(path)]) == 0
    printed = capsys.readouterr().out
    found = actrace.twin_peaks(actrace.open(path)).sel(phase="valid", epoch=2)
    for word in ("understanding", "d'", "AUC", "separation", "behind the others", "most confused"):
        assert word in printed
    assert f"{float(found['understanding']):.3f}" in printed
    assert printed.count("valid ") == 2


@pytest.mark.parametrize("by", ["class", "unit"])
def test_names_cannot_play_tricks(path, capsys, by: str) -> None:
    assert main(["peaks", str(path), "--by", by, "--phase", "valid"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "d\\x1b[31mog" in printed
    assert "[bold]cow" in printed
    assert main(["peaks", str(path), "--by", by, "--phase", "valid", "--limit", "1"]) == 0
    assert "(3 more)" in capsys.readouterr().out


def test_json_holds_what_the_functions_say(path, capsys) -> None:
    assert main(["peaks", str(path), "--by", "class", "--epoch", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    report = actrace.class_report(actrace.open(path)).compute()
    assert [(r["phase"], r["epoch"]) for r in found["classes"]] == [
        (phase, epoch) for phase in ("train", "valid") for epoch in range(3)
    ]
    one = found["classes"][-1]
    same = report.sel(phase="valid", epoch=2)
    assert one["target_class"] == same["target_class"].values.tolist()
    np.testing.assert_array_equal(one["d_prime"], same["d_prime"])
    assert one["confusion_seen"][0][0] is None
    assert set(found) == {"labelled", "classes"}


@pytest.mark.parametrize("how", [["--by", "none"], ["--layer", "conv0", "--epoch", "1"]])
def test_any_layer_has_a_shape_without_labels(path, capsys, how: list[str]) -> None:
    assert main(["peaks", str(path), *how]) == 0
    printed = capsys.readouterr().out
    assert "by shape alone" in printed
    assert "understanding" not in printed


def test_a_run_without_targets_shows_its_shape(tmp_path, capsys) -> None:
    writer = rec.new_writer(tmp_path / "bare", attributes={"output_layer": "layer2"})
    for index in range(12):
        writer.append_batch(rec.batch_row("train", index))
    writer.close()
    assert main(["peaks", str(writer.path)]) == 0
    assert "by shape alone" in capsys.readouterr().out
    assert main(["peaks", str(writer.path), "--by", "class"]) == 1
    assert "targets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "9"], "epoch 9 is not in this run; it has 0 to 2"),
        (["--layer", "fc9"], "fc9"),
        (["--phase", "holdout"], "holdout"),
    ],
)
def test_an_error_is_one_plain_line(path, capsys, arguments: list[str], said: str) -> None:
    assert main(["peaks", str(path), *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("actrace: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with 32 steps each and a validation after each."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("steps") / "a"
    model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()
    with actrace.record(model, path, criterion=loss_fn):
        for _ in range(2):
            for training, batches in ((True, 32), (False, 3)):
                model.train(training)
                for _ in range(batches):
                    loss_fn(model(torch.randn(10, 4)), torch.randint(3, (10,)))
    return path


def test_windows_of_steps_instead_of_epochs(stepped, capsys) -> None:
    assert main(["peaks", str(stepped), "--window", "16", "--epoch", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # A validation is in the window whose training it followed, and in no other.
    assert [(r["phase"], r["epoch"], r["step"], r["last_step"]) for r in found["labelled"]] == [
        ("train", 0, 0, 15),
        ("train", 0, 16, 31),
        ("train", 1, 32, 47),
        ("train", 1, 48, 63),
        ("valid", 0, 16, 31),
        ("valid", 1, 48, 63),
    ]
    expected = actrace.twin_peaks(actrace.open(stepped), window=16)
    row = found["labelled"][2]
    same = expected.sel(phase="train").isel(window=2)
    assert row["understanding"] == pytest.approx(float(same["understanding"]))
    assert main(["peaks", str(stepped), "--window", "16", "--epoch", "0"]) == 0
    printed = capsys.readouterr().out
    assert "16 to 31" in printed
    assert "48 to 63" not in printed


@pytest.mark.parametrize("window", ["0", "9:3", "1:2:3", "-4", "some"])
def test_a_window_that_is_none_is_refused(stepped, capsys, window: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["peaks", str(stepped), f"--window={window}"])
    assert ended.value.code == 2
    assert repr(window) in capsys.readouterr().err
