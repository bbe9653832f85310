"""Keeping the cost of recording under a share: settled, steady, and true to the batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import actrace
from actrace.capture.governor import STRIDES, Governor, Level, Spent, levels_of
from actrace.capture.hook_calls import hook_call_seconds
from actrace.capture.kernels.sampling import Sampling, chosen_blocks, chosen_of_group
from actrace.capture.sampler import Sampler
from actrace.errors import ActraceWarning, RecorderError

SHARE = 0.02


class Training:
    """A training whose step takes a second, and whose recording costs as it is told to.

    Parameters
    ----------
    fixed, reading : float
        Seconds that a recorded batch takes, and those that reading all of it takes.
    writer : float
        Seconds of the writer's thread for each recorded batch, ...
    burst : int
        ... taken for so many batches at once.
    busy : float
        The part of the time that the training's thread has a processor.
    noise : float
        By which each cost differs, up or down, at random.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        fixed: float = 0.0,
        reading: float = 0.0,
        writer: float = 0.0,
        burst: int = 1,
        noise: float = 0.0,
        mode: str = "auto",
        thins: bool = False,
        epoch: int = 10**6,
        busy: float = 1.0,
        on_device: bool = False,
    ) -> None:
        self.fixed, self.reading, self.writer, self.burst = fixed, reading, writer, burst
        self.noise, self.epoch = noise, epoch
        self.now = 0.0
        self.spent = Spent()
        self.steps_done = self.recorded = 0
        self.rng = np.random.default_rng(0)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "thread_time", lambda: busy * self.now)
        self.sampler = Sampler(Sampling(), mode, 17, SHARE, thins=thins, on_device=on_device)

    def steps(self, n: int) -> list[Level]:
        """Train for n steps; return the levels that they had."""
        levels = []
        assert self.sampler.governor is not None
        for _ in range(n):
            factor = 1 + self.noise * self.rng.uniform(-1, 1)
            self.now += 1.0
            if self.sampler.takes("train", self.steps_done // self.epoch):
                self.sampler.begin(lambda: self.spent)
                took = factor * (self.fixed + self.reading / self.sampler.stride)
                self.recorded += 1
                due = self.writer * self.burst if self.recorded % self.burst == 0 else 0.0
                before = self.spent
                self.spent = Spent(before.training + took, 0.0, before.writer + due)
                self.now += took
            self.steps_done += 1
            levels.append(self.sampler.governor.level)
        return levels

    def share(self, n: int) -> float:
        """Train for n steps; return what recording cost of them."""
        before, began = self.spent, self.now
        self.steps(n)
        new = self.spent - before
        return new.whole / (self.now - began - new.training)


@pytest.mark.parametrize(
    ("fixed", "reading", "stride"),
    [(0.001, 0.01, 1), (0.001, 0.05, 5), (0.001, 0.2, 17), (0.015, 0.3, 65), (0.5, 1.0, 257)],
)
def test_reading_takes_the_finest_stride_within_the_share(
    monkeypatch: pytest.MonkeyPatch, fixed: float, reading: float, stride: int
) -> None:
    levels = Training(monkeypatch, fixed=fixed, reading=reading).steps(400)
    assert set(levels[200:]) == {Level(stride)}
    assert {level.stride for level in levels} <= set(STRIDES)


def test_it_goes_back_to_finer_levels_when_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, fixed=0.001, reading=0.2)
    assert training.steps(300)[-1] == Level(17)
    training.reading = 0.004
    assert training.steps(300)[-1] == Level(1)


def test_pauses_of_the_training_are_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, fixed=0.05, mode="exact", thins=True)
    for _ in range(100):
        training.steps(20)
        training.now += 1000.0
    level = training.steps(1)[0]
    assert level.every == 4


def test_the_writer_s_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, fixed=0.001, reading=0.015, writer=0.015)
    assert training.steps(400)[-1].stride > 1


@pytest.mark.parametrize(("on_device", "every"), [(False, 8), (True, 1)])
def test_on_a_busy_machine_the_writer_s_time_is_held_against_processor_time(
    monkeypatch: pytest.MonkeyPatch, on_device: bool, every: int
) -> None:
    more = {"writer": 0.014, "busy": 0.1, "on_device": on_device}
    training = Training(monkeypatch, mode="exact", thins=True, **more)
    assert training.steps(2000)[-1].every == every


@pytest.mark.parametrize("mode", ["auto", "exact"])
@pytest.mark.parametrize("cost", [0.03, 0.15, 1.5])
def test_leaving_batches_out_keeps_any_cost_under_the_share(
    monkeypatch: pytest.MonkeyPatch, mode: str, cost: float
) -> None:
    training = Training(monkeypatch, fixed=cost, writer=cost, mode=mode, thins=True)
    training.steps(4000)
    assert SHARE / 4 < training.share(4096) <= 1.02 * SHARE
    assert training.sampler.governor is not None
    assert not training.sampler.governor.missed


def test_all_batches_are_kept_where_reading_less_of_them_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = Training(monkeypatch, fixed=0.001, reading=0.3, thins=True)
    assert {level.every for level in training.steps(500)} == {1}
    assert training.sampler.left_out == {}


@pytest.mark.parametrize("cost", [0.004, 0.03, 0.1, 0.7])
@pytest.mark.parametrize("thins", [False, True])
def test_noise_and_bursts_of_the_writer_do_not_make_it_swing(
    monkeypatch: pytest.MonkeyPatch, cost: float, thins: bool
) -> None:
    training = Training(
        monkeypatch, fixed=cost / 2, reading=cost, writer=cost / 2, burst=64, noise=0.3, thins=thins
    )
    training.steps(3000)
    levels = training.steps(3000)
    changes = sum(one != other for one, other in pairwise(levels))
    assert changes <= 4


def test_the_share_is_missed_for_good_and_only_then_said(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, fixed=0.06, reading=0.1)
    governor = training.sampler.governor
    assert governor is not None
    training.steps(100)
    assert not governor.missed
    training.steps(400)
    assert governor.missed
    words = training.sampler.words()
    assert words is not None
    assert words.startswith("6 % of a step where 2 % was asked for: 6 % hooks and kernels")
    assert "1 block in 257 is read" in words
    assert 'schedule=actrace.every(4), or schedule="auto"' in words
    training.fixed = 0.001
    training.steps(400)
    assert not governor.missed


def test_before_anything_is_known_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Training(monkeypatch).sampler.words() is None
    assert Sampler(Sampling(), "exact", 17, SHARE).words() is None


def governed(every: int) -> Sampler:
    sampler = Sampler(Sampling(), "exact", 17, SHARE, thins=True)
    sampler.governor = Governor((Level(1, every),), SHARE)
    return sampler


@pytest.mark.parametrize("every", [2, 8, 64])
def test_batches_are_taken_one_of_each_group_at_no_fixed_place(every: int) -> None:
    sampler = governed(every)
    for _ in range(1024 * every):  # an epoch that is long enough
        sampler.takes("train", 0)
    taken = [at for at in range(256 * every) if sampler.takes("train", 1)]
    assert len(taken) == 256
    assert {at // every for at in taken} == set(range(256))
    places = Counter(at % every for at in taken)
    assert set(places) == set(range(every))
    assert max(places.values()) <= 2 * 256 / every + 1


@pytest.mark.parametrize("length", [5, 40, 100, 1000])
def test_an_epoch_keeps_sixteen_batches_or_all_and_a_fourth_in_its_last_quarter(
    length: int,
) -> None:
    sampler = governed(256)
    for epoch in range(5):
        taken = [at for at in range(length) if sampler.takes("valid", epoch)]
        assert len(taken) >= min(length, 16) - 1  # a group may reach into the next epoch
        if epoch:
            assert len(taken) <= 34 or length < 32
            assert sum(at >= 3 * length / 4 for at in taken) >= min(length // 4, 4) - 1
    assert sampler.left_out.get("valid", 0) == 5 * length - sum_of(sampler, length)


def sum_of(sampler: Sampler, length: int) -> int:
    """Return how many batches five epochs of this length keep, counted anew."""
    again = governed(256)
    return sum(again.takes("valid", epoch) for epoch in range(5) for _ in range(length))


def test_one_group_s_choice_is_that_of_the_list() -> None:
    for stride in (2, 5, 64, 257):
        groups = range(300)
        want = chosen_blocks(300 * stride, stride, 0).tolist()
        assert [stride * group + chosen_of_group(group, stride) for group in groups] == want


def test_levels_read_less_before_they_leave_batches_out() -> None:
    levels = levels_of(reads=True, batches=True)
    assert levels[0] == Level(1, 1)
    assert [level.stride for level in levels[:5]] == list(STRIDES)
    assert all(level.stride == 257 for level in levels[4:])
    assert levels_of(reads=False, batches=True)[-1] == Level(1, 256)


def test_torch_s_calling_of_a_hook_takes_less_than_a_millisecond() -> None:
    assert 0 <= hook_call_seconds() < 1e-3


def train(model: nn.Module, criterion: nn.Module, recorder: actrace.Recorder) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        model.train()
        for _ in range(128):
            x = torch.randn(8, 4, generator=generator)
            criterion(model(x), torch.randint(3, (8,), generator=generator)).backward()
        model.eval()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(8, 4, generator=generator))


def recorded(path: Path, change: Callable[[actrace.Recorder], None], **more: object) -> actrace.Run:
    torch.manual_seed(0)
    model, criterion = nn.Sequential(nn.Linear(4, 3)), nn.CrossEntropyLoss()
    with actrace.record(model, path, criterion=criterion, **more) as recorder:  # type: ignore[arg-type]
        change(recorder)
        train(model, criterion, recorder)
    return actrace.open(path)


def one_in_four(recorder: actrace.Recorder) -> None:
    recorder._session.sampler.governor = Governor((Level(1, 4),), SHARE)


def test_a_batch_that_is_left_out_is_no_column_and_the_others_keep_their_step(
    tmp_path: Path,
) -> None:
    whole = recorded(tmp_path / "whole", lambda _: None)
    run = recorded(tmp_path / "thinned", one_in_four, schedule="auto")
    train_, all_ = run["train"].to_dataset(), whole["train"].to_dataset()
    assert run.attrs["schedule"] == "auto"
    assert run.attrs["sample"] == {"mode": "exact"}
    assert 256 / 4 <= train_.sizes["batch"] < 256 / 2
    assert run.attrs["left_out"] == {"train": 256 - train_.sizes["batch"]}
    assert f"{run.attrs['left_out']['train']} batches of train" in repr(run)
    assert run["valid"].sizes["batch"] == 6
    same = all_.set_index(batch="step").sel(batch=train_["step"].values)
    for name in ("count", "elements", "calls", "epoch", "loss", "samples"):
        np.testing.assert_array_equal(train_[name], same[name], err_msg=name)
    output = run["train/output"]
    assert int(output["samples"].sum()) == 8 * train_.sizes["batch"]


def test_a_resumed_run_adds_to_what_was_left_out(tmp_path: Path) -> None:
    first = recorded(tmp_path / "run", one_in_four, schedule="auto").attrs["left_out"]["train"]
    both = recorded(tmp_path / "run", one_in_four, schedule="auto", resume=True)
    left_out = both.attrs["left_out"]["train"]
    assert left_out > first
    assert left_out + both["train"].sizes["batch"] == 512


def test_a_share_that_cannot_be_kept_to_is_said_once_and_stays_with_the_run(
    tmp_path: Path,
) -> None:
    reports = []

    def watch(recorder: actrace.Recorder) -> None:
        reports.append(recorder)

    with pytest.warns(ActraceWarning, match="recording costs more than was asked for") as said:
        run = recorded(tmp_path / "run", watch, sample="auto", sample_cost=1e-6)
    assert len([one for one in said if "more than was asked" in str(one.message)]) == 1
    report = reports[0].report()
    assert report.share is not None
    assert "where 0.0001 % was asked for" in report.share
    assert report.share in repr(report)
    cost = run.attrs["recording_cost"]
    assert cost["wanted"] == 1e-6
    assert cost["training"] + cost["calling"] + cost["writer"] > 1e-6
    assert run["train"].sizes["batch"] == 256


def test_ranks_cannot_each_go_by_their_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecorderError, match=r"use actrace\.every\(n\), which is the same"):
        actrace.record(nn.Linear(2, 2), tmp_path / "run", schedule="auto")
    assert not list(tmp_path.iterdir())


def test_another_word_is_no_schedule(tmp_path: Path) -> None:
    with pytest.raises(RecorderError, match="schedule must be a function of the step"):
        recorded(tmp_path / "run", lambda _: None, schedule="sometimes")
