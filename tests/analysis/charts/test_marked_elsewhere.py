"""Findings on the charts over epochs, on the rates and on the map of units."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
from bokeh.models import HoverTool
from tests.synthetic import synthetic_run

from actrace.analysis.charts.activity.rates import rates_chart
from actrace.analysis.charts.activity.units import units_chart
from actrace.analysis.charts.differing.divergence import divergence_chart
from actrace.analysis.charts.findings.marked_data import epoch_marks
from actrace.analysis.charts.peaks.separation import separation_chart
from actrace.analysis.charts.peaks.twin_peaks import twin_peaks_chart
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.findings.finding import Finding


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6)


def found(rule, severity="warning", *, layer="fc", phase="", **when):
    return Finding(rule, severity, f"{rule} was seen", layer=layer, phase=phase, **when)


FINDINGS = (
    found("overfit", phase="valid", first_epoch=1, last_epoch=2),
    found("dead-layer", "error", layer="conv0", phase="train", first_step=6, last_step=11),
    found("lagging-class", "info", target_class="2", first_epoch=2),
)


def words(chart):
    labels = chart.traverse(lambda x: x, [hv.Labels])
    return [str(text) for some in labels for text in some.dimension_values(2)]


def bars(chart):
    """Return (first, stop, what) of every bar that a finding has."""
    boxes = [box for box in chart.traverse(lambda x: x, [hv.Rectangles]) if box.vdims]
    return [
        (float(first), float(stop), str(what))
        for box in boxes
        for first, stop, what in zip(
            box.dimension_values(0),
            box.dimension_values(2),
            box.dimension_values("said_what"),
            strict=True,
        )
    ]


def saved(chart, tmp_path):
    save_chart(chart, tmp_path / "a.png", dpi=30)
    save_chart(chart, tmp_path / "a.html")


def test_findings_over_epochs_mark_those_of_their_layer_phase_and_class():
    findings = [
        found("a", first_epoch=2, last_epoch=4),
        found("a", "error", first_epoch=4, last_epoch=6),
        found("b", phase="valid"),
        found("c", phase="test"),
        found("d", layer="conv0"),
        found("e", first_epoch=9),
        found("f", target_class="cat", first_epoch=3),
    ]
    marks = epoch_marks(findings, layer="fc", phases=["train", "valid"], epochs=(0, 5))
    assert [(m.rule, m.severity, m.spans) for m in marks] == [
        ("a", "error", ((1.5, 6.5),)),
        ("b", "warning", ((-0.5, 5.5),)),
    ]
    assert marks[0].what == "a was seen (and 1 more)"
    (cat,) = epoch_marks(findings, layer="fc", phases=["train"], epochs=(0, 5), target_class="cat")
    assert (cat.rule, cat.spans) == ("f", ((2.5, 3.5),))


def test_separation_has_a_lane_over_each_panel_and_its_own_by_class(run, tmp_path):
    chart = separation_chart(run, findings=FINDINGS)
    assert words(chart).count("overfit") == 4
    assert set(bars(chart)) == {(0.5, 2.3, "overfit was seen")}
    assert "lagging-class" not in words(chart)
    assert "finding: warning" in words(chart)
    saved(chart, tmp_path)
    chart = separation_chart(run, by="class", findings=FINDINGS)
    assert words(chart).count("lagging-class") == 1
    assert "overfit" not in words(chart)
    saved(chart, tmp_path)


def test_divergence_marks_the_panel_of_the_layer(run, tmp_path):
    chart = divergence_chart(run, findings=FINDINGS)
    assert words(chart).count("overfit") == 1
    assert words(chart).count("dead-layer") == 1
    # About no epoch: it marks them all.
    assert (-0.3, 2.3, "dead-layer was seen") in bars(chart)
    saved(chart, tmp_path)
    chart = divergence_chart(run, by="class", findings=FINDINGS)
    assert words(chart).count("lagging-class") == 1
    assert "dead-layer" not in words(chart)


def test_twin_peaks_mark_the_epochs_that_a_finding_is_about(run, tmp_path):
    chart = twin_peaks_chart(run, findings=FINDINGS)
    assert words(chart).count("overfit") == 2
    assert "dead-layer" not in words(chart)
    titles = [
        str(panel.opts.get("plot", backend="matplotlib").kwargs["title"])
        for panel in chart.traverse(lambda x: x, [hv.Overlay])
        if any(box.vdims for box in panel.traverse(lambda x: x, [hv.Rectangles]))
    ]
    assert [title.split("\n")[0] for title in titles] == ["epoch 1", "epoch 2"]
    saved(chart, tmp_path)


@pytest.mark.parametrize(("by", "ends"), [("batch", (6.0, 12.0)), ("epoch", (0.0, 3.0))])
def test_rates_mark_the_row_of_the_layer_in_both_maps(run, tmp_path, by, ends):
    chart = rates_chart(run, by=by, findings=FINDINGS)
    mine = [bar for bar in bars(chart) if bar[2].startswith("dead-layer")]
    assert mine == [(*ends, "dead-layer was seen")] * 2
    assert not [bar for bar in bars(chart) if bar[2].startswith("overfit")]
    layers = list(run["layer"].values)
    (box,) = {
        float(low)
        for box in chart.traverse(lambda x: x, [hv.Rectangles])
        if box.vdims and "dead-layer was seen" in box.dimension_values("said_what")
        for low in box.dimension_values(1)
    }
    assert np.floor(box) == len(layers) - 1 - layers.index("conv0")
    assert "finding: error" in words(chart)
    saved(chart, tmp_path)


@pytest.mark.parametrize(("by", "ends"), [(None, (6.0, 12.0)), ("epoch", (0.0, 3.0))])
def test_units_have_lanes_over_their_map(run, tmp_path, by, ends):
    chart = units_chart(run, layer="conv0", by=by, findings=FINDINGS)
    assert bars(chart) == [(*ends, "dead-layer was seen")]
    assert {"dead-layer", "finding: error"} <= set(words(chart))
    saved(chart, tmp_path)
    chart = units_chart(run, by=by, findings=FINDINGS)
    assert words(chart).count("dead-layer") == 1
    saved(chart, tmp_path)


def test_hovering_over_a_mark_names_the_finding(run):
    chart = rates_chart(run, findings=FINDINGS)
    page = hv.Store.renderers["bokeh"].get_plot(chart).state
    tips = [tool.tooltips for tool in page.select({"type": HoverTool})]
    assert [("finding", "@said_rule"), ("what", "@said_what")] in tips


def test_without_findings_nothing_is_marked(run):
    for chart in (separation_chart(run), rates_chart(run), units_chart(run, layer="conv0")):
        assert bars(chart) == []
        assert not [text for text in words(chart) if text.startswith("finding")]
