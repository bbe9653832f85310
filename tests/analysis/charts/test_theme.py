"""A chart on dark paper: seen as well as on light, and only where it was asked for."""

import colorsys
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.synthetic import synthetic_run

import actrace
from actrace.analysis.charts.grammar.style import FIRE, HUES, PHASES, ROLES
from actrace.analysis.charts.grammar.theme import PAPER, fill_on_dark, line_on_dark
from actrace.errors import ChartError

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def contrast(first, second):
    """Return the contrast ratio, from the definition in WCAG 2.2."""
    seen = []
    for colour in (first, second):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        seen.append(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(seen) + 0.05) / (min(seen) + 0.05)


def hue(colour):
    return colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0]


@pytest.mark.parametrize("colour", [*HUES, *PHASES.values(), *ROLES.values()])
def test_every_line_s_colour_is_seen_on_dark_paper(colour):
    assert contrast(line_on_dark(colour), PAPER) >= 4.5


@given(COLOURS)
def test_a_line_keeps_its_hue_and_what_was_black_is_light(colour):
    turned = line_on_dark(colour)
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if max(channels) - min(channels) > 60:
        assert contrast(turned, PAPER) >= 4.5
        apart = abs(hue(turned) - hue(colour))
        assert min(apart, 1 - apart) < 0.05
    assert contrast(line_on_dark("#000000"), PAPER) > contrast(line_on_dark("#d0d0d0"), PAPER)


def test_a_colour_of_a_picture_stays_what_it_stands_for():
    assert [fill_on_dark(colour.lower()) for colour in FIRE] == [c.lower() for c in FIRE]


@given(COLOURS.filter(lambda colour: colour not in {c.lower() for c in FIRE}))
def test_no_ground_is_light_on_dark_paper(colour):
    assert contrast(fill_on_dark(colour), "#ffffff") > 4


def corner(path):
    with Image.open(path) as picture:
        return "#{:02x}{:02x}{:02x}".format(*picture.convert("RGB").getpixel((2, 2)))


def test_a_picture_is_light_unless_asked(tmp_path):
    run = synthetic_run(n_batches=3)
    for chart in (
        actrace.twin_peaks_chart(run),
        actrace.separation_chart(run),
        actrace.rates_chart(run),
        actrace.colorful_chart(run),
    ):
        light = actrace.save_chart(chart, tmp_path / "light.png", dpi=30)
        dark = actrace.save_chart(chart, tmp_path / "dark.png", dpi=30, theme="dark")
        assert corner(light) == "#ffffff"
        assert corner(dark) == PAPER
        # A chart that was saved dark is light again the next time.
        assert corner(actrace.save_chart(chart, tmp_path / "again.png", dpi=30)) == "#ffffff"


def test_a_page_follows_its_reader_unless_told(tmp_path):
    chart = actrace.separation_chart(synthetic_run(n_batches=3))
    pages = {
        theme: actrace.save_chart(chart, tmp_path / "a.html", theme=theme).read_text("utf-8")
        for theme in (None, "light", "dark")
    }
    asks = {theme: "prefers-color-scheme" in page for theme, page in pages.items()}
    assert asks == {None: True, "light": False, "dark": False}
    papers = {theme: len(re.findall(PAPER, page)) for theme, page in pages.items()}
    assert papers["light"] == 0
    assert papers["dark"] > 5


def test_another_theme_is_refused(tmp_path):
    with pytest.raises(ChartError, match="'light', 'dark'"):
        actrace.save_chart(
            actrace.twin_peaks_chart(synthetic_run(n_batches=2)), tmp_path / "a.png", theme="grey"
        )
