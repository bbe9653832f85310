"""The rules on layers, each on both sides of its threshold."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analysis.findings.trainings import LAYERS, Activations, grave, training

from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.registry import RULES


def test_a_training_that_is_well_has_no_warning() -> None:
    found = diagnose(training(), progress=False)
    assert [(f.rule, f.layer) for f in found if f.severity != "info"] == []
    assert {unjudged.rule for unjudged in found.unjudged} == {"vanishing", "exploding"}
    assert found.rules == tuple(RULES)


@pytest.mark.parametrize(("dead", "rules"), [(5, []), (6, ["dead-units"]), (9, ["dead-units"])])
def test_units_are_dead_beyond_half_of_them(dead: int, rules: list[str]) -> None:
    def kill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if epoch >= 2:
            activations["act1"][:, :dead] = 0.0

    run = training(kill)
    assert [f.rule for f in diagnose(run, rules="dead-*") if f.severity != "info"] == rules
    for finding in grave(run, "dead-units"):
        assert (finding.layer, finding.phase, finding.value) == ("act1", "train", dead / 10)
        assert (finding.first_step, finding.last_step) == (16, 47)
        assert (finding.first_epoch, finding.last_epoch) == (2, 5)
        assert finding.unit.startswith("0, 1, 2")


def test_a_dead_layer_is_one_without_any_active_unit() -> None:
    def kill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["act1"][:] = 0.0

    (finding,) = grave(training(kill), "dead-layer")
    assert (finding.severity, finding.layer, finding.value) == ("error", "act1", 1.0)


def test_units_that_came_back_before_the_last_epoch_are_no_finding() -> None:
    def kill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if epoch in (2, 3):
            activations["act1"][:] = 0.0

    assert grave(training(kill), "dead-*") == []


def test_layers_silent_by_design_and_those_that_hand_on_are_not_judged() -> None:
    def kill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["act1"][:] = 0.0
        activations["act2"][:] = 0.0

    kinds = {**LAYERS, "act1": "Dropout", "act2": "Flatten"}
    assert grave(training(kill, kinds=kinds), "dead-*") == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_names_the_first_layer_and_batch(value: float) -> None:
    def spoil(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if phase == "train" and (epoch, batch) >= (1, 3):
            activations["fc2"][0, 0] = value
            activations["head"][:] = value

    (finding,) = grave(training(spoil), "not-finite")
    assert (finding.severity, finding.layer, finding.phase) == ("error", "fc2", "train")
    assert (finding.first_step, finding.first_epoch, finding.value) == (11, 1, 1.0)
    assert "1 more layer" in finding.what


def test_not_finite_lets_as_many_pass_as_it_is_told() -> None:
    def spoil(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc2"][0, :2] = np.nan

    run = training(spoil, labelled=False)
    assert grave(run, "not-finite", elements=2) == []
    assert len(grave(run, "not-finite", elements=1)) == 2


@pytest.mark.parametrize(
    ("kind", "end", "share", "found"),
    [
        ("Tanh", (-0.995, 0.995), 0.4, False),
        ("Tanh", (-0.995, 0.995), 0.6, True),
        ("tanh()", (-0.995, 0.995), 0.6, True),
        ("Sigmoid", (0.001, 0.999), 0.4, False),
        ("Sigmoid", (0.001, 0.999), 0.6, True),
        ("Softmax", (0.0, 1.0), 0.8, False),
        ("Softmax", (0.0, 1.0), 1.0, True),
        ("ReLU", (0.001, 0.999), 1.0, False),
    ],
)
def test_saturation_is_a_share_of_outputs_at_the_ends(
    kind: str, end: tuple[float, float], share: float, found: bool
) -> None:
    def press(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        x = np.full(activations["act1"].size, 0.4)
        n = round(share * x.size)
        x[:n] = np.where(np.arange(n) % 2, *end)
        activations["act1"] = x.reshape(activations["act1"].shape)

    findings = grave(training(press, kinds={**LAYERS, "act1": kind}), "saturation")
    assert [f.layer for f in findings] == ["act1"] * found
    assert all(abs(f.value - share) < 0.05 for f in findings)


@pytest.mark.parametrize(("factor", "found"), [(3e-3, False), (3e-4, True)])
def test_vanishing_values_are_those_far_below_the_layers_before(factor: float, found: bool) -> None:
    def shrink(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        for name in ("fc2", "act2", "head"):
            activations[name] *= factor

    findings = grave(training(shrink), "vanishing")
    assert [f.layer for f in findings] == ["fc2"] * found


@pytest.mark.parametrize(("factor", "found"), [(30.0, False), (300.0, True)])
def test_exploding_values_are_those_far_above_the_first_layer(factor: float, found: bool) -> None:
    def grow(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if epoch == 3:
            activations["fc2"] *= factor

    findings = grave(training(grow), "exploding")
    assert [(f.layer, f.parameter, f.first_epoch) for f in findings] == [
        ("fc2", "depth", 3)
    ] * found


def test_growth_from_nothing_is_no_explosion() -> None:
    def grow(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["head"] *= 1e-9 if epoch == 0 else 1.0

    assert grave(training(grow), "exploding") == []


@pytest.mark.parametrize(("share", "severities"), [(0.005, ["info"]), (0.05, ["warning"])])
def test_activations_outside_the_axis(share: float, severities: list[str]) -> None:
    def push(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if phase == "train" and epoch == 4:
            flat = activations["fc1"].reshape(-1)
            flat[: round(share * flat.size)] = 2000.0

    found = diagnose(training(push), rules="outside-axis")
    assert [f.severity for f in found] == severities
    assert (found[0].layer, found[0].value, found[0].first_epoch) == ("fc1", share, 4)


@pytest.mark.parametrize(
    ("reach", "found"),
    [
        ([5, 20, 30, 40, 50, 60], False),  # has slowed
        ([5, 10, 20, 30, 45, 60], True),
        ([5, 10, 20, 90, 30, 60], False),  # fell in between
        ([1, 2, 4, 6, 9, 12], False),  # is small
    ],
)
def test_a_growing_range_grows_to_the_end(reach: list[float], found: bool) -> None:
    def grow(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc2"][0, 0] = reach[epoch]

    assert [f.layer for f in grave(training(grow), "growing-range")] == ["fc2"] * found


def test_massive_activations_are_a_remark() -> None:
    def push(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc2"] *= 0.1
        activations["fc2"][0, 0] = 300.0

    (finding,) = diagnose(training(push), rules="growing-range")
    assert (finding.severity, finding.parameter, finding.layer) == ("info", "massive_ratio", "fc2")
    assert finding.value > 1000


@pytest.mark.parametrize(("after", "found"), [(1.0, True), (30.0, False)])
def test_an_unstable_layer_is_one_that_only_its_normalisation_holds(
    after: float, found: bool
) -> None:
    def grow(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        size = 30.0 if epoch >= 3 else 1.0
        activations["fc1"] *= size
        activations["act1"] *= after if epoch >= 3 else 1.0

    kinds = {**LAYERS, "act1": "BatchNorm1d"}
    findings = grave(training(grow, kinds=kinds), "unstable-layer-normalised")
    assert [f.layer for f in findings] == ["fc1"] * found
    assert grave(training(grow), "unstable-layer-normalised") == []  # a ReLU holds nothing
