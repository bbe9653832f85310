"""Text of the app is read in both themes: its colours have the contrast that WCAG asks for."""

import re

import pytest
from tests.analysis.app.contrast import contrast

from actrace.analysis.app import look
from actrace.analysis.charts.grammar.theme import PAPER

TEXT = ("ink", "faint", "accent", "error", "warning", "info")


@pytest.mark.parametrize("theme", look.PALETTES)
def test_text_has_a_contrast_of_four_and_a_half_and_a_rim_of_three(theme):
    colours = look.PALETTES[theme]
    for ground in ("ground", "raised", "chosen"):
        for name in ("ink", "accent") if ground == "chosen" else TEXT:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    for name in ("rim", "focus"):
        assert contrast(colours[name], colours["ground"]) >= 3.0, name


def test_both_themes_have_every_colour_and_no_other_is_used():
    assert set(look.PALETTES["light"]) == set(look.PALETTES["dark"])
    for sheet in (look.TEXT, look.CONTROLS, look.TABLE, look.PAGE):
        assert set(re.findall(r"var\(--ac-([a-z-]+)\)", sheet)) <= set(look.PALETTES["light"])
    for sheet in (look.TEXT, look.CONTROLS, look.TABLE):
        assert re.findall(r"#[0-9a-f]{3,6}\b", sheet) == []


def test_charts_and_page_have_one_dark_ground():
    assert look.PALETTES["dark"]["ground"] == PAPER
