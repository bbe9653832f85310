"""Several models, recorders, threads and processes at once, and evaluation wherever it falls."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, ConvNet, digits, step
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import actrace


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sums(path: Path, phase: str = "train") -> np.ndarray:
    """Return the counts of all batches of a phase, checked against the elements."""
    train = actrace.open(path)[phase].to_dataset().load()
    outside = sum(train[name] for name in ("underflow", "overflow", "nan", "posinf", "neginf"))
    np.testing.assert_array_equal(train["count"].sum("bin") + outside, train["elements"])
    return train["count"].values


def test_a_gans_two_models_each_have_their_run(tmp_path: Path) -> None:
    maker, judge = nn.Linear(4, 64), nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1))
    loss_fn = nn.BCEWithLogitsLoss()
    with (
        actrace.record(maker, tmp_path / "maker"),
        actrace.record(judge, tmp_path / "judge", criterion=loss_fn) as recorder,
    ):
        for seed in range(3):
            real, fake = digits(4, seed)[0].flatten(1), maker(torch.randn(4, 4))
            loss_fn(judge(real), torch.ones(4, 1)).backward()
            loss_fn(judge(fake.detach()), torch.zeros(4, 1)).backward()
            loss_fn(judge(fake), torch.ones(4, 1)).backward()
    assert actrace.open(tmp_path / "maker").n_batches("train") == 3
    run = actrace.open(tmp_path / "judge")
    assert run.n_batches("train") == 9
    # Each call is a batch with the target and loss that came after it.
    assert recorder.report().remarks == ()
    assert np.isfinite(run["train"]["loss"]).all()
    yes = run["train/output"]["samples"].sel(target_class="1").sum()
    assert int(yes) == 6 * 4


def test_a_teacher_inside_the_students_step_is_told_its_phase(tmp_path: Path) -> None:
    """A teacher in eval mode would be "valid": the user says that it trains along."""
    student, teacher = MLP(), MLP().eval()
    with (
        actrace.record(student, tmp_path / "student"),
        actrace.record(teacher, tmp_path / "teacher") as recorder,
    ):
        for seed in range(3):
            x = digits(4, seed)[0]
            out = student(x)
            with torch.no_grad(), recorder.phase("train"):
                aim = teacher(x)
            nn.functional.mse_loss(out, aim).backward()
        with torch.no_grad():
            teacher(digits(4)[0])
    assert actrace.open(tmp_path / "student").phases == ("train",)
    run = actrace.open(tmp_path / "teacher")
    assert (run.n_batches("train"), run.n_batches("valid")) == (3, 1)
    assert run["train"]["epoch"].values.tolist() == [0, 0, 0]


def test_two_recorders_on_one_model_with_axes_of_their_own(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    with (
        actrace.record(model, tmp_path / "fine", criterion=loss_fn),
        actrace.record(
            model,
            tmp_path / "coarse",
            criterion=loss_fn,
            axis=actrace.Linear(-4, 4, 8),
            schedule=actrace.every(2),
        ),
    ):
        for seed in range(4):
            x, y = digits(8, seed)
            loss_fn(model(x), y).backward()
    assert sums(tmp_path / "fine").shape == (5, 512, 4)
    assert sums(tmp_path / "coarse").shape == (5, 8, 2)
    for name in ("fine", "coarse"):
        assert np.isfinite(actrace.open(tmp_path / name)["train"]["loss"]).all()


def test_a_part_of_a_recorded_model_has_its_own_recorder(tmp_path: Path) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.head = MLP(), nn.Linear(10, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.part(x) + self.part(x))

    model = Whole()
    with (
        actrace.record(model, tmp_path / "whole"),
        actrace.record(model.part, tmp_path / "part"),
    ):
        model(digits(4)[0])
    assert actrace.open(tmp_path / "whole").n_batches("train") == 1
    assert actrace.open(tmp_path / "part").n_batches("train") == 2
    whole = actrace.open(tmp_path / "whole")["train"]["count"].sel(layer="part.1").values[:, 0]
    part = actrace.open(tmp_path / "part")["train"]["count"].sel(layer="1").values
    np.testing.assert_array_equal(whole, part.sum(axis=-1))


def test_one_recorder_after_another_on_the_same_model(tmp_path: Path) -> None:
    model = ConvNet()
    for name in ("first", "second", "third"):
        with actrace.record(model, tmp_path / name):
            model(digits(4)[0])
        model(digits(4)[0])
        assert actrace.open(tmp_path / name).n_batches("train") == 1


@pytest.mark.parametrize("told", [False, True], ids=["untold", "told"])
def test_evaluation_in_the_middle_of_an_epoch(tmp_path: Path, told: bool) -> None:
    """Untold, a return to training begins an epoch; told by `epoch`, only the user does."""
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        for epoch in range(2):
            if told:
                recorder.epoch(epoch)
            for batch in range(4):
                model.train()
                model(digits(4)[0])
                if batch % 2:
                    model.eval()
                    model(digits(4)[0])
    run = actrace.open(tmp_path / "run")
    want = [0, 0, 0, 0, 1, 1, 1, 1] if told else [0, 0, 1, 1, 2, 2, 3, 3]
    assert run["train"]["epoch"].values.tolist() == want
    assert run["valid"]["epoch"].values.tolist() == want[1::2]
    assert run["valid"]["step"].values.tolist() == [2, 4, 6, 8]


def test_a_finished_run_takes_a_test_phase_from_a_fresh_model(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        for _ in range(2):
            for seed in range(3):
                x, y = digits(4, seed)
                loss_fn(model.train()(x), y)
            model.eval()(digits(4)[0])
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    before = actrace.open(tmp_path / "run")["train"].to_dataset().load()
    fresh = MLP()
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt"))
    fresh.eval()
    recorder = actrace.record(fresh, tmp_path / "run", criterion=loss_fn, resume=True)
    with recorder, recorder.phase("test"), torch.no_grad():
        for seed in range(2):
            x, y = digits(4, 50 + seed)
            loss_fn(fresh(x), y)
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.phases) == ("finished", ("train", "valid", "test"))
    assert run["train"].to_dataset().load().identical(before)
    assert run["test"]["epoch"].values.tolist() == [1, 1]
    assert run["test"]["step"].values.tolist() == [6, 6]
    assert int(run["test/output"]["samples"].sum()) == 8
    assert recorder.report().batches == {"test": 2}


def test_two_models_train_in_two_threads(tmp_path: Path) -> None:
    def train(name: str, record: bool) -> None:
        torch_model = models[name]
        loss_fn = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(torch_model.parameters(), 0.05)
        context = (
            actrace.record(torch_model, tmp_path / name, criterion=loss_fn, flush_seconds=0.0)
            if record
            else contextlib.nullcontext()
        )
        with context:
            for seed in range(30):
                step(torch_model, loss_fn, optimizer, *digits(8, seed))

    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = ConvNet()
        model.drop.p = 0.0  # threads share the random state
        return model

    models = {"a": fresh(1), "b": fresh(2)}
    threads = [threading.Thread(target=train, args=(name, True)) for name in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = {name: sums(tmp_path / name) for name in models}
    for name, seed in (("a", 1), ("b", 2)):
        weights = [p.clone() for p in models[name].parameters()]
        models[name] = fresh(seed)
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / name).with_suffix(".zarr").rename(tmp_path / f"{name}-beside.zarr")
        train(name, True)
        np.testing.assert_array_equal(sums(tmp_path / name), recorded[name])
        assert all(map(torch.equal, weights, models[name].parameters()))


def record_three(path: Path) -> None:
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    recorder = actrace.record(model, path)
    for _ in range(3):
        model(torch.ones(5, 4))
    recorder.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_subprocess_records_its_own_run(tmp_path: Path, method: str) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "parent"):
        model(digits(4)[0])
        context = multiprocessing.get_context(method)
        process = context.Process(target=record_three, args=(tmp_path / "child",))
        process.start()
        process.join(120)
        assert process.exitcode == 0
        model(digits(4)[0])
    assert actrace.open(tmp_path / "child").n_batches("train") == 3
    assert actrace.open(tmp_path / "child").status == "finished"
    assert actrace.open(tmp_path / "parent").n_batches("train") == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_data_loader_with_workers_is_no_matter(tmp_path: Path, method: str) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    data = TensorDataset(*digits(32))
    loader = DataLoader(data, 8, num_workers=2, multiprocessing_context=method)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn, flush_seconds=0.0):
        for _ in range(2):
            for x, y in loader:
                step(model, loss_fn, optimizer, x, y)
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.n_batches("train")) == ("finished", 8)
    assert sums(tmp_path / "run").shape[-1] == 8
