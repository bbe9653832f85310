"""Twin peaks by class, stacked along time and as a film: what they draw, and that they draw."""

import holoviews as hv
import numpy as np
import pytest
from PIL import Image
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.charts.grammar.style import class_line
from actrace.analysis.charts.peaks.twin_peaks_classes_data import twin_peaks_classes_data
from actrace.analysis.charts.peaks.twin_peaks_data import twin_peaks_data
from actrace.errors import ChartError, NotRecordedError

HOSTILE = "<script>alert(1)</script>$x$ {a}\x1b[31m"


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6, n_layers=2, phases=("train", "valid", "test"))


def titles(layout, backend="bokeh"):
    options = hv.Store.lookup_options
    return [str(options(backend, cell, "plot").kwargs.get("title", "")) for cell in layout]


def words(layout):
    found = layout.traverse(lambda x: x, [hv.Labels])
    return " ".join(" ".join(map(str, labels.dimension_values(2))) for labels in found)


def known_run(n_epochs=3, classes=("a", "b"), blown=None):
    """Return a run, and the outputs and targets of each epoch's validation."""
    rng = np.random.default_rng(0)
    held = []
    for epoch in range(n_epochs):
        target = np.tile([0, 0, 1], 40)
        size = 300.0 if epoch == blown else 1.0
        outputs = size * rng.normal(0, 1, (len(target), 2))
        outputs[np.arange(len(target)), target] += 2.0 * (epoch + 1)
        held.append((outputs, target))
    batches = [Batch({"fc": outputs}, e, target) for e, (outputs, target) in enumerate(held)]
    return run_from_samples({"train": batches, "valid": batches}, classes=list(classes)), held


def test_by_class_yes_is_the_class_s_own_unit_over_its_samples():
    run, held = known_run()
    data = twin_peaks_classes_data(run)
    assert data.attrs["phase"] == "valid"
    width = data["value_edge"].diff("edge").rename(edge="cell")
    for epoch, (outputs, target) in enumerate(held):
        for place, name in enumerate(("a", "b")):
            mine = outputs[target == place]
            one = data.sel(epoch=epoch, panel=name)
            assert float(one["mean"].sel(role="yes")) == pytest.approx(mine[:, place].mean())
            assert float(one["mean"].sel(role="no")) == pytest.approx(mine[:, 1 - place].mean())
            # Two units: half of a class's outputs are its own unit's.
            area = (one["density"] * width.sel(epoch=epoch)).sum("cell")
            np.testing.assert_allclose(area, 0.5, atol=2e-3)
            np.testing.assert_allclose(one["share"], 0.5)
        whole = (data["others"].sel(epoch=epoch) * width.sel(epoch=epoch)).sum()
        assert float(whole) == pytest.approx(1.0, abs=2e-3)


def test_of_more_classes_the_worst_are_drawn_and_keep_their_colours():
    run = synthetic_run(n_batches=6, n_layers=2)
    last = actrace.twin_peaks(run, by="class").sel(phase="valid").isel(epoch=-1)
    data = twin_peaks_classes_data(run, most=2)
    worst = sorted(np.argsort(last["d_prime"].values)[:2])
    assert data["place"].values.tolist() == worst
    drawn = actrace.twin_peaks_chart(run, by="class", most=2)
    assert "2 worst of 4" in words(drawn)
    looks = {(class_line(i).colour, class_line(i).dash) for i in range(21)}
    assert len(looks) == 21


def test_by_unit_takes_the_samples_that_are_the_unit_s():
    run, held = known_run()
    data = twin_peaks_classes_data(run, by="unit", phases="train", epochs=2)
    outputs, target = held[2]
    told = float(data["mean"].sel(epoch=2, role="no").isel(panel=0))
    assert told == pytest.approx(outputs[target != 0, 0].mean())


def test_one_grid_leaves_out_what_an_epoch_has_far_beyond_and_says_so():
    run, _ = known_run(n_epochs=4, blown=0)
    data = twin_peaks_data(run, shared=True)
    assert data["beyond"].values.tolist() == [True, False, False, False]
    edges = data["value_edge"].values
    assert (edges == edges[0]).all()
    assert edges[0][-1] < 30
    assert not twin_peaks_data(run)["beyond"].any()
    assert "beyond the frame: epoch 0" in words(actrace.twin_peaks_chart(run, view="stacked"))


def test_a_stack_has_a_frame_a_phase_and_a_ridge_an_epoch_and_role(run):
    chart = actrace.twin_peaks_chart(run, view="stacked")
    assert [title.split("\n")[0] for title in titles(chart)[:3]] == ["train", "valid", "test"]
    for cell in list(chart)[:3]:
        feet = [area.dimension_values(1).min() for area in cell.traverse(lambda x: x, [hv.Area])]
        # From the back to the front, both roles of an epoch on one foot.
        assert feet == [2, 2, 1, 1, 0, 0]
    by_class = titles(actrace.twin_peaks_chart(run, view="stacked", by="class", phases="test"))
    assert [title.split("\n")[0] for title in by_class[:4]] == [f"class {i}" for i in range(4)]


def test_a_film_is_a_page_with_a_slider_a_gif_and_a_picture_of_its_last_epoch(run, tmp_path):
    chart = actrace.twin_peaks_chart(run, view="slider")
    gif = actrace.save_chart(chart, tmp_path / "a.gif", dpi=30)
    with Image.open(gif) as film:
        assert film.n_frames == 3
    page = actrace.save_chart(chart, tmp_path / "a.html").read_text("utf-8")
    assert '"epoch 0","epoch 1","epoch 2"' in page
    last = actrace.twin_peaks_chart(run, view="slider", epochs=2)
    both = [
        actrace.save_chart(one, tmp_path / f"{i}.png", dpi=30).stat().st_size
        for i, one in enumerate((chart, last))
    ]
    assert both[0] == pytest.approx(both[1], rel=0.2)
    with pytest.raises(ChartError, match="slider"):
        actrace.save_chart(actrace.twin_peaks_chart(run), tmp_path / "b.gif")


@pytest.mark.parametrize("view", ["panels", "stacked", "slider"])
@pytest.mark.parametrize("by", [None, "class"])
def test_odd_runs_draw(view, by, tmp_path):
    one = synthetic_run(n_batches=1, n_layers=1, epochs=1)
    rng = np.random.default_rng(0)
    bad = [Batch({"fc": np.full((6, 2), np.nan)}, 0, rng.integers(0, 2, 6))]
    fine = [Batch({"fc": rng.normal(0, 1, (6, 2))}, 0, rng.integers(0, 2, 6))]
    named = run_from_samples({"train": fine, "valid": bad}, classes=[HOSTILE, "b"])
    for i, run in enumerate((one, named)):
        chart = actrace.twin_peaks_chart(run, by=by, view=view)
        actrace.save_chart(chart, tmp_path / f"{i}.png", dpi=30)
        page = actrace.save_chart(chart, tmp_path / f"{i}.html").read_text("utf-8")
        assert "<script>alert" not in page
        assert "\x1b" not in page
    empty = run_from_samples({}, layers=["a"])
    assert "no batch" in words(actrace.twin_peaks_chart(empty, by=by, view=view))


def test_without_targets_a_stack_shows_the_layer(tmp_path):
    run = synthetic_run(n_batches=3, labelled=False)
    chart = actrace.twin_peaks_chart(run, view="stacked")
    actrace.save_chart(chart, tmp_path / "a.png", dpi=30)
    assert "without targets" in hv.Store.lookup_options("bokeh", chart, "plot").kwargs["title"]
    with pytest.raises(NotRecordedError, match="targets"):
        actrace.twin_peaks_chart(run, by="class")


def test_what_cannot_be_drawn_is_refused_with_what_can(run):
    for options, said in (
        ({"view": "film"}, "'slider'"),
        ({"by": "batch"}, "'class' or 'unit'"),
        ({"by": "class", "phases": ["train", "valid"]}, "one phase"),
        ({"by": "class", "layer": "fc"}, "leave layer="),
        ({"by": "class", "most": 0}, "at least 1"),
    ):
        with pytest.raises(ChartError, match=said):
            actrace.twin_peaks_chart(run, **options)
