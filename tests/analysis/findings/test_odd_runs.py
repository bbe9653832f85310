"""Runs of every kind are judged: short, unfinished, sampled, with gaps, without this or that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.analysis.findings.trainings import LAYERS, Activations, grave, training

from actrace.analysis.findings import columns
from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.registry import RULES
from actrace.store.run import Run


def said(run: Run) -> list[tuple[str, str, str, int | None]]:
    return [(f.severity, f.rule, f.layer, f.first_step) for f in diagnose(run)]


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 1},
        {"epochs": 1, "steps": 1},
        {"phases": ("train",)},
        {"phases": ("valid",)},
        {"labelled": False},
        {"units": False},
        {"attributes": {"output_layer": None}},
        {"attributes": {"status": "recording", "ended": None}},
        {"kinds": {"head": "Linear"}},
        {"window": 3},
        {"loss": lambda phase, epoch: float("nan")},
    ],
    ids=lambda options: "-".join(options),
)
def test_a_run_that_lacks_something_is_judged_by_what_it_has(options: dict[str, Any]) -> None:
    found = diagnose(training(**options))
    assert [f for f in found if f.severity != "info"] == []
    assert set(found.rules) == set(RULES)


def test_what_cannot_be_judged_is_said_with_the_reason() -> None:
    found = diagnose(training(labelled=False, phases=("train",), units=False))
    reasons = {unjudged.rule: unjudged.why for unjudged in found.unjudged}
    assert "criterion" in reasons["class-imbalance"]
    assert "valid" in reasons["overfit"]
    assert "unit" in reasons["dead-units"]
    assert "gradients=True" in reasons["vanishing"]


def test_a_run_without_a_batch_is_not_judged() -> None:
    run = training(epochs=0)
    found = diagnose(run)
    assert len(found) == 0
    # A gap needs no batch, and no layer that could be saturated is none that is.
    judged = set(RULES) - {unjudged.rule for unjudged in found.unjudged}
    assert judged == {"recorder-gap", "saturation"}


def test_layers_that_were_never_called_are_left_out() -> None:
    kinds = {**LAYERS, "spare": "Linear"}
    assert [f for f in diagnose(training(kinds=kinds)) if f.severity != "info"] == []


def ill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
    activations["act1"][:, :8] = 0.0
    activations["fc2"] *= 300.0 if epoch == 3 and batch == 2 else 1.0
    if phase == "train" and (epoch, batch) == (4, 5):
        activations["head"][0, 0] = np.nan


@pytest.mark.parametrize("batch", [1, 7, 48])
def test_the_answer_does_not_depend_on_chunks(batch: int) -> None:
    assert said(training(ill, chunks={"batch": batch, "layer": 2, "window": 5})) == said(
        training(ill)
    )


def test_a_run_too_long_to_hold_is_folded_and_still_names_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = said(training(ill))
    monkeypatch.setattr(columns, "_CELLS", 5 * 12)
    monkeypatch.setattr(columns, "_FEWEST", 1)
    monkeypatch.setattr(columns, "_BLOCK", 10)
    run = training(ill)
    (finding,) = grave(run, "not-finite")
    assert (finding.layer, finding.first_step) == ("head", 37)
    assert [(s, r, at) for s, r, at, _ in said(run)] == [(s, r, at) for s, r, at, _ in whole]


@pytest.mark.parametrize(
    ("attributes", "shares"),
    [
        ({}, []),
        ({"lost_batches": {"train": 12}}, [0.2]),
        ({"lost_batches": {"train": 12, "test": 3}}, [0.2, 1.0]),
        ({"damaged": {"train": []}}, [1.0]),
        ({"lost_batches": "much"}, []),
    ],
)
def test_batches_that_were_lost_are_a_gap(attributes: dict[str, Any], shares: list[float]) -> None:
    found = grave(training(attributes=attributes), "recorder-gap")
    assert [finding.value for finding in found] == shares


def test_steps_that_are_missing_are_a_gap_unless_a_schedule_left_them_out() -> None:
    for schedule, found in ((None, [(10, 12, 3 / 51)]), ("every 2 steps", [])):
        run = training(attributes={"schedule": schedule})
        step = run["train"]["step"].to_numpy()
        step[10:] += 3
        gaps = grave(run, "recorder-gap")
        assert [(f.first_step, f.last_step, f.value) for f in gaps] == found
