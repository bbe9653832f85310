"""Targets reach the store by criterion or by hand, and a wrong one disturbs nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture.models import MLP, ConvNet, digits
from torch import nn
from torch.nn import functional as F

import actrace
from actrace.capture.labels.group import MAX_UNITS
from actrace.errors import ActraceWarning


def head(n_units: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_units))


def output_of(path: Path, phase: str = "train") -> object:
    return actrace.open(path)[f"{phase}/output"].to_dataset()


def test_single_label_peaks_confusion_and_correct_are_those_of_the_outputs(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    outs, targets, losses = [], [], []
    with actrace.record(model, tmp_path / "run", criterion=loss_fn, classes=10) as recorder:
        for seed in range(40):
            x, y = digits(16, seed)
            out = model(x)
            losses.append(loss_fn(out, y).item())
            outs.append(out.detach().double())
            targets.append(y)
    assert recorder.report().remarks == ()
    values, target = torch.cat(outs).numpy(), torch.cat(targets).numpy()
    run = actrace.open(tmp_path / "run")
    got = run["train/output"].to_dataset()
    edges = actrace.Asinh().edges
    own = np.arange(10) == target[:, None]
    counts = got["count_by_unit"].sum("window")
    by_class = got["count_by_class"].sum("window")
    for c in range(10):
        for role, mine in (("yes", own), ("no", ~own)):
            np.testing.assert_array_equal(
                counts.sel(role=role).isel(output_unit=c),
                np.histogram(values[mine[:, c], c], edges)[0],
            )
            np.testing.assert_array_equal(
                by_class.sel(role=role).isel(target_class=c),
                np.histogram(values[target == c][mine[target == c]], edges)[0],
            )
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (target, values.argmax(1)), 1)
    np.testing.assert_array_equal(got["confusion"].sum("window"), confusion)
    np.testing.assert_array_equal(got["correct"].sum("window"), np.diag(confusion))
    np.testing.assert_array_equal(got["samples"].sum("window"), confusion.sum(1))
    np.testing.assert_allclose(run["train"]["loss"], losses, rtol=1e-6)
    assert got["batches"].sum() == 40
    assert run.attrs["output_layer"] == "4"
    assert got.attrs["task"] == "single-label"


@pytest.mark.parametrize(
    ("criterion", "model", "target", "task"),
    [
        (nn.BCEWithLogitsLoss(), head(1), torch.ones(6, 1), "binary"),
        (nn.BCEWithLogitsLoss(), head(3), torch.ones(6, 3), "multi-label"),
        (nn.MSELoss(), head(2), torch.rand(6, 2), "regression"),
        (nn.CrossEntropyLoss(), head(4), torch.ones(6, dtype=torch.int64), "single-label"),
    ],
    ids=["binary", "multi-label", "regression", "single-label"],
)
def test_the_task_follows_the_criterion(
    tmp_path: Path, criterion: nn.Module, model: nn.Module, target: torch.Tensor, task: str
) -> None:
    with actrace.record(model, tmp_path / "run", criterion=criterion) as recorder:
        criterion(model(digits(6)[0]), target)
    got = output_of(tmp_path / "run")
    assert got.attrs["task"] == task  # type: ignore[attr-defined]
    assert f"1: {task}" in (recorder.report().output or "")


def test_targets_logged_by_hand_do_the_same(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", classes=list("abcdefghij")) as recorder:
        for seed in range(3):
            x, y = digits(8, seed)
            loss = F.cross_entropy(model(x), y)
            recorder.log(target=y, loss=loss, lr=0.5, accuracy=torch.tensor(0.25))
    run = actrace.open(tmp_path / "run")
    assert int(run["train/output"]["samples"].sum()) == 24
    assert run["train/output"]["target_class"].values.tolist() == list("abcdefghij")
    assert run["train"]["lr"].values.tolist() == [0.5] * 3
    assert run["train"]["accuracy"].values.tolist() == [0.25] * 3
    assert np.isfinite(run["train"]["loss"]).all()


def test_arguments_by_name_and_unreduced_losses_are_read(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss(reduction="none")
    x, y = digits(8)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        loss = loss_fn(input=model(x), target=y)
    run = actrace.open(tmp_path / "run")
    assert float(run["train"]["loss"][0]) == pytest.approx(loss.mean().item(), rel=1e-6)
    assert int(run["train/output"]["samples"].sum()) == 8


def test_the_last_call_of_the_criterion_counts(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    x, y = digits(8)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        out = model(x)
        loss_fn(out, torch.zeros_like(y))
        loss_fn(out, torch.full_like(y, 3))
    samples = actrace.open(tmp_path / "run")["train/output"]["samples"].sum("window")
    assert samples.values.tolist() == [0, 0, 0, 8, 0, 0, 0, 0, 0, 0]


def test_an_output_changed_in_place_after_the_forward_is_counted_as_it_was(tmp_path: Path) -> None:
    model, loss_fn = head(4), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn), torch.no_grad():
        out = model(digits(6)[0])
        before = out.double().numpy().copy()
        loss_fn(out.mul_(100), torch.zeros(6, dtype=torch.int64))
    mean = output_of(tmp_path / "run")["mean_by_unit"]  # type: ignore[index]
    assert float(mean.sel(role="yes")[0, 0]) == pytest.approx(before[:, 0].mean())


def test_a_permuted_view_is_counted_as_the_criterion_saw_it(tmp_path: Path) -> None:
    model, loss_fn = nn.Sequential(nn.Linear(8, 5)), nn.CrossEntropyLoss()
    x, y = digits(6)[0], torch.randint(0, 5, (6, 8))
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        out = model(x)
        loss_fn(out.permute(0, 2, 1), y)
    got = output_of(tmp_path / "run")
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (y.ravel(), out.argmax(-1).ravel()), 1)
    np.testing.assert_array_equal(got["confusion"].sum("window"), confusion)  # type: ignore[index]


def test_a_function_after_the_last_layer_is_the_models_own_output(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.log_softmax(self.fc(x.flatten(1)), 1)

    model, loss_fn = Net(), nn.NLLLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder:
        out = model(digits(6)[0])
        loss_fn(out, torch.zeros(6, dtype=torch.int64))
    got = output_of(tmp_path / "run")
    mean = got["mean_by_unit"].sel(role="yes")[0, 0]  # type: ignore[index]
    assert float(mean) == pytest.approx(out[:, 0].double().mean().item(), rel=1e-6)
    assert "Net: single-label" in (recorder.report().output or "")


def test_freed_memory_that_became_the_output_is_not_its_first_owners(tmp_path: Path) -> None:
    memory = np.zeros((4, 3), np.float32)

    class Scratch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(memory)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scratch = Scratch()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.scratch(x)  # freed at once; the next tensor lies where it lay
            return torch.from_numpy(memory)

    model = Model()
    with actrace.record(model, tmp_path / "run"):
        model(torch.zeros(4, 3))
    assert actrace.open(tmp_path / "run").attrs["output_layer"] == "Model"


def test_a_named_output_is_the_one_counted(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1))
    kept: list[torch.Tensor] = []
    model[1].register_forward_hook(lambda m, a, out: kept.append(out.detach().clone()))
    with actrace.record(model, tmp_path / "run", output="1", layers=nn.Softmax) as recorder:
        model(digits(6)[0])
        recorder.log(target=torch.zeros(6, dtype=torch.int64))
    got = output_of(tmp_path / "run")
    mean = got["mean_by_unit"].sel(role="yes")[0, 0]  # type: ignore[index]
    assert float(mean) == pytest.approx(float(kept[0][:, 0].double().mean()), rel=1e-6)
    assert actrace.open(tmp_path / "run").attrs["output_layer"] == "1"


def test_an_output_too_large_to_keep_is_read_from_the_criterions_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actrace.capture.labels.outputs.MAX_KEPT_BYTES", 16)
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder:
        for seed in range(3):
            x, y = digits(8, seed)
            loss_fn(model(x), y)
    assert int(output_of(tmp_path / "run")["samples"].sum()) == 24  # type: ignore[index]
    assert recorder.report().remarks == ()


def test_an_output_too_large_and_not_given_to_the_criterion_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actrace.capture.labels.outputs.MAX_KEPT_BYTES", 16)
    model, loss_fn = MLP(), nn.NLLLoss()
    with (
        pytest.warns(ActraceWarning, match="too large to keep"),
        actrace.record(model, tmp_path / "run", criterion=loss_fn),
    ):
        loss_fn(model(digits(8)[0]).log_softmax(1), digits(8)[1])
    run = actrace.open(tmp_path / "run")
    assert "train/output" not in run.groups
    assert any("too large" in reason for reason in run.attrs["skipped"].values())


class Lenient(nn.Module):
    """A loss that looks at no target."""

    def forward(self, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return out.sum()


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_wrong_target_warns_once_and_the_training_goes_on(tmp_path: Path, by_hand: bool) -> None:
    model, loss_fn = MLP(), Lenient()
    bad = torch.tensor([0, 1, 2, 10])
    criterion = None if by_hand else loss_fn
    with actrace.record(model, tmp_path / "run", classes=10, criterion=criterion) as recorder:

        def batch(seed: int, target: torch.Tensor) -> None:
            loss_fn(model(digits(4, seed)[0]), target)
            if by_hand:
                recorder.log(target=target)

        def bad_batches() -> None:
            for seed in range(3):
                batch(seed, bad)
            recorder.flush()

        with pytest.warns(ActraceWarning, match=r"from 0 to 10, expected 0 to 9") as caught:
            bad_batches()
        assert len(caught) == 1
        batch(3, digits(4)[1])
    run = actrace.open(tmp_path / "run")
    assert run.n_batches("train") == 4
    assert int(run["train/output"]["samples"].sum()) == 4
    assert "3 batches without labels" in run.attrs["skipped"]["4 (labels)"]


def test_a_criterion_that_is_never_called_is_remarked_on(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run", criterion=nn.CrossEntropyLoss()) as recorder:
        model(digits(4)[0])
        model(digits(4)[0])
        with pytest.warns(ActraceWarning, match="criterion was not called"):
            model(digits(4)[0])
        model(digits(4)[0])
    assert "criterion was not called" in recorder.report().remarks[0]


def test_a_criterion_inside_the_model_finds_its_batch(tmp_path: Path) -> None:
    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ConvNet()
            self.loss_fn = nn.CrossEntropyLoss()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.net(x)
            return {"loss": self.loss_fn(logits, y), "logits": logits}

    model = WithLoss()
    with actrace.record(model, tmp_path / "run", criterion=model.loss_fn) as recorder:
        model(*digits(8))
    run = actrace.open(tmp_path / "run")
    assert int(run["train/output"]["samples"].sum()) == 8
    assert np.isfinite(run["train"]["loss"]).all()
    assert "loss_fn" not in run.layer.values
    assert run.attrs["output_layer"] == "net.fc"
    assert recorder.report().remarks == ()


def test_without_targets_outputs_are_soon_no_longer_kept(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        kept = []
        for seed in range(20):
            model(digits(4, seed)[0])
            batch = recorder._session.batch
            kept.append(batch is not None and batch.output is not None)
    assert kept == [True] * 16 + [False] * 4


def test_windows_of_labels_end_with_their_epoch(tmp_path: Path) -> None:
    model, loss_fn = MLP(), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn, layers="4"):
        for _ in range(3):
            for phase, n in ((True, 70), (False, 20)):
                model.train(phase)
                for seed in range(n):
                    x, y = digits(2, seed)
                    loss_fn(model(x), y)
    run = actrace.open(tmp_path / "run")
    for phase, n in (("train", 70), ("valid", 20)):
        got = run[f"{phase}/output"].to_dataset()
        first, batches = got["first_batch"].values, got["batches"].values
        np.testing.assert_array_equal(first, np.concatenate([[0], np.cumsum(batches)[:-1]]))
        assert batches.sum() == 3 * n
        assert batches.max() <= max(1, n // 16)
        np.testing.assert_array_equal(got["epoch"], first // n)
        np.testing.assert_array_equal((first + batches - 1) // n, first // n)


def test_targets_that_come_late_are_counted_from_then_on(tmp_path: Path) -> None:
    model = MLP()
    with actrace.record(model, tmp_path / "run") as recorder:
        for seed in range(20):
            model(digits(4, seed)[0])
        recorder.log(target=digits(4)[1])
        with pytest.warns(ActraceWarning, match="output was not kept"):
            model(digits(4)[0])
        recorder.log(target=digits(4)[1])
    got = output_of(tmp_path / "run")
    assert int(got["samples"].sum()) == 4  # type: ignore[index]
    assert got["first_batch"].values.tolist() == [20]  # type: ignore[index]


class Squeezed(nn.Module):
    """A layer's output, viewed in another shape on its way out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 1)

    def forward(self, x):
        return self.fc(x).squeeze(1)


def test_an_output_viewed_in_another_shape_is_still_its_layers(tmp_path):
    model, loss_fn = Squeezed(), nn.BCEWithLogitsLoss()
    with actrace.record(model, tmp_path / "a", criterion=loss_fn):
        loss_fn(model(torch.randn(8, 4)), torch.randint(2, (8,)).float())
    run = actrace.open(tmp_path / "a")
    assert run.attrs["output_layer"] == "fc"
    assert run["train/output"].attrs["layer"] == "fc"


@pytest.mark.parametrize("flat", [True, False])
def test_every_step_of_a_sequence_is_a_sample_of_its_class(tmp_path: Path, flat: bool) -> None:
    """A language model's own loss, which tells neither the task nor where the classes are."""

    class TokenLoss(nn.Module):
        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    model, loss_fn = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9)), TokenLoss()
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(9, (3, 4, 5), generator=draw)
    samples = np.zeros(9, np.int64)
    correct = np.zeros(9, np.int64)
    with actrace.record(model, tmp_path / "run", criterion=loss_fn) as recorder:
        for x in tokens:
            logits = model(x)
            target = x.roll(1, 1)
            loss_fn(logits, target.flatten() if flat else target)
            samples += np.bincount(target.flatten(), minlength=9)
            right = target[logits.argmax(2) == target]
            correct += np.bincount(right, minlength=9)
    assert recorder.report().output == "1: single-label, 9 units"
    got = output_of(tmp_path / "run")
    np.testing.assert_array_equal(got["samples"].sum("window"), samples)
    np.testing.assert_array_equal(got["correct"].sum("window"), correct)


def test_too_many_classes_are_told_once_and_cost_nothing_more(tmp_path: Path) -> None:
    model, loss_fn = nn.Linear(3, MAX_UNITS + 1), nn.CrossEntropyLoss()
    with actrace.record(model, tmp_path / "run", criterion=loss_fn):
        loss_fn(model(torch.zeros(2, 3)), torch.zeros(2, dtype=torch.int64))
        with pytest.warns(ActraceWarning, match="got an output of 4097 units, and more than 4096"):
            model(torch.zeros(2, 3))
        loss_fn(model(torch.zeros(2, 3)), torch.zeros(2, dtype=torch.int64))
    run = actrace.open(tmp_path / "run")
    assert run.output("train") is None
    assert run["train"]["count"].sum() == 3 * 2 * (MAX_UNITS + 1)
