"""Screenshots are alike whatever the letters, and unlike where what is shown differs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter
from tests.browser import screenshots
from tests.browser.screenshots import likeness


def drawn(*, lines: bool = True, chart: bool = True, moved: int = 0, letter: int = 5):
    """Return a page of 640 by 450 with twelve lines of letters, an area and a curve."""
    picture = Image.new("RGB", (640, 450), "white")
    pen = ImageDraw.Draw(picture)
    for line in range(12):
        y = 10 + 14 * line + moved
        for column in range(60):
            x = 10 + letter * column
            pen.line([x, y, x, y + 6], fill="black")
    if chart:
        pen.rectangle([340, 20, 620, 200], fill="#0072b2")
    if lines:
        points = [(10 + 5 * i, 320 + 90 * ((i * i) % 7 - 3) / 3) for i in range(124)]
        pen.line(points, fill="#d55e00", width=2)
    return picture


@pytest.mark.parametrize(
    "other",
    [
        drawn(),
        drawn(moved=3),
        drawn(letter=6),
        drawn().filter(ImageFilter.GaussianBlur(0.8)),
        drawn().crop((0, 0, 640, 436)),
    ],
    ids=["itself", "a line moved", "wider letters", "smoother letters", "a page a line shorter"],
)
def test_alike(other: Image.Image) -> None:
    assert likeness(other, drawn()).alike
    assert likeness(drawn(), other).alike


@pytest.mark.parametrize(
    "other",
    [
        drawn(chart=False),
        drawn(lines=False),
        drawn().crop((0, 0, 640, 400)),
        drawn().rotate(180),
        Image.new("RGB", (640, 450), "white"),
        Image.eval(drawn(), lambda value: 255 - value),
    ],
    ids=["no area", "no curve", "much shorter", "upside down", "nothing", "dark"],
)
def test_unlike(other: Image.Image) -> None:
    assert not likeness(other, drawn()).alike
    assert not likeness(drawn(), other).alike


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.resize((1280, 900)).save(out, "png")
    return out.getvalue()


def test_a_picture_is_written_when_asked_and_then_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshots, "FOLDER", tmp_path / "committed")
    with pytest.raises(AssertionError, match="--update-screenshots"):
        screenshots.check(png(drawn()), "page", update=False, keep=tmp_path)
    screenshots.check(png(drawn()), "page", update=True, keep=tmp_path)
    screenshots.check(png(drawn()), "page", update=False, keep=tmp_path)
    with pytest.raises(AssertionError, match="no longer looks like"):
        screenshots.check(png(drawn(chart=False)), "page", update=False, keep=tmp_path)
    assert (tmp_path / "page.png").is_file()
