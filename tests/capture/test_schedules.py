"""Schedules: which batches and layers are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.capture.models import MLP, digits
from torch import nn

import actrace
from actrace.errors import ActraceWarning, RecorderError


def taken(schedule: object, n: int = 200) -> list[int]:
    return [step for step in range(n) if schedule(step)]  # type: ignore[operator]


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 20), st.integers(1, 60))
def test_combined_schedules_are_the_sets_combined(n: int, m: int, start: int, more: int) -> None:
    one, other = actrace.every(n), actrace.between(start, start + more) | actrace.first(m)
    assert set(taken(one | other)) == set(taken(one)) | set(taken(other))
    assert set(taken(one & other)) == set(taken(one)) & set(taken(other))


@pytest.mark.parametrize("per_decade", [1, 3, 10, 100])
def test_log_spaced_takes_just_the_rounded_powers(per_decade: int) -> None:
    powers = {round(10 ** (k / per_decade)) for k in range(5 * per_decade + 1)}
    wanted = sorted({0} | {n for n in powers if n < 100_000})
    assert taken(actrace.log_spaced(per_decade), 100_000) == wanted


def test_a_plain_function_joins_in() -> None:
    def odd(step: int) -> bool:
        return step % 2 == 1

    assert taken(actrace.first(4) | odd, 8) == [0, 1, 2, 3, 5, 7]
    assert taken(odd & actrace.first(4), 8) == [1, 3]  # type: ignore[operator]
    assert repr((odd | actrace.first(4)) & actrace.every(3)) == "(odd | first(4)) & every(3)"  # type: ignore[operator]


@pytest.mark.parametrize(
    "make",
    [
        lambda: actrace.every(0),
        lambda: actrace.first(-1),
        lambda: actrace.every(True),
        lambda: actrace.between(5, 5),
        lambda: actrace.between(-1, 5),
        lambda: actrace.log_spaced(0.5),  # type: ignore[arg-type]
    ],
)
def test_what_no_schedule_can_mean_is_refused(make: object) -> None:
    with pytest.raises(RecorderError, match=r"must be a whole number from .*, got"):
        make()  # type: ignore[operator]


def look(model: nn.Module, n: int, training: bool = True) -> None:
    model.train(training)
    for _ in range(n):
        model(digits(4)[0])


def test_one_schedule_counts_training_steps_and_other_phases_by_themselves(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(3)):
        for _ in range(2):
            look(model, 5)
            look(model, 4, training=False)
    run = actrace.open(tmp_path / "run")
    assert run["train"]["step"].values.tolist() == [0, 3, 6, 9]
    # The validation batches 0, 3 and 6 of eight: two in the first epoch, one in the second.
    assert run["valid"]["epoch"].values.tolist() == [0, 0, 1]
    assert run.attrs["schedule"] == "every(3)"


def test_each_phase_may_have_its_own(tmp_path: Path) -> None:
    model = MLP()
    schedule = {"train": actrace.log_spaced(2), "test": actrace.first(1)}
    with actrace.record(model, tmp_path / "run", schedule=schedule) as recorder:
        look(model, 12)
        look(model, 3, training=False)
        with recorder.phase("test"):
            look(model, 3, training=False)
    run = actrace.open(tmp_path / "run")
    assert run["train"]["step"].values.tolist() == [0, 1, 3, 10]
    assert (run.n_batches("valid"), run.n_batches("test")) == (3, 1)
    assert run.attrs["schedule"] == {"train": "log_spaced(2)", "test": "first(1)"}


def test_a_layer_with_a_schedule_has_nothing_of_the_other_batches(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())
    layers = {"1": actrace.every(2), "2": actrace.between(3, 5)}
    with actrace.record(model, tmp_path / "run", layer_schedule=layers) as recorder:
        look(model, 5)
    run = actrace.open(tmp_path / "run")
    calls = run["train"]["calls"]
    assert calls.sel(layer="0").values.tolist() == [1, 1, 1, 1, 1]
    assert calls.sel(layer="1").values.tolist() == [1, 0, 1, 0, 1]
    # The first forward finds the layers' shapes, and keeps nothing of what it left out.
    assert calls.sel(layer="2").values.tolist() == [0, 0, 0, 1, 1]
    assert run["layer_units"].values.tolist() == [64, 5, 5]
    assert (run["train"]["count"].sum("bin") == run["train"]["elements"]).all()
    assert int(run["train/unit"]["total"].sum()) == 4 * (5 * 64 + 3 * 5 + 2 * 5)
    assert recorder.report().skipped == {}


def test_a_pattern_without_a_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match=r"'fc\*' of layer_schedule matches no recorded layer"):
        actrace.record(MLP(), tmp_path / "run", layer_schedule={"fc*": actrace.every(2)})
    assert not (tmp_path / "run.zarr").exists()


def test_a_schedule_that_fails_is_said_once_and_takes_every_batch(tmp_path: Path) -> None:
    model = MLP()
    recorder = actrace.record(model, tmp_path / "run", schedule=lambda step: 1 // step > 9)
    with recorder, pytest.warns(ActraceWarning, match="takes every batch.*ZeroDivisionError"):
        look(model, 3)
    assert recorder.report().batches == {"train": 1}


def test_batches_left_out_touch_neither_layers_nor_store(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", schedule=actrace.first(1)) as recorder:
        look(model, 1)
        table = recorder._session.table
        before = {name: recorded.fired for name, recorded in table.recorded.items()}
        seconds = [recorded.seconds for recorded in table.recorded.values()]
        look(model, 5)
        assert {name: recorded.fired for name, recorded in table.recorded.items()} == before
        assert [recorded.seconds for recorded in table.recorded.values()] == seconds
    assert recorder.report().batches == {"train": 1}


def test_a_resumed_run_goes_on_with_its_training_steps(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(2)):
        look(model, 5)
    with actrace.record(model, tmp_path / "run", schedule=actrace.every(4), resume=True):
        look(model, 6)
    assert actrace.open(tmp_path / "run")["train"]["step"].values.tolist() == [0, 2, 4, 8]


def test_a_torch_module_in_evaluation_only_is_recorded_by_its_own_count(tmp_path: Path) -> None:
    model = MLP().eval()
    with actrace.record(model, tmp_path / "run", schedule=actrace.between(1, 3)), torch.no_grad():
        look(model, 5, training=False)
    assert actrace.open(tmp_path / "run").n_batches("valid") == 2
