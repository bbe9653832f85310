"""The onset of overfitting class by class, on runs whose answer is known from the samples."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.onset_by_class import onset_by_class
from actrace.errors import NotRecordedError, PhaseNotFoundError
from actrace.store.axis import Linear

#: How sure of itself the network is, epoch by epoch.
SCALES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
#: Middles of these bins are whole numbers, and so are the logits: nothing is lost by binning.
WHOLE = Linear(-10.5, 10.5, 21)


def made(right: dict[str, float], task: str = "single-label") -> dict[str, list[Batch]]:
    """Return phases in which class 1 is told right in such shares, and the others nearly always."""
    rng = np.random.default_rng(0)
    phases: dict[str, list[Batch]] = {}
    for phase, share in right.items():
        phases[phase] = []
        for epoch, scale in enumerate(SCALES):
            for _ in range(12 if phase == "train" else 4):
                target = rng.integers(0, 2 if task == "binary" else 3, 60)
                told = rng.random(60) < np.where(target == 1, share, 0.999)
                if task == "binary":
                    logits = (np.where(told, target, 1 - target) * 2 - 1)[:, None] * scale
                else:
                    says = np.where(told, target, (target + 1) % 3)
                    logits = np.where(np.arange(3) == says[:, None], scale, 0.0)
                phases[phase].append(Batch({"hidden": logits, "fc": logits}, epoch, target, 1.0))
    return phases


def cross_entropy(batches: list[Batch], target: int) -> float:
    """Return the mean binary cross-entropy of the samples of a class."""
    costs = [
        np.logaddexp(0, np.where(b.target == 1, -1, 1) * b.activations["fc"][:, 0])[
            b.target == target
        ]
        for b in batches
    ]
    return float(np.concatenate(costs).mean())


def test_the_class_that_overfits_is_told_from_those_that_do_not() -> None:
    run = run_from_samples(made({"train": 0.99, "valid": 0.7}))
    found = onset_by_class(run)
    assert list(found) == ["0", "1", "2"]
    assert list(found.parted) == ["1"]
    one = found["1"]
    assert (one.target_class, one.witness, one.layer) == ("1", "outputs", "fc")
    assert one.epoch == one.best + 1
    assert one.agrees is None
    assert repr(found).startswith("1 of 3 classes have an onset\n  class '1': valid parted from")
    assert "class &#x27;1&#x27;" in found._repr_html_()
    assert found.series["error"].dims == ("phase", "target_class", "epoch")


def test_where_all_go_on_together_no_class_parts() -> None:
    found = onset_by_class(run_from_samples(made({"train": 0.99, "valid": 0.99})))
    assert found.parted == {}
    assert repr(found) == "0 of 3 classes have an onset"


def test_error_and_null_band_are_those_of_the_samples_of_the_class() -> None:
    phases = made({"train": 0.9, "valid": 0.7}, "binary")
    run = run_from_samples(phases, task="binary", axis=WHOLE)
    series = onset_by_class(run, quantile=0.5).series
    for target in (0, 1):
        for epoch in range(len(SCALES)):
            one = series.sel(target_class=str(target), epoch=epoch)
            train, valid = ([b for b in phases[p] if b.epoch == epoch] for p in ("train", "valid"))
            tail = cross_entropy(train[9:], target)
            assert one["error"].sel(phase="train") == pytest.approx(tail)
            assert one["error"].sel(phase="valid") == pytest.approx(cross_entropy(valid, target))
            # Validation has four batches; of nine before the last quarter a third are three.
            before = [cross_entropy(train[i : i + 3], target) for i in (0, 3, 6)]
            assert one["gap_null"] == pytest.approx(np.median(np.abs(np.array(before) - tail)))


def test_a_class_without_samples_in_validation_is_not_judged() -> None:
    phases = made({"train": 0.99, "valid": 0.7})
    for batch in phases["valid"]:
        assert batch.target is not None
        batch.target[batch.target == 2] = 0
    found = onset_by_class(run_from_samples(phases))
    assert (list(found), found.unjudged) == (["0", "1"], ("2",))
    assert repr(found).endswith("too few epochs with samples: '2'")
    with pytest.raises(KeyError, match="too few epochs"):
        found["2"]
    with pytest.raises(KeyError, match="it has '0', '1'"):
        found["9"]


def test_chunks_and_stored_windows_change_nothing() -> None:
    phases = made({"train": 0.99, "valid": 0.7})
    one = onset_by_class(run_from_samples(phases))
    other = onset_by_class(run_from_samples(phases, window=3, chunks={"batch": 5, "window": 2}))
    assert other.parted == one.parted
    valid = (found.series["error"].sel(phase="valid") for found in (one, other))
    np.testing.assert_allclose(*valid, rtol=1e-12)


def test_what_cannot_be_asked_is_said_plainly() -> None:
    with pytest.raises(NotRecordedError, match="a regression has none"):
        onset_by_class(synthetic_run(task="regression"))
    with pytest.raises(NotRecordedError, match="targets were not recorded"):
        onset_by_class(synthetic_run(labelled=False))
    with pytest.raises(NotRecordedError, match="this run has 1"):
        onset_by_class(synthetic_run(epochs=1))
    with pytest.raises(PhaseNotFoundError):
        onset_by_class(synthetic_run(phases=("train",)))
    with pytest.raises(ValueError, match="patience"):
        actrace.onset_by_class(synthetic_run(), patience=0)
