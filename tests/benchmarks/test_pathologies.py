"""The planted faults: each half has all of them, they show in their runs, the score is right."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.pathologies.__main__ import main
from benchmarks.pathologies.cases import CASES, HALVES, Case, find_cases
from benchmarks.pathologies.data import load
from benchmarks.pathologies.faults import FAULTS
from benchmarks.pathologies.loop import Epoch
from benchmarks.pathologies.record import (
    Label,
    is_healthy,
    is_recorded,
    label_path,
    read_label,
    record_case,
)
from benchmarks.pathologies.score import Judged, planted_lines, score, score_lines
from benchmarks.pathologies.witness import WITNESSES

#: Faults in the weights, a batch, the optimizer, the data and the recorder, on digits.
PLANTED = (
    "dead-bias-mlp-digits",
    "saturated-tanh-mlp-digits",
    "nan-in-a-batch-mlp-digits",
    "pinned-first-layer-mlp-digits",
    "growing-before-norm-convnet-digits",
    "dominant-class-mlp-digits",
    "valid-raw-mlp-digits",
    "disk-refuses-convnet-digits",
)


def case_of(name: str) -> Case:
    (found,) = find_cases([name])
    return found


def test_each_half_has_every_fault_on_two_architectures_and_two_data_sets() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    halves = defaultdict(list)
    for case in CASES:
        if case.fault is not None:
            halves[case.fault.name, case.half].append(case.training)
    assert set(halves) == {(fault.name, half) for fault in FAULTS for half in HALVES}
    for trainings in halves.values():
        assert len({training.architecture for training in trainings}) == 2
        assert len({training.data for training in trainings}) == 2


def test_each_half_has_healthy_trainings_of_every_kind_and_each_rule_has_a_fault() -> None:
    for half in HALVES:
        kinds = [c.name.split("-")[1] for c in CASES if c.half == half and c.fault is None]
        assert len(kinds) == len(set(kinds)) >= 10
    assert {rule for fault in FAULTS for rule in fault.rules} == set(WITNESSES)
    for fault in FAULTS:
        assert set(fault.allowed) <= set(WITNESSES)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_shows_in_its_run(name: str, tmp_path: Path) -> None:
    case = case_of(name)
    label = record_case(case, tmp_path, None)
    assert label.shows
    assert is_recorded(tmp_path, case)
    # By their texts: a loss may be NaN.
    assert repr(read_label(tmp_path, case)) == repr(label)


def test_in_a_healthy_training_no_fault_shows(tmp_path: Path) -> None:
    label = record_case(case_of("healthy-plain-mlp-digits"), tmp_path, None)
    assert label.healthy
    assert label.accuracy >= 0.93
    for rule, witness in WITNESSES.items():
        value = label.witnesses[rule]
        assert value is None or value < witness.bound, rule


def test_a_training_is_healthy_if_it_learnt_and_did_not_overfit() -> None:
    good = [Epoch(1.0, 0.5, 0.9, 0.6), Epoch(0.5, 0.9, 0.5, 0.9)]
    assert is_healthy(good, 0.9)
    assert not is_healthy(good, 0.91)
    assert not is_healthy([*good, Epoch(0.4, 0.9, 0.6, 0.9)], 0.9)
    assert not is_healthy([*good, Epoch(0.4, 0.96, 0.5, 0.9)], 0.9)


def judged(name: str, label: Label, *said: str) -> Judged:
    return Judged(name, label, frozenset(said))


def test_recall_and_false_alarms_of_known_answers() -> None:
    fault = Label(
        *(("overfit",), ("lagging-class",), "mlp", "digits", "choose", "few samples"),
        *(0.5, 1.0, (1.0,), (2.0,), None, True, {}, 1.0),
    )
    healthy = replace(fault, faults=(), allowed=(), planted="", healthy=True)
    runs = [
        judged("found", fault, "overfit", "lagging-class"),
        judged("missed", fault, "dead-layer"),
        judged("does not show", replace(fault, shows=False)),
        judged("quiet", healthy),
        judged("alarm", replace(healthy, half="report"), "overfit", "dead-layer"),
        judged("ill", replace(healthy, healthy=False), "no-peaks"),
    ]
    by_rule = {one.rule: one for one in score(runs)}
    overfit, dead, lagging = (by_rule[r] for r in ("overfit", "dead-layer", "lagging-class"))
    assert (overfit.planted, overfit.found, overfit.recall) == (2, 1, 0.5)
    assert (overfit.healthy, overfit.false_alarms, overfit.besides) == (2, 1, 0)
    assert (dead.planted, dead.false_alarms, dead.besides) == (0, 1, 1)
    assert (lagging.false_alarms, lagging.besides) == (0, 0)
    assert by_rule["no-peaks"].false_alarms == 0

    lines = list(score_lines(runs))
    assert lines[0] == "**The half to choose**: 2 trainings with a fault, 1 without."
    assert "does not show, ill" in lines[1]
    assert "| overfit | 2 | 1 | 0.50 | 0 | 0 |" in lines
    assert "| dead-layer | 0 | 0 |  | 1 | 0 |" in lines
    assert "| **all** | 2 | 1 | 0.50 | 0 | 1 |" in lines


def test_the_command_records_once_judges_and_fills_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- planted -->\n<!-- end -->\n<!-- scores -->\n<!-- end -->\n")
    names = ["disk-refuses-convnet-digits", "nan-in-a-batch-mlp-digits", "healthy-plain-mlp-digits"]
    words = [*names, "--directory", str(tmp_path / "runs")]
    assert main([*words, "--record-only"]) == 0
    assert "| disk-refuses | the store refuses" in capsys.readouterr().out
    # A tenth of six epochs of 23 batches.
    label = read_label(tmp_path / "runs", case_of(names[0]))
    assert label.witnesses["recorder-gap"] == 14
    written = label_path(tmp_path / "runs", case_of(names[0])).stat().st_mtime_ns
    assert main([*words, "--page", str(page)]) == 0
    assert label_path(tmp_path / "runs", case_of(names[0])).stat().st_mtime_ns == written
    assert "| recorder-gap | 1 | 1 | 1.00 | 0 | 0 |" in page.read_text()
    assert "| not-finite | 1 | 1 | 1.00 | 0 | 0 |" in page.read_text()
    assert list(planted_lines([], lambda case: read_label(tmp_path, case)))[2:] == []


def test_what_is_missing_or_unknown_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"no case matches 'x\*'; a case is called healthy-"):
        find_cases(["x*"])
    with pytest.raises(ValueError, match="no data set is called 'imagenet'; there are digits"):
        load("imagenet", None)
    assert main(["healthy-plain-mlp-mnist", "--directory", str(tmp_path)]) == 2
    assert "mnist.npz is needed and no folder was given" in capsys.readouterr().err
