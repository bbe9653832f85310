"""The charts over time draw in both backends, say what is what, and leak nothing."""

import holoviews as hv
import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.errors import ChartError, NotRecordedError

HOSTILE = "<script>alert(1)</script>$x$ {a}\x1b[31m"
CHARTS = (
    actrace.separation_chart,
    actrace.divergence_chart,
    actrace.rates_chart,
    actrace.warning_chart,
    actrace.class_peaks_chart,
)


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6, n_layers=3)


def words(layout):
    found = layout.traverse(lambda x: x, [hv.Labels])
    return " ".join(str(text) for labels in found for text in labels.dimension_values(2))


def titles(layout):
    options = hv.Store.lookup_options
    return [str(options("bokeh", cell, "plot").kwargs.get("title", "")) for cell in layout]


@pytest.mark.parametrize("chart", CHARTS)
def test_both_backends_draw(chart, run, tmp_path):
    made = chart(run)
    png = actrace.save_chart(made, tmp_path / "a.png", dpi=30).read_bytes()
    assert png.startswith(b"\x89PNG")
    page = actrace.save_chart(made, tmp_path / "a.html").read_text("utf-8")
    assert "<script" in page
    assert "Across" in words(made) or "Up:" in words(made) or "Active:" in words(made)


@pytest.mark.parametrize("chart", CHARTS)
def test_an_empty_run_says_so(chart, tmp_path):
    made = chart(run_from_samples({}, layers=["a"]))
    assert "no batch has been recorded yet" in words(made)
    actrace.save_chart(made, tmp_path / "a.png", dpi=30)


def test_one_batch_draws(tmp_path):
    one = synthetic_run(n_batches=1, n_layers=2, epochs=1, phases=("train", "valid"))
    for chart in CHARTS:
        actrace.save_chart(chart(one), tmp_path / f"{chart.__name__}.png", dpi=30)


def test_by_class_there_is_a_panel_each(run):
    made = titles(actrace.separation_chart(run, by="class", number="auc"))
    assert [title.split("\n")[0] for title in made[:4]] == [f"class {i}" for i in range(4)]
    made = titles(actrace.class_peaks_chart(run, most=2))
    assert sum(title.startswith("class ") for title in made) == 2
    assert "2 worst of 4" in words(actrace.class_peaks_chart(run, most=2))
    assert len(titles(actrace.divergence_chart(run, by="class", layers=None))) > 4


def test_of_more_layers_those_farthest_apart_are_drawn():
    rng = np.random.default_rng(0)
    shift = {"near": 0.0, "far": 3.0, "next": 1.0}
    made = {
        phase: [
            Batch({n: rng.normal(sign * d, 1, (40, 3)) for n, d in shift.items()}, i // 4)
            for i in range(8)
        ]
        for phase, sign in (("train", 0.0), ("valid", 1.0))
    }
    chart = actrace.divergence_chart(run_from_samples(made, output="near"), most=2)
    named = [title for title in titles(chart) if title in shift]
    assert named == ["far", "next"]
    assert "2 farthest of 3" in " ".join(words(chart).split())


def test_a_lagging_class_is_marked():
    rng = np.random.default_rng(0)
    target = np.tile([0, 1], 40)
    # Always class 0, whatever is shown.
    batches = [Batch({"fc": rng.normal([4.0, 0.0], 0.3, (80, 2))}, 0, target) for _ in range(4)]
    made = actrace.class_peaks_chart(run_from_samples({"train": batches}))
    assert ["lags" in title for title in titles(made)[:2]] == [False, True]
    assert "lags" in words(made)


def test_the_onset_stands_in_the_key(run):
    sentence = repr(actrace.onset(run))
    said = " ".join(words(actrace.divergence_chart(run)).split())
    assert sentence[:40] in said


def test_a_dead_layer_is_named_in_the_warning(run):
    said = words(actrace.warning_chart(run))
    assert "conv0" in said
    assert "share of units without one in the batch" in said
    assert "whole epoch" in words(actrace.warning_chart(run, by="epoch"))


def test_a_hostile_name_stays_text(tmp_path):
    batch = [Batch({HOSTILE: np.ones((4, 2))}, epoch) for epoch in (0, 0, 0, 0, 1, 2)]
    run = run_from_samples({"train": batch, "valid": batch})
    for chart in (
        actrace.divergence_chart,
        actrace.rates_chart,
        actrace.warning_chart,
        actrace.colorful_chart,
    ):
        page = actrace.save_chart(chart(run), tmp_path / "a.html").read_text("utf-8")
        assert "<script>alert" not in page
        assert "\x1b" not in page
        actrace.save_chart(chart(run), tmp_path / "a.png", dpi=30)


def test_what_cannot_be_drawn_is_refused_with_what_can(run):
    for make in (
        lambda: actrace.separation_chart(run, number="far"),
        lambda: actrace.separation_chart(run, across=0),
        lambda: actrace.class_peaks_chart(run, most=0),
        lambda: actrace.divergence_chart(run, distance="far"),
        lambda: actrace.rates_chart(run, by="window"),
    ):
        with pytest.raises(ChartError, match="must be"):
            make()
    unlabelled = synthetic_run(n_batches=2, labelled=False)
    with pytest.raises(NotRecordedError, match="targets"):
        actrace.separation_chart(unlabelled)
