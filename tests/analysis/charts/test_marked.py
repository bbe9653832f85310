"""Findings on a picture: which batches they mark, and that they are drawn."""

import holoviews as hv
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.findings.marked_data import in_view, marks_of
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.findings.finding import Finding


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6)


def found(rule, severity="warning", *, layer="fc", phase="train", **when):
    return Finding(rule, severity, "seen", layer=layer, phase=phase, **when)


def words(chart):
    labels = chart.traverse(lambda x: x, [hv.Labels])
    return [str(text) for some in labels for text in some.dimension_values(2)]


def test_steps_and_epochs_become_batches_of_the_phase(run):
    findings = [
        found("a", first_step=3, last_step=5),
        found("b", first_epoch=1, last_epoch=1),
        found("c"),
        found("d", phase="", first_step=17),
    ]
    marks = marks_of(run, findings, layer="fc", phase="train")
    assert {m.rule: m.spans for m in marks} == {
        "a": ((3, 6),),
        "b": ((6, 12),),
        "c": ((0, 18),),
        "d": ((17, 18),),
    }


def test_steps_of_valid_are_the_training_steps_before_it(run):
    step = run["valid/step"].values
    (mark,) = marks_of(
        run,
        [found("a", phase="valid", first_step=int(step[0]), last_step=int(step[2]))],
        layer="fc",
        phase="valid",
    )
    first, stop = mark.spans[0]
    assert (step[first:stop] >= step[0]).all()
    assert (step[first:stop] <= step[2]).all()
    assert stop - first == ((step >= step[0]) & (step <= step[2])).sum()


def test_a_step_that_was_not_recorded_marks_the_next(run):
    thinned = run.copy()
    thinned["train"] = run["train"].to_dataset(inherit=False).isel(batch=slice(0, None, 4))
    (mark,) = marks_of(thinned, [found("a", first_step=5, last_step=6)], layer="fc", phase="train")
    assert mark.spans == ((2, 3),)


def test_a_rule_is_one_mark_the_gravest_first_and_other_layers_have_none(run):
    findings = [
        found("a", "info", first_step=0, last_step=2),
        found("b", "error", first_step=4),
        found("a", "warning", first_step=2, last_step=4),
        found("a", "info", first_step=9),
        found("e", layer="conv0"),
        found("f", phase="valid"),
    ]
    marks = marks_of(run, findings, layer="fc", phase="train")
    assert [(m.rule, m.severity) for m in marks] == [("b", "error"), ("a", "warning")]
    assert marks[1].spans == ((0, 5), (9, 10))
    assert in_view(marks, (5, 9)) == ()
    assert [m.rule for m in in_view(marks, (5, 10))] == ["a"]


def test_a_large_chart_has_a_lane_a_rule_and_the_key_says_what_it_is(run, tmp_path):
    findings = [found("dead-layer", "error", first_step=3, last_step=9), found("overfit")]
    chart = colorful_chart(run, layer="fc", findings=findings)
    said = words(chart)
    assert {"dead-layer", "overfit", "finding: error", "finding: warning"} <= set(said)
    assert "finding: info" not in said
    (box,) = (
        box
        for box in chart.traverse(lambda x: x, [hv.Rectangles])
        if box.kdims[1].name == "finding" and box.dimension_values(0)[0] == 3
    )
    assert box.dimension_values(2)[0] == 10
    save_chart(chart, tmp_path / "a.png", dpi=30)
    save_chart(chart, tmp_path / "a.html")


def test_tiles_have_lanes_and_say_how_many_more_there_are(run, tmp_path):
    findings = [found(name, layer="conv0", first_step=2) for name in "abcde"]
    chart = colorful_chart(run, findings=findings)
    assert "c +2" in words(chart)
    assert "d" not in words(chart)
    save_chart(chart, tmp_path / "a.png", dpi=30)
    save_chart(chart, tmp_path / "a.html")


def test_what_diagnose_finds_is_drawn_as_it_comes():
    import numpy as np

    batches = [Batch({"a": np.full((4, 3), np.nan), "b": np.ones((4, 3))}) for _ in range(4)]
    run = run_from_samples({"train": batches})
    findings = actrace.diagnose(run, rules="not-finite")
    assert len(findings)
    assert "not-finite" in words(colorful_chart(run, layer="a", findings=findings))
