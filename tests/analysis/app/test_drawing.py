"""Charts as the app draws them: on a dark page every word is read, and data keeps its colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bokeh.models import Axis, GlyphRenderer, Plot, Title
from PIL import Image
from tests.analysis.app.contrast import contrast, luminance
from tests.synthetic import synthetic_run

from actrace.analysis.app import drawing
from actrace.analysis.charts.activity.rates import rates_chart
from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.grammar.style import FIRE
from actrace.analysis.charts.grammar.theme import PAPER, fill_on_dark, turn_dark
from actrace.analysis.charts.peaks.class_peaks import class_peaks_chart
from actrace.analysis.charts.peaks.separation import separation_chart

CHARTS = {
    "separation": separation_chart,
    "class peaks": class_peaks_chart,
    "rates": rates_chart,
    "layer": lambda run: colorful_chart(run, layer="fc"),
}


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_layers=2, n_batches=4, epochs=2)


@pytest.mark.parametrize("name", CHARTS)
def test_every_word_of_a_dark_picture_is_read(run, name, monkeypatch):
    figures = []
    monkeypatch.setattr(
        drawing, "turn_dark", lambda figure: (turn_dark(figure), figures.append(figure))
    )
    drawing.png(CHARTS[name](run), dark=True)
    (figure,) = figures
    for axes in figure.axes:
        ground = axes.get_facecolor()
        assert luminance(ground) < 0.1
        for text in axes.texts:
            assert contrast(text.get_color(), ground) >= 4.5, text
        labels = [axes.title, axes.xaxis.label, axes.yaxis.label]
        for text in [*labels, *axes.get_xticklabels(), *axes.get_yticklabels()]:
            assert contrast(text.get_color(), PAPER) >= 4.5, text


def test_a_picture_has_the_ground_of_its_page(run):
    for dark, ground in ((False, 255), (True, 0x14)):
        data = drawing.png(separation_chart(run), dark=dark)
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert pixels[0, 0, 0] == ground


@pytest.mark.parametrize("name", CHARTS)
def test_every_word_of_a_dark_chart_to_zoom_is_read(run, name):
    model = drawing.bokeh(CHARTS[name](run), dark=True)
    plots = list(model.select({"type": Plot}))
    assert plots
    for plot in plots:
        assert plot.border_fill_color == PAPER
        assert luminance(plot.background_fill_color) < 0.1
        for title in plot.select({"type": Title}):
            assert contrast(title.text_color, PAPER) >= 4.5
        for axis in plot.select({"type": Axis}):
            assert contrast(axis.major_label_text_color, PAPER) >= 4.5
        for renderer in plot.select({"type": GlyphRenderer}):
            colour = getattr(renderer.glyph, "text_color", None)
            if isinstance(colour, str):
                assert contrast(colour, plot.background_fill_color) >= 4.5


def test_the_key_of_a_dark_picture_shows_datas_own_colours():
    assert [fill_on_dark(colour) for colour in FIRE] == list(FIRE)
