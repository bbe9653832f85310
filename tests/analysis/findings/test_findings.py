"""The findings together: their order, their texts, and what a caller may ask for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.analysis.findings.trainings import Activations, grave, training

import actrace
from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.finding import SEVERITIES, Finding, Unjudged
from actrace.analysis.findings.findings import Findings
from actrace.analysis.findings.registry import RULES, rule
from actrace.errors import NotARunError

HOSTILE = "<script>\x1b[31m"


def ill(activations: Activations, phase: str, epoch: int, batch: int) -> None:
    """Plant an error in the last layer, a warning in the first and a remark between."""
    activations["act1"][:, :8] = 0.0
    activations["act2"][:, 0] = 0.0
    if epoch == 5:
        activations["head"][0, 0] = np.nan


def test_the_gravest_come_first_then_layers_in_order_then_steps() -> None:
    found = diagnose(training(ill), rules=["dead-*", "not-finite"])
    order = [(f.severity, f.layer) for f in found]
    assert order == [
        ("error", "head"),
        ("error", "head"),
        ("warning", "act1"),
        ("info", "act2"),
    ]
    assert found[0].phase, found[1].phase == ("train", "valid")
    assert [f.severity for f in found.at_least("warning")] == ["error", "error", "warning"]
    assert len(found.at_least("error")) == 2
    assert found.of("dead-units") == (found[2], found[3])
    assert found[1:2] == (found[1],)


def test_every_finding_says_what_it_means_and_where_its_threshold_comes_from() -> None:
    for finding in diagnose(training(ill)):
        chosen = RULES[finding.rule]
        assert finding.threshold == chosen.thresholds[finding.parameter]
        assert finding.source == chosen.sources[finding.parameter]
        texts = (finding.meaning, finding.remedy, finding.what, finding.measured)
        assert all(texts)


def test_thresholds_are_the_callers() -> None:
    run = training(ill)
    assert [f.layer for f in grave(run, "dead-units", inactive_units=0.05)] == ["act1", "act2"]
    assert grave(run, "dead-units", inactive_units=0.9) == []
    assert grave(run, "dead-units", inactive_units=0.05)[0].threshold == 0.05


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("dead-layr", "no rule is named 'dead-layr'.*did you mean 'dead-layer'"),
        (["dead-*", "nothing*"], "no rule is named 'nothing\\*'; there are 'recorder-gap'"),
    ],
)
def test_an_unknown_rule_is_an_error_that_lists_the_known(
    rules: str | list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        diagnose(training(), rules=rules)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"dead": {"inactive_units": 1}}, "no rule is named 'dead'"),
        ({"dead-layer": {"units": 1}}, "no threshold 'units'; it has 'inactive_units', 'activity'"),
        ({"dead-layer": {"activity": "much"}}, "must be a number, got 'much'"),
        ({"dead-layer": {"activity": float("nan")}}, "must be a number, got nan"),
    ],
)
def test_an_unknown_threshold_is_an_error(thresholds: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diagnose(training(), thresholds=thresholds)  # type: ignore[arg-type]


def test_something_else_than_a_run_is_an_error() -> None:
    with pytest.raises(NotARunError):
        diagnose("runs/mnist")  # type: ignore[arg-type]


def test_a_rule_without_a_source_for_a_threshold_cannot_be_registered() -> None:
    with pytest.raises(TypeError, match="sources"):

        @rule("nothing", meaning="", remedy="", sources={})
        def nothing(evidence: object, *, limit: float = 1.0) -> list[None]:
            return []

    assert "nothing" not in RULES


def test_a_finding_checks_its_severity_and_says_when() -> None:
    with pytest.raises(ValueError, match="severity"):
        Finding("dead-layer", "grave", "")
    assert Finding("a", "info", "", first_step=3, last_step=3).when == "step 3"
    spans = Finding("a", "info", "", first_step=3, last_step=9, first_epoch=0, last_epoch=2)
    assert spans.when == "steps 3 to 9, epochs 0 to 2"
    assert Finding("a", "info", "").when == ""


def hostile() -> Findings:
    finding = Finding(
        "dead-layer", "error", HOSTILE, layer=HOSTILE, unit=HOSTILE, target_class=HOSTILE,
        phase=HOSTILE, measured="share", value=np.inf, parameter="activity", source=HOSTILE,
    )  # fmt: skip
    return Findings((finding,), (Unjudged("overfit", HOSTILE, HOSTILE),), ("overfit",), HOSTILE)


def test_names_are_escaped_in_text_and_html() -> None:
    text = repr(hostile())
    assert "\x1b" not in text
    assert "<script>" in text
    for page in (hostile()._repr_html_(), hostile().to_html()):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


def test_text_html_json_and_table_say_the_same() -> None:
    found = diagnose(training(ill))
    frame, document = found.to_dataframe(), json.loads(found.to_json())
    assert len(frame) == len(document["findings"]) == len(found)
    assert document["rules"] == list(RULES)
    assert {u["rule"] for u in document["unjudged"]} == {u.rule for u in found.unjudged}
    for at, finding in enumerate(found):
        row, said = frame.iloc[at], document["findings"][at]
        assert (row["rule"], row["value"]) == (finding.rule, finding.value)
        assert (said["layer"], said["first_step"]) == (finding.layer, finding.first_step)
        assert finding.layer in repr(found)
        assert finding.when in found._repr_html_()


def test_numbers_that_json_cannot_hold_stand_as_text_or_null() -> None:
    (finding,) = json.loads(hostile().to_json())["findings"]
    assert (finding["value"], finding["threshold"]) == ("inf", None)


def test_nothing_found_is_said() -> None:
    found = diagnose(training(), rules="not-finite")
    assert repr(found) == "nothing found by 1 rule"
    assert "nothing found" in found._repr_html_()
    assert len(found.to_dataframe()) == 0
    assert [len(found.at_least(severity)) for severity in SEVERITIES] == [0, 0, 0]
    with pytest.raises(ValueError, match="severity"):
        found.at_least("grave")


def test_the_public_names() -> None:
    assert actrace.diagnose is diagnose
    assert (actrace.Finding, actrace.Findings) == (Finding, Findings)
