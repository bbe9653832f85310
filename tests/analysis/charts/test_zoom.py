"""A large chart follows the view: what it draws of it, without a browser."""

from __future__ import annotations

import math
from types import SimpleNamespace

import holoviews as hv
import numpy as np
import pytest
from bokeh.models import HoverTool, Plot, WheelZoomTool
from holoviews.streams import Stream
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.charts.zoom.layer import SHARP, sharp_image
from actrace.analysis.findings.finding import Finding

FOUND = [
    Finding("dead-layer", "error", "it died", layer="fc", phase="train", first_step=3, last_step=5),
    Finding("overfit", "warning", "<b>it</b> parted", layer="fc", first_step=16),
]


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=6)


def rendered(chart):
    return hv.Store.renderers["bokeh"].get_plot(chart).state


def whole(layer):
    y = layer.picture.y_range
    return y.start, y.end


def glyphs(figure, kind):
    return [one for one in figure.renderers if type(one.glyph).__name__ == kind and one.visible]


def test_the_view_is_drawn_over_the_overview(run):
    chart = colorful_chart(run, layer="fc")
    rendered(chart)
    layer = chart.zoom.take()
    up = whole(layer)
    sight = chart.zoom.look((4, 9), up)
    layer.show(sight)
    below, over = glyphs(layer.picture, "Image")
    assert over.name == SHARP
    np.testing.assert_array_equal(below.data_source.data["x"], [0])
    assert over.data_source.data["x"] == [2]
    shown = over.data_source.data["image"][0]
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(shown > 0, sight.data["count"].values > 0)
    # Nothing counted hides the overview, whose cells are other ones.
    assert below.glyph.color_mapper.nan_color != over.glyph.color_mapper.nan_color
    assert (below.glyph.color_mapper.low, below.glyph.color_mapper.high) == (
        over.glyph.color_mapper.low,
        over.glyph.color_mapper.high,
    )
    means = sight.data["mean"].values
    lines = [one.data_source.data["y"] for one in glyphs(layer.picture, "Line")]
    assert any(len(y) == len(means) and np.allclose(y, means) for y in lines)
    assert "batches 4 to 8 of 18, each a column" in layer.picture.title.text


def test_epochs_are_named_in_the_view(run):
    chart = colorful_chart(run, layer="fc")
    rendered(chart)
    layer = chart.zoom.take()
    low, high = whole(layer)
    sight = chart.zoom.look((4, 14), (low, high))
    layer.show(sight)
    (names,) = glyphs(layer.picture, "Text")
    assert names.data_source.data["text"] == ["epoch 0", "1", "2"]
    places = names.data_source.data["x"]
    assert [math.floor(x) for x in places] == [4, 6, 12]
    assert all(low < y < high for y in names.data_source.data["y"])


def test_findings_keep_their_lanes_and_say_where_they_are_not(run):
    chart = colorful_chart(run, layer="fc", findings=FOUND)
    root = rendered(chart)
    layer = chart.zoom.take()
    layer.show(chart.zoom.look((2, 8), whole(layer)))
    found = next(one for one in root.select({"type": Plot}) if glyphs(one, "Quad"))
    (bars,) = [one.data_source.data for one in glyphs(found, "Quad")]
    assert (bars["left"], bars["right"]) == ([3.0], [6.0])
    assert bars["said_rule"] == ["dead-layer (error)"]
    assert bars["said_what"] == ["it died"]
    (names,) = [one.data_source.data for one in glyphs(found, "Text")]
    assert names["text"] == ["dead-layer", "overfit: not in view"]
    tips = [tool.tooltips for tool in found.select({"type": HoverTool})]
    assert [("finding", "@said_rule"), ("what", "@said_what")] in tips


def test_the_strip_below_follows_and_both_share_one_axis(run):
    chart = colorful_chart(run, layer="fc", value_range=(-0.5, 0.5))
    root = rendered(chart)
    layer = chart.zoom.take()
    sight = chart.zoom.look((0, 4), whole(layer))
    layer.show(sight)
    (below,) = [
        one
        for one in root.select({"type": Plot})
        if one.x_range is layer.picture.x_range and one is not layer.picture
    ]
    top = max(np.nanmax(sight.data[n] / sight.data["elements"]) for n in ("above", "below"))
    assert below.y_range.end == pytest.approx(112 * top)
    drawn = [one.data_source.data["y"] for one in glyphs(below, "Line")]
    assert max(y.max() for y in drawn if len(y)) == pytest.approx(100 * top)


def test_the_wheel_zooms_batches_alone_and_the_view_stays_in_the_run(run):
    chart = colorful_chart(run, layer="fc", batches=(3, 9))
    rendered(chart)
    picture = chart.zoom.latest.picture
    wheel = picture.toolbar.active_scroll
    assert isinstance(wheel, WheelZoomTool)
    assert wheel.dimensions == "width"
    assert (picture.x_range.start, picture.x_range.end) == (3, 9)
    assert picture.x_range.bounds == (0, 18)


def test_in_a_notebook_the_stream_draws_what_holoviews_shows(run):
    chart = colorful_chart(run, layer="fc")
    plot = hv.Store.renderers["bokeh"].get_plot(chart)
    image = chart.traverse(lambda x: x, [hv.Image])[0]
    (stream,) = [s for src, some in Stream.registry.items() if src is image for s in some]
    picture = chart.zoom.latest.picture
    stream.event(x_range=(4.0, 9.0), y_range=whole(chart.zoom.latest))
    assert len(glyphs(picture, "Image")) == 1  # it was saved, not shown
    plot.comm = SimpleNamespace(id="kernel")
    stream.event(x_range=(4.0, 10.0), y_range=whole(chart.zoom.latest))
    assert glyphs(picture, "Image")[1].data_source.data["x"] == [2]
    chart.zoom.take()
    stream.event(x_range=(0.0, 3.0), y_range=whole(chart.zoom.latest))
    assert glyphs(picture, "Image")[1].data_source.data["x"] == [2]


def test_hovering_reads_from_what_is_on_top(run):
    chart = colorful_chart(run, layer="fc")
    rendered(chart)
    layer = chart.zoom.take()
    (tool,) = layer.picture.select({"type": HoverTool})
    (below,) = glyphs(layer.picture, "Image")
    assert tool.renderers == [below]
    assert {"batch_edge", "epoch_first", "value_edge", "size"} <= set(below.data_source.data)
    layer.show(chart.zoom.look((4, 9), whole(layer)))
    (tool,) = layer.picture.select({"type": HoverTool})
    assert [one.name for one in tool.renderers] == [SHARP]
    args = [formatter.args["source"] for formatter in tool.formatters.values()]
    assert set(args) == {tool.renderers[0].data_source}
    assert [row for row, _ in tool.tooltips] == ["batch", "epoch", "value", "elements"]


def test_a_saved_page_is_a_fixed_picture_that_tells_its_numbers(run, tmp_path):
    page = save_chart(colorful_chart(run, layer="fc"), tmp_path / "a.html").read_text("utf-8")
    assert SHARP not in page.partition("<body>")[2]
    assert "value_edge" in page
    assert "epoch_first" in page


def test_nothing_counted_and_gradients_have_nothing_to_follow():
    batches = [Batch({"a": np.full((4, 3), np.nan), "b": np.ones((4, 3))}) for _ in range(4)]
    run = run_from_samples({"train": batches})
    assert colorful_chart(run, layer="a").zoom is None
    assert colorful_chart(run, layer="b").zoom is not None


def test_a_picture_has_a_place_and_single_precision(run):
    chart = colorful_chart(run, layer="fc")
    rendered(chart)
    data = chart.zoom.look((0, 18), whole(chart.zoom.latest)).data
    found = sharp_image(data)
    assert {len(column) for column in found.values()} == {1}
    assert found["dw"] == [18.0]
    assert found["image"][0].shape == data["shown"].shape
