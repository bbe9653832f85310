"""class_report against the logits and targets of the very same batches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.metrics import confusion_matrix
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.classes import class_report, confused_pairs
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError
from actrace.store.axis import Linear

CLASSES = ["cat", "dog", "cow", "emu"]
AXIS = Linear(-20, 20, 800)


def batches(phase: str, n: int, epochs: int = 2) -> list[Batch]:
    """Logits in which cats are taken for dogs, more so in epoch 0."""
    rng = np.random.default_rng(len(phase))
    made = []
    for epoch in range(epochs):
        for _ in range(n):
            target = rng.integers(0, 4, 60)
            logits = rng.normal(0, 1, (60, 4))
            logits[np.arange(60), target] += 4
            logits[target == 0, 1] += 3.5 - epoch
            made.append(Batch({"fc": logits.astype(np.float32)}, epoch, target))
    return made


PHASES = {"train": batches("train", 8), "valid": batches("valid", 5)}


@pytest.fixture(scope="module")
def report():
    return class_report(run_from_samples(PHASES, axis=AXIS, classes=CLASSES)).compute()


def window_of(phase: str, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    mine = [b for b in PHASES[phase] if b.epoch == epoch]
    mine = mine[-2:] if phase == "train" else mine
    logits = np.concatenate([b.activations["fc"] for b in mine]).astype(np.float64)
    return logits, np.concatenate([b.target for b in mine])


@pytest.mark.parametrize("phase", ["train", "valid"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_number_is_that_of_the_samples(report, phase: str, epoch: int) -> None:
    logits, target = window_of(phase, epoch)
    one = report.sel(phase=phase, epoch=epoch)
    matrix = confusion_matrix(target, logits.argmax(axis=1), normalize="true")
    np.testing.assert_allclose(one["confusion"], matrix)
    np.testing.assert_allclose(one["accuracy"], matrix.diagonal())
    np.testing.assert_array_equal(one["samples"], np.bincount(target))
    told = matrix.diagonal() * np.bincount(target)
    for c in range(4):
        rest = (told.sum() - told[c]) / (target != c).sum()
        assert one["behind"][c] == pytest.approx(rest - matrix[c, c])
        mine = logits[target == c]
        for u in range(4):
            gap = mine[:, u].mean() - mine[:, c].mean()
            expected = norm.cdf(gap / np.hypot(mine[:, u].std(), mine[:, c].std()))
            seen = one["confusion_seen"][c, u]
            assert np.isnan(seen) if u == c else seen == pytest.approx(expected, abs=1e-6)
    assert one["rank"].sel(target_class="cat") == 1


def test_the_class_that_was_made_to_lag_is_the_one_found(report) -> None:
    valid = report.sel(phase="valid", epoch=0)
    assert valid["target_class"].values[valid["lagging"].values].tolist() == ["cat"]
    assert valid["confused_with"].sel(target_class="cat") == "dog"
    assert valid["behind_at_least"].sel(target_class="cat") > 0.1
    (pair, *_) = confused_pairs(valid, most=1)
    assert pair[:2] == ("cat", "dog")
    assert pair[2] > 0.3
    assert pair[3] > 0.3


def test_what_is_seen_ranks_as_what_was_counted() -> None:
    rng = np.random.default_rng(5)
    towards = rng.uniform(0, 3, (6, 6))
    np.fill_diagonal(towards, 3.5)
    target = rng.integers(0, 6, 3000)
    logits = rng.normal(towards[target], 1)
    run = run_from_samples({"valid": [Batch({"fc": logits}, 0, target)]}, axis=AXIS)
    one = class_report(run).compute().isel(phase=0, epoch=0)
    off = ~np.eye(6, dtype=bool)
    matrix = confusion_matrix(target, logits.argmax(axis=1), normalize="true")
    assert spearmanr(one["confusion_seen"].values[off], matrix[off]).statistic > 0.9


def test_the_peaks_are_those_by_class(report) -> None:
    run = run_from_samples(PHASES, axis=AXIS, classes=CLASSES)
    peaks = twin_peaks(run, by="class").compute()
    for name in ("understanding", "d_prime", "overlap", "auc", "auc_error"):
        assert report[name].identical(peaks[name]), name


@pytest.mark.parametrize("task", ["binary", "multi-label"])
def test_other_tasks_have_classes_and_no_matrix_of_confusion(task: str) -> None:
    report = class_report(synthetic_run(task=task, n_batches=4)).compute()
    assert "confusion_seen" not in report
    assert confused_pairs(report.isel(phase=0, epoch=0)) == []
    assert (report["accuracy_low"] <= report["accuracy"]).all()
    assert (report["accuracy"] <= report["accuracy_high"]).all()


def test_a_class_without_samples_has_no_rank_and_does_not_lag() -> None:
    made = batches("valid", 3, 1)
    for batch in made:
        batch.target[batch.target == 2] = 3
    report = class_report(run_from_samples({"valid": made}, classes=CLASSES)).compute()
    cow = report.isel(phase=0, epoch=0).sel(target_class="cow")
    assert (cow["samples"], cow["rank"]) == (0, 0)
    assert not cow["lagging"]
    assert cow["confused_with"] == ""
    assert np.isnan(cow["accuracy_low"])


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(NotRecordedError, match="regression"):
        class_report(synthetic_run(task="regression"))
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        class_report(synthetic_run(), confidence=95)


def test_each_variable_says_what_it_is(report) -> None:
    for name, variable in report.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name
