"""The onset of overfitting: on runs whose answer is known, and on two real trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from tests.synthetic import Batch, run_from_samples, synthetic_run
from torch import nn

import actrace
from actrace.analysis.onset import Onset, onset
from actrace.errors import LayerNotFoundError, NotRecordedError, PhaseNotFoundError

#: How sure of itself the made-up network is, epoch by epoch; the right answer gets the most
#: in 98 of 100 training samples and in 75 of 100 for validation.
SCALES = (0.2, 0.8, 1.6, 2.6, 4.0, 6.0, 8.0)
RIGHT = {"train": 0.98, "valid": 0.75}


def overfitting(
    task: str = "single-label",
    scales: tuple[float, ...] = SCALES,
    right: dict[str, float] = RIGHT,
    losses: bool = True,
) -> dict[str, list[Batch]]:
    rng = np.random.default_rng(0)
    phases: dict[str, list[Batch]] = {}
    for phase, share in right.items():
        phases[phase] = []
        for epoch, scale in enumerate(scales):
            for _ in range(12 if phase == "train" else 4):
                n = 60
                told = rng.random(n) < share
                if task == "single-label":
                    target = rng.integers(0, 4, n)
                    says = np.where(told, target, (target + rng.integers(1, 4, n)) % 4)
                    logits = rng.normal(0, 0.3, (n, 4))
                    logits[np.arange(n), says] += scale
                    loss = log_loss(target, _softmax(logits), labels=range(4))
                elif task == "regression":
                    target = rng.normal(0, 1, (n, 2))
                    spread = 1 / scale if phase == "train" else abs(scale - 2.6) + 0.5
                    logits = target + rng.normal(0, spread, (n, 2))
                    loss = float(np.mean((logits - target) ** 2))
                else:
                    target = rng.integers(0, 2, n)
                    logits = (np.where(told, target, 1 - target) * 2 - 1) * scale
                    logits = (logits + rng.normal(0, 0.3, n))[:, None]
                    loss = log_loss(target, 1 / (1 + np.exp(-logits[:, 0])))
                hidden = rng.normal(0, 1, (n, 5))
                phases[phase].append(
                    Batch(
                        {"hidden": hidden, "fc": logits}, epoch, target, loss if losses else np.nan
                    )
                )
    return phases


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def least_loss(phases: dict[str, list[Batch]]) -> int:
    means = [
        np.mean([b.loss for b in phases["valid"] if b.epoch == epoch])
        for epoch in range(len(SCALES))
    ]
    return int(np.argmin(means))


@pytest.mark.parametrize("task", ["single-label", "binary", "regression"])
def test_the_onset_follows_the_epoch_in_which_validation_was_best(task: str) -> None:
    phases = overfitting(task)
    found = onset(run_from_samples(phases, task=task))
    best = least_loss(phases)
    assert (found.best, found.epoch) == (best, best + 1)
    assert found.confirmed is not None
    assert found.confirmed >= best + 2
    assert found.witness == ("errors" if task == "regression" else "outputs")
    assert (found.loss_best, found.loss_onset, found.agrees) == (best, best + 1, True)
    assert repr(found).startswith(f"valid parted from train in epoch {best + 1} (")
    assert f"the recorded loss agrees: that of valid was lowest in epoch {best}" in repr(found)
    assert f"in epoch {best}" in found._repr_html_()


def test_the_error_of_a_sigmoid_and_of_a_regression_is_the_loss_itself() -> None:
    for task, within in (("binary", 0.01), ("regression", 1e-9)):
        series = onset(run_from_samples(overfitting(task), task=task)).series
        np.testing.assert_allclose(series["error"], series["loss"], rtol=within)


def test_it_stands_without_losses() -> None:
    with_losses = onset(run_from_samples(overfitting()))
    without = onset(run_from_samples(overfitting(losses=False)))
    assert without.epoch == with_losses.epoch
    assert (without.loss_best, without.loss_onset, without.agrees) == (None, None, None)
    assert repr(without).endswith("no loss was recorded to compare with")


def test_losses_that_say_otherwise_are_reported_and_not_followed() -> None:
    phases = overfitting()
    for phase in phases.values():
        for batch in phase:
            batch.loss = 5.0 - batch.epoch
    found = onset(run_from_samples(phases))
    assert found.epoch is not None
    assert (found.loss_best, found.loss_onset, found.agrees) == (6, None, False)
    assert "the recorded loss disagrees" in repr(found)


def test_phases_that_go_on_together_have_none() -> None:
    alike = overfitting(right={"train": 0.98, "valid": 0.98}, scales=SCALES[:5])
    found = onset(run_from_samples(alike))
    assert (found.epoch, found.confirmed, found.agrees) == (None, None, True)
    assert repr(found).startswith("no onset: valid did not get worse while train went on")


def test_a_gap_that_does_not_grow_worse_is_apart_and_no_onset() -> None:
    found = onset(run_from_samples(overfitting(scales=SCALES[:3])))
    assert found.epoch is None
    assert found.apart is not None
    assert f"though apart from epoch {found.apart} on" in repr(found)


def test_the_null_band_is_that_of_the_errors_within_the_epoch() -> None:
    phases = overfitting("regression")
    series = onset(run_from_samples(phases, task="regression")).series
    squares = [
        np.mean((b.activations["fc"] - b.target) ** 2) for b in phases["train"] if b.epoch == 3
    ]
    tail = np.mean(squares[9:])
    # Validation has four batches, of nine before the last quarter a third are three.
    before = [np.mean(squares[i : i + 3]) for i in (6, 3, 0)]
    expected = np.quantile(np.abs(np.array(before) - tail), 0.95)
    assert series["gap_null"].sel(epoch=3) == pytest.approx(expected, rel=1e-9)
    assert series["null_windows"].sel(epoch=3) == 3


@pytest.mark.parametrize("window", [1, 5])
def test_chunks_and_stored_windows_change_nothing_of_the_answer(window: int) -> None:
    phases = overfitting()
    one = onset(run_from_samples(phases))
    other = onset(run_from_samples(phases, window=window, chunks={"batch": 5, "window": 3}))
    assert (other.epoch, other.best) == (one.epoch, one.best)
    valid = other.series["error"].sel(phase="valid")
    np.testing.assert_allclose(valid, one.series["error"].sel(phase="valid"), rtol=1e-12)


def test_a_layer_without_targets_is_a_weaker_sign() -> None:
    rng = np.random.default_rng(0)
    phases = {
        phase: [
            Batch({"fc": rng.normal(shift * max(0, epoch - 2), 1, (50, 6))}, epoch)
            for epoch in range(6)
            for _ in range(n)
        ]
        for phase, n, shift in (("train", 16, 0.0), ("valid", 4, 1.0))
    }
    found = onset(run_from_samples(phases), quantile=1.0)
    assert (found.witness, found.layer, found.epoch, found.confirmed) == ("layer", "fc", 3, 4)
    assert found.best is None
    assert "a weak sign" in repr(found)
    named = onset(run_from_samples(overfitting()), layer="hidden", quantile=1.0)
    assert (named.witness, named.epoch) == ("layer", None)
    assert "a weak sign" in repr(named)


def test_a_layer_that_differs_all_along_has_no_onset() -> None:
    rng = np.random.default_rng(0)
    phases = {
        phase: [Batch({"fc": rng.normal(shift, 1, (50, 6))}, e) for e in range(5) for _ in range(n)]
        for phase, n, shift in (("train", 16, 0.0), ("valid", 4, 1.0))
    }
    found = onset(run_from_samples(phases))
    assert (found.epoch, found.apart) == (None, 0)


def test_what_cannot_be_asked_is_said_plainly() -> None:
    run = synthetic_run()
    with pytest.raises(NotRecordedError, match=r"takes 4 epochs .* this run has 3"):
        onset(run, patience=3)
    with pytest.raises(NotRecordedError, match="this run has 1"):
        onset(synthetic_run(epochs=1))
    with pytest.raises(NotRecordedError, match="this run has 1"):
        onset(synthetic_run(epochs=1), layer="fc")
    with pytest.raises(PhaseNotFoundError, match="'valid'"):
        onset(synthetic_run(phases=("train",)))
    with pytest.raises(LayerNotFoundError):
        onset(run, layer="fc9")
    with pytest.raises(NotRecordedError, match="at most 2"):
        onset(synthetic_run(n_batches=3, labelled=False))
    for patience in (0, 1.5, True):
        with pytest.raises(ValueError, match="patience"):
            onset(run, patience=patience)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two different"):
        onset(run, phases=("train", "train"))
    for rise in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="rise"):
            onset(run, rise=rise)
    with pytest.raises(ValueError, match="quantile"):
        onset(run, quantile=2)


def trained(path: Path, *, samples: int, wrong: float, model: nn.Module, epochs: int) -> Onset:
    """Train on digits and return what the recording says."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor(images[order] / 16, dtype=torch.float32)
    y = torch.tensor(labels[order])
    learnt = y[:samples].clone()
    mistaken = torch.rand(samples) < wrong
    learnt[mistaken] = torch.randint(10, (int(mistaken.sum()),))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with actrace.record(model, path, criterion=loss_fn):
        for _ in range(epochs):
            model.train()
            for batch in torch.randperm(samples).split(20):
                optimizer.zero_grad()
                loss_fn(model(x[batch]), learnt[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for part in torch.arange(1300, 1797).split(250):
                    loss_fn(model(x[part]), y[part])
    return actrace.onset(actrace.open(path))


def test_a_real_training_that_overfits_has_an_onset_near_the_least_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    found = trained(tmp_path / "over", samples=300, wrong=0.4, model=model, epochs=20)
    assert found.epoch is not None
    assert found.loss_best is not None
    assert abs(found.epoch - found.loss_best) <= 2
    assert found.agrees


def test_a_real_training_that_does_not_overfit_has_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
    found = trained(tmp_path / "well", samples=1200, wrong=0.0, model=model, epochs=6)
    assert (found.epoch, found.agrees) == (None, True)
