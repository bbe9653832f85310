"""The rules on how a training begins and goes on, each on both sides of its threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.analysis.findings.trainings import LAYERS, Activations, Change, grave, training

from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.rules.classes import _upper_bound
from actrace.analysis.findings.rules.learning import _turns
from actrace.analysis.onset import onset


@pytest.mark.parametrize("steps", [[0, 3, 0, 3], [3, 0, 3, 0], [0, 1, 2, 3, 1, 0, 2, 3]])
def test_turns_are_counted_as_by_eye(steps: list[float]) -> None:
    assert _turns(np.array(steps, float), 2.5) == 3
    assert _turns(np.array(steps, float), 3.5) == 0


@pytest.mark.parametrize(("factor", "found"), [(1.8, False), (3.0, True)])
def test_a_learning_rate_too_high_makes_the_spread_jump(factor: float, found: bool) -> None:
    def jump(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc2"] *= factor if epoch == 1 and batch in (2, 5) else 1.0

    findings = grave(training(jump), "learning-rate-too-high")
    assert [f.layer for f in findings] == ["fc2"] * found
    assert [(f.first_step, f.last_step, f.value) for f in findings] == [(9, 14, 4.0)] * found


@pytest.mark.parametrize(("cycles", "found"), [(1, False), (2, True)])
def test_growing_and_collapsing_in_turn_is_one_too(cycles: int, found: bool) -> None:
    def swing(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if epoch < 2 * cycles:
            at = 8 * (epoch % 2) + batch
            activations["fc2"] *= 1.5 ** (8 - abs(at - 8))

    findings = grave(training(swing), "learning-rate-too-high")
    assert [(f.layer, f.parameter) for f in findings] == [("fc2", "swings")] * found


@pytest.mark.parametrize(("drift", "found"), [(0.0, True), (0.05, False)])
def test_a_layer_that_stays_while_later_ones_move_does_not_learn(drift: float, found: bool) -> None:
    def pin(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc1"] /= (1 + 0.1 * epoch) / (1 + drift * epoch)

    findings = grave(training(pin), "layer-not-learning")
    assert [(f.layer, f.phase) for f in findings] == [("fc1", "valid")] * found


def test_layers_of_a_training_without_any_movement_are_not_told_apart() -> None:
    def pin(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc1"] /= 1 + 0.1 * epoch
        activations["fc2"] /= 1 + 0.2 * epoch
        activations["head"] = activations["fc1"][:, :4]

    assert grave(training(pin), "layer-not-learning") == []


def test_a_layer_whose_units_are_dead_is_not_said_to_be_pinned() -> None:
    def kill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc1"] /= 1 + 0.1 * epoch
        activations["act1"][:, :7] = 0.0

    assert grave(training(kill), "layer-not-learning") == []


def test_movement_needs_two_epochs() -> None:
    found = diagnose(training(epochs=1), rules="layer-not-learning")
    assert (len(found), len(found.unjudged)) == (0, 1)
    assert "only one" in found.unjudged[0].why


def test_an_output_that_never_moves() -> None:
    def freeze(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["head"] = activations["fc1"][:, :4] / (1 + 0.1 * epoch)

    (finding,) = grave(training(freeze), "constant-output")
    assert (finding.parameter, finding.layer, finding.severity) == ("unchanged", "head", "error")


@pytest.mark.parametrize(("spread", "found"), [(1e-2, False), (1e-6, True)])
@pytest.mark.parametrize("labelled", [True, False])
def test_an_output_that_is_the_same_for_every_input(
    spread: float, found: bool, labelled: bool
) -> None:
    def bias(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        noise = activations["fc1"][:, :4] * spread
        activations["head"] = np.arange(4.0) * (1 + epoch) + noise
        if not labelled:  # only batches can be told apart then
            activations["head"] += batch * spread

    findings = grave(training(bias, labelled=labelled), "constant-output")
    assert [f.parameter for f in findings] == ["same"] * found


@pytest.mark.parametrize(("size", "found"), [(2.0, False), (10.0, True)])
def test_outputs_that_are_sure_from_the_start(size: float, found: bool) -> None:
    def spread(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["head"] *= size if epoch == 0 else 1.0

    findings = grave(training(spread), "poor-initialisation")
    assert [(f.layer, f.parameter) for f in findings] == [("head", "output_spread")] * found


@pytest.mark.parametrize(("until", "found"), [(4, False), (16, True)])
def test_a_hidden_layer_of_zeros_that_stays_one(until: int, found: bool) -> None:
    def zero(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if 8 * epoch + batch < until:
            activations["fc2"][:] = 0.0

    findings = grave(training(zero), "poor-initialisation")
    assert [(f.layer, f.severity) for f in findings] == [("fc2", "error")] * found


@pytest.mark.parametrize(("factor", "found"), [(50.0, False), (200.0, True)])
def test_variances_far_apart_in_the_first_batch(factor: float, found: bool) -> None:
    def grow(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["fc2"] *= factor

    findings = grave(training(grow), "poor-initialisation")
    assert [(f.layer, f.parameter) for f in findings] == [("fc2", "variance_ratio")] * found


@pytest.mark.parametrize(("shift", "found"), [(0.0, False), (0.5, True)])
def test_phases_unlike_from_the_start(shift: float, found: bool) -> None:
    def move(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if phase == "valid":
            activations["fc1"] += shift

    findings = grave(training(move, steps=40), "phases-unlike-from-start")
    assert [f.layer for f in findings] == ["fc1"] * found


def test_phases_that_part_later_are_not_unlike_from_the_start() -> None:
    def move(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        if phase == "valid" and epoch:
            activations["fc1"] += 0.5

    assert grave(training(move, steps=40), "phases-unlike-from-start") == []


def test_a_first_layer_that_works_otherwise_in_training_is_not_compared() -> None:
    run = training(kinds={**LAYERS, "fc1": "Dropout"})
    assert [u.rule for u in diagnose(run, rules="phases-*").unjudged] == [
        "phases-unlike-from-start"
    ]


@pytest.mark.parametrize(
    ("rare", "found"), [(50, False), (51, True)], ids=["ten to one", "more than ten"]
)
def test_class_imbalance_is_beyond_ten_to_one(rare: int, found: bool) -> None:
    run = training(classes=(5, 5, 5, rare), epochs=2, steps=4)
    findings = grave(run, "class-imbalance")
    assert [(f.target_class, f.phase) for f in findings] == [("0", "train")] * found


def test_imbalance_needs_enough_samples() -> None:
    run = training(classes=(1, 1, 1, 30), epochs=1, steps=2)
    assert grave(run, "class-imbalance") == []
    assert len(grave(run, "class-imbalance", samples=60)) == 1


@pytest.mark.parametrize(("wrong", "found"), [(1, False), (3, True)])
def test_a_class_lags_that_is_told_wrong_more_often(wrong: int, found: bool) -> None:
    def confuse(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["head"][:wrong, 1] = activations["head"][:wrong].max(axis=1) + 1.0

    run = training(confuse, steps=20, classes=(10, 10, 10, 10))
    findings = grave(run, "lagging-class")
    assert [f.target_class for f in findings] == ["0"] * found


def test_classes_are_not_ranked_before_anything_is_learned() -> None:
    def scramble(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        activations["head"] = activations["fc1"][:, :4]

    found = diagnose(training(scramble), rules="lagging-class")
    assert (len(found), [u.rule for u in found.unjudged]) == (0, ["lagging-class"])


@pytest.mark.parametrize(("share", "n"), [(0.0, 10), (0.5, 40), (1.0, 25)])
def test_the_bound_is_wilsons(share: float, n: int) -> None:
    from scipy.stats import binomtest, norm

    level = 2 * norm.cdf(2.6) - 1
    interval = binomtest(round(share * n), n).proportion_ci(level, method="wilson")
    assert _upper_bound(share, n, 2.6) == pytest.approx(interval.high)


@pytest.mark.parametrize(("gap", "found"), [(0.0, True), (3.0, False)])
def test_a_classifier_without_peaks(gap: float, found: bool) -> None:
    def scramble(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        head = activations["fc1"][:, :4] + np.array([0.0, 0.0, 0.0, 5.0])  # one is always likely
        head[np.arange(20), np.repeat(np.arange(4), 5)] += gap
        activations["head"] = head

    findings = grave(training(scramble), "no-peaks")
    assert [(f.layer, f.severity) for f in findings] == [("head", "error")] * found


def parted(far: Callable[[str, int], float]) -> Change:
    """Return a change by which YES lies so far above NO in a phase and epoch."""

    def part(activations: Activations, phase: str, epoch: int, batch: int) -> None:
        head = activations["fc1"][:, :4] / (1 + 0.1 * epoch) * 0.3
        head[np.arange(20), np.repeat(np.arange(4), 5)] += far(phase, epoch)
        activations["head"] = head

    return part


def test_overfitting_is_validation_that_gets_worse_while_training_goes_on() -> None:
    def far(phase: str, epoch: int) -> float:
        behind = 1.2 * max(epoch - 2, 0) if phase == "valid" else 0.0
        return 2.0 + 0.4 * epoch - behind

    (finding,) = grave(training(parted(far)), "overfit")
    assert (finding.parameter, finding.phase, finding.first_epoch) == ("rise", "valid", 3)


def test_a_network_that_tells_nothing_apart_has_learned_nothing_by_heart() -> None:
    def far(phase: str, epoch: int) -> float:
        return -1.2 * max(epoch - 2, 0) if phase == "valid" else 0.0

    run = training(parted(far))
    assert onset(run).epoch is not None  # validation does get worse
    assert not grave(run, "overfit")


@pytest.mark.parametrize(("behind", "found"), [(0.9, False), (0.5, True)])
def test_validation_that_falls_behind_for_good_is_overfitting_too(
    behind: float, found: bool
) -> None:
    change = parted(lambda phase, epoch: 2.0 * (behind if phase == "valid" else 1.0))
    findings = grave(training(change, loss=_losses), "overfit")
    assert [(f.parameter, f.phase) for f in findings] == [("separation_ratio", "valid")] * found


@pytest.mark.parametrize(("loss", "found"), [(1.0, False), (np.nan, True)])
def test_falling_behind_needs_the_loss_to_agree_where_there_is_one(
    loss: float, found: bool
) -> None:
    change = parted(lambda phase, epoch: 1.0 if phase == "valid" else 2.0)
    run = training(change, loss=lambda phase, epoch: loss)
    assert len(grave(run, "overfit")) == found


def _losses(phase: str, epoch: int) -> float:
    return 1.0 if phase == "train" else 1.2
