"""twin_peaks against the raw logits and targets of the very same batches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import NotRecordedError, PhaseNotFoundError
from actrace.store.axis import Linear

N_CLASSES = 3


def batches(phase: str, n: int = 8, epochs: int = 2, seed: int = 0) -> list[Batch]:
    rng = np.random.default_rng([seed, len(phase)])
    made = []
    for epoch in range(epochs):
        for _ in range(n):
            target = rng.integers(0, N_CLASSES, 30)
            logits = rng.normal(0, 1 + epoch, (30, N_CLASSES))
            logits[np.arange(30), target] += 1.5 * (epoch + 1)
            made.append(Batch({"fc": logits.astype(np.float32)}, epoch, target))
    return made


PHASES = {"train": batches("train"), "valid": batches("valid", 5)}


def window_of(phase: str, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, YES mask and targets of the chart's window."""
    mine = [b for b in PHASES[phase] if b.epoch == epoch]
    mine = mine[-2:] if phase == "train" else mine
    logits = np.concatenate([b.activations["fc"] for b in mine]).astype(np.float64)
    target = np.concatenate([b.target for b in mine])
    return logits, np.arange(N_CLASSES) == target[:, None], target


@pytest.fixture(scope="module")
def found():
    return twin_peaks(run_from_samples(PHASES, axis=Linear(-20, 20, 2000))).compute()


@pytest.mark.parametrize("phase", ["train", "valid"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_number_is_that_of_the_samples(found, phase: str, epoch: int) -> None:
    logits, is_yes, target = window_of(phase, epoch)
    yes, no = logits[is_yes], logits[~is_yes]
    one = found.sel(phase=phase, epoch=epoch)
    exact = {
        "mean_yes": yes.mean(),
        "mean_no": no.mean(),
        "std_yes": yes.std(),
        "std_no": no.std(),
        "confidence": yes.std(),
        "understanding": yes.mean() - no.mean(),
        "elements_yes": yes.size,
        "elements_no": no.size,
        "share_yes": 1 / N_CLASSES,
        "d_prime": (yes.mean() - no.mean()) / np.sqrt((yes.var() + no.var()) / 2),
        "samples": len(target),
        "accuracy": accuracy_score(target, logits.argmax(axis=1)),
    }
    for name, value in exact.items():
        assert one[name] == pytest.approx(value, rel=1e-6), name
    expected = roc_auc_score(is_yes.ravel(), logits.ravel())
    assert abs(one["auc"] - expected) <= one["auc_error"] + 1e-12
    assert one["auc_error"] < 0.01
    at = float(one["best_threshold"])
    assert one["youden_j"] == pytest.approx((yes >= at).mean() - (no >= at).mean(), abs=0.02)
    gap = 1.5 * (epoch + 1) / (1 + epoch)
    assert one["overlap"] == pytest.approx(2 * norm.cdf(-gap / 2), abs=0.15)


def test_by_class_and_by_unit_are_those_of_their_samples() -> None:
    run = run_from_samples(PHASES, axis=Linear(-20, 20, 400))
    logits, is_yes, target = window_of("valid", 1)
    by_class = twin_peaks(run, phases="valid", by="class").compute().sel(phase="valid", epoch=1)
    by_unit = twin_peaks(run, phases="valid", by="unit").compute().sel(phase="valid", epoch=1)
    assert "accuracy" not in by_unit
    for c in range(N_CLASSES):
        mine = target == c
        yes, no = logits[mine][is_yes[mine]], logits[mine][~is_yes[mine]]
        one = by_class.sel(target_class=str(c))
        assert one["mean_yes"] == pytest.approx(yes.mean())
        assert one["std_no"] == pytest.approx(no.std())
        assert one["samples"] == mine.sum()
        assert one["accuracy"] == pytest.approx((logits[mine].argmax(axis=1) == c).mean())
        unit = by_unit.sel(output_unit=str(c))
        assert unit["mean_yes"] == pytest.approx(logits[mine, c].mean())
        assert unit["mean_no"] == pytest.approx(logits[~mine, c].mean())
        expected = roc_auc_score(mine, logits[:, c])
        assert abs(unit["auc"] - expected) <= unit["auc_error"] + 1e-12


@pytest.mark.parametrize("window", [1, 3, 100])
def test_the_whole_epoch_does_not_depend_on_the_stored_windows(window: int) -> None:
    axis = Linear(-20, 20, 400)
    one = twin_peaks(run_from_samples(PHASES, axis=axis), window="epoch").compute()
    other = twin_peaks(run_from_samples(PHASES, axis=axis, window=window), window="epoch").compute()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12, err_msg=str(name))


def test_what_lies_outside_the_axis_takes_part() -> None:
    logits, is_yes, _ = window_of("valid", 1)
    run = run_from_samples(PHASES, axis=Linear(-0.5, 0.5, 20))
    one = twin_peaks(run, phases="valid").compute().isel(phase=0, epoch=1)
    expected = roc_auc_score(is_yes.ravel(), logits.ravel())
    assert abs(one["auc"] - expected) <= one["auc_error"] + 1e-12
    assert one["mean_yes"] == pytest.approx(logits[is_yes].mean())


@pytest.mark.parametrize("task", ["binary", "multi-label"])
def test_binary_and_multi_label_have_yes_and_no(task: str) -> None:
    found = twin_peaks(synthetic_run(task=task, n_batches=4)).compute()
    assert (found["understanding"].diff("epoch") > 0).all()
    assert ((found["share_yes"] > 0.1) & (found["share_yes"] < 0.7)).all()
    assert (found["accuracy"] > 0.5).all()


def test_the_negative_class_of_a_binary_run_has_no_yes() -> None:
    found = twin_peaks(synthetic_run(task="binary", n_batches=4), by="class").compute()
    assert np.isnan(found["mean_yes"].sel(target_class="0")).all()
    assert np.isfinite(found["mean_no"].sel(target_class="0")).all()


def test_an_epoch_that_a_phase_lacks_is_nan() -> None:
    phases = {"train": batches("train", 4, 3), "valid": batches("valid", 4, 2)}
    found = twin_peaks(run_from_samples(phases)).compute()
    assert found["epoch"].values.tolist() == [0, 1, 2]
    late = found.sel(phase="valid", epoch=2)
    assert late["elements_yes"] == 0
    for name in (
        "understanding",
        "d_prime",
        "overlap",
        "auc",
        "best_threshold",
        "accuracy",
        "share_yes",
    ):
        assert np.isnan(late[name]), name


def test_outputs_that_are_not_finite_are_left_out_of_moments_alone() -> None:
    made = batches("valid", 2, 1)
    made[0].activations["fc"][0, :] = [np.nan, np.inf, -np.inf]
    found = twin_peaks(run_from_samples({"valid": made}, axis=Linear(-20, 20, 50))).compute()
    assert np.isfinite(found["understanding"]).all()
    assert found["elements_yes"] + found["elements_no"] == 60 * N_CLASSES


def test_each_variable_says_what_it_is(found) -> None:
    for name, variable in found.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name
    assert "Youden" in found["best_threshold"].attrs["references"]
    assert found.attrs == {"window": "chart", "layer": "fc"}


def test_a_regression_says_that_it_has_no_yes_and_no() -> None:
    with pytest.raises(NotRecordedError, match=r"regression, which has no yes and no.*find_peaks"):
        twin_peaks(synthetic_run(task="regression"))


def test_a_run_without_targets_says_how_to_get_them() -> None:
    run = synthetic_run(labelled=False)
    with pytest.raises(NotRecordedError, match=r"criterion=.*log\(target=.*find_peaks"):
        twin_peaks(run)
    with pytest.raises(NotRecordedError, match="phase 'valid' has no targets"):
        twin_peaks(run, phases=["valid"])
    with pytest.raises(PhaseNotFoundError):
        twin_peaks(run, phases="test")
    with pytest.raises(ValueError, match="'class' or 'unit', got 'layer'"):
        twin_peaks(run, by="layer")


def test_a_phase_without_targets_is_left_out_of_all() -> None:
    phases = {
        "train": batches("train", 4),
        "valid": [Batch(b.activations, b.epoch) for b in batches("v", 2)],
    }
    assert twin_peaks(run_from_samples(phases))["phase"].values.tolist() == ["train"]
