"""A loop's phases, epochs and steps in the store, also across a resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, digits

import actrace
from actrace.errors import ActraceWarning, RecorderError


def run_loop(model: MLP, epochs: int, batches: int = 3) -> None:
    for _ in range(epochs):
        model.train()
        for seed in range(batches):
            model(digits(4, seed)[0])
        model.eval()
        for seed in range(2):
            model(digits(4, seed)[0])


def test_phases_and_epochs_follow_an_unchanged_loop(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        run_loop(model, 3)
    run = actrace.open(tmp_path / "run")
    assert run.phases == ("train", "valid")
    np.testing.assert_array_equal(run["train"]["epoch"], np.repeat([0, 1, 2], 3))
    np.testing.assert_array_equal(run["valid"]["epoch"], np.repeat([0, 1, 2], 2))
    np.testing.assert_array_equal(run["train"]["step"], np.arange(9))
    np.testing.assert_array_equal(run["valid"]["step"], np.repeat([3, 6, 9], 2))
    np.testing.assert_array_equal(run["train"]["samples"], np.full(9, 4))
    assert (np.diff(run["train"]["time"]) >= np.timedelta64(0)).all()


def test_named_phases_and_epochs_win(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        recorder.epoch(4)
        model(digits(4)[0])
        with recorder.phase("test") as same:
            assert same is recorder
            model(digits(4)[0])
            recorder.log(accuracy=0.5)
        model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    assert run.phases == ("train", "test")
    assert run["train"]["epoch"].values.tolist() == [4, 4]
    assert run["test"]["accuracy"].values.tolist() == [0.5]


def test_every_thins_each_phase_and_steps_still_count(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(2)) as recorder:
        run_loop(model, 2, batches=5)
        recorder.log(lr=0.1)
    run = actrace.open(tmp_path / "run")
    assert run["train"]["step"].values.tolist() == [0, 2, 4, 6, 8]
    assert run["valid"]["step"].values.tolist() == [5, 10]


def test_a_resumed_run_goes_on_in_step_epoch_and_batch(tmp_path: Path) -> None:
    model = MLP()
    for _ in range(2):
        with actrace.record(model, tmp_path / "run", resume=True):
            run_loop(model, 2)
    run = actrace.open(tmp_path / "run")
    np.testing.assert_array_equal(run["train"]["step"], np.arange(12))
    np.testing.assert_array_equal(run["train"]["epoch"], np.repeat([0, 1, 2, 3], 3))
    np.testing.assert_array_equal(run["valid"]["epoch"], np.repeat([0, 1, 2, 3], 2))
    assert (run["train"]["calls"] == 1).all()
    assert (run["train"]["count"].sum("bin") == run["train"]["elements"]).all()
    np.testing.assert_array_equal(run["train/unit"]["batches"].sum(), 12)


def test_a_resumed_run_keeps_labels_and_units_apart(tmp_path: Path) -> None:
    model, loss_fn = MLP(), torch.nn.CrossEntropyLoss()
    for _ in range(2):
        with actrace.record(model, tmp_path / "run", criterion=loss_fn, resume=True) as recorder:
            x, y = digits(8)
            loss_fn(model(x), y)
        assert recorder.report().remarks == ()
    run = actrace.open(tmp_path / "run")
    assert int(run["train/output"]["samples"].sum()) == 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": "1"}, "other layers: now without '0', '2'"),
        ({"layers": lambda name, module: True}, "with 'MLP'"),
        ({"axis": actrace.Linear(-1, 1, 4)}, "recorded on Asinh"),
        ({"active_threshold": 0.5}, "active_threshold=1e-08"),
    ],
)
def test_a_run_recorded_otherwise_is_not_resumed_and_not_touched(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run"):
        model(digits(4)[0])
    with pytest.raises(RecorderError, match=words):
        actrace.record(model, tmp_path / "run", resume=True, **arguments)  # type: ignore[arg-type]
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("finished", 1)
    assert not model._forward_hooks


def test_logging_with_no_batch_open_warns_and_does_nothing(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        with pytest.warns(ActraceWarning, match="no batch was open"):
            recorder.log(lr=0.1)
        model(digits(4)[0])
    assert "lr" not in actrace.open(tmp_path / "run")["train"]


def test_a_model_that_was_never_called_is_remarked_on(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run")
    with pytest.warns(ActraceWarning, match="never called while recording"):
        recorder.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a-b": 1.0}, "letters, digits"),
        ({"step": 1.0}, "taken by the schema"),
        ({"lr": "high"}, "must be a number"),
        ({"lr": torch.zeros(3)}, r"shape \(3,\)"),
        ({"lr": torch.zeros(1, device="meta")}, "on meta"),
        ({"loss": [1, 2]}, "loss must be a number"),
        ({"target": object()}, "target must be"),
    ],
)
def test_a_bad_name_or_value_to_log_is_the_users_error(
    tmp_path: Path, values: dict[str, object], words: str
) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        model(digits(4)[0])
        with pytest.raises(RecorderError, match=words):
            recorder.log(**values)


def test_flush_shows_readers_everything_so_far(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        for n in (1, 2):
            model(digits(4)[0])
            assert recorder.flush(timeout=60)
            run = actrace.open(tmp_path / "run")
            assert (run.status, run.n_batches("train")) == ("recording", n)


def test_what_a_recorder_is_can_be_read(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run", config={"lr": 1}, tags=["a"])
    assert "recording" in repr(recorder)
    assert "none yet" in repr(recorder)
    model(digits(4)[0])
    recorder.close()
    recorder.close()
    assert "closed, 5 layers, batches: train 1" in repr(recorder)
    assert "<table>" in recorder._repr_html_()
    assert "5 of 5 fired" in repr(recorder.report())
    attributes = actrace.open(tmp_path / "run").attrs
    assert attributes["config"] == {"lr": 1}
    assert attributes["tags"] == ["a"]
    assert attributes["ended"] is not None


def test_an_exception_in_the_with_block_marks_the_run_as_failed(tmp_path: Path) -> None:
    model = MLP()

    def train() -> None:
        with actrace.record(model, tmp_path / "run"):
            model(digits(4)[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert actrace.open(tmp_path / "run").status == "failed"
