"""A report says what the runs did, holds all it shows, and lets no name become a script."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from tests.analysis.report.pages import HOSTILE, Page
from tests.analysis.storing import write
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.report import pictures
from actrace.analysis.report.figures import FIGURES
from actrace.errors import ComparisonError, DamagedRunError, ReportError

#: What a page of ours is made of; anything else came from a name.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section"),
    *("article", "footer", "div", "h1", "h2", "h3", "h4", "p", "a", "strong", "span", "ul", "li"),
    *("dl", "dt", "dd", "figure", "picture", "source", "img", "figcaption"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "href", "id", "role", "scope"),
    *("aria-label", "aria-labelledby", "tabindex", "src", "alt", "width", "height"),
    *("srcset", "media"),
}


def page_of(runs, folder: Path, **options) -> Page:
    path = actrace.report(runs, folder / "report.html", progress=False, **options)
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the page of two runs, the second of which never learns."""
    runs = {
        "good": synthetic_run(n_layers=4, n_batches=8, attributes={"config": {"lr": 0.05}}),
        "bad": synthetic_run(n_layers=4, n_batches=8, gap=0.0, attributes={"config": {"lr": 4}}),
    }
    return page_of(runs, tmp_path_factory.mktemp("report"))


@pytest.fixture
def coarse(monkeypatch):
    """Draw pictures that no one looks at."""
    monkeypatch.setattr(pictures, "_QUALITIES", ((30, True),))


def test_a_page_has_every_section_of_every_run(page):
    assert page.headings[0] == "good and bad"
    for heading in ("What the run is", "Findings", "Epoch by epoch", "Config", "Pictures"):
        assert page.headings.count(heading) == 2
    assert "Beside each other" in page.headings


def test_a_page_says_the_numbers_of_actrace(page):
    run = synthetic_run(n_layers=4, n_batches=8)
    wanted = float(actrace.twin_peaks(run)["understanding"].sel(phase="valid")[-1])
    assert f"{wanted:.3g} understanding" in page.text or f"understanding {wanted:.3g}" in page.text
    assert "config.lr 0.05 4" in page.text


def test_a_page_loads_nothing_and_every_link_leads_into_it(page):
    assert {link[:15] for link in page.links if not link.startswith("#")} <= {
        "data:image/png;",
        "data:image/svg+",
    }
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_every_picture_has_words_with_numbers(page):
    # All of both runs, and two of them beside each other.
    assert len(page.images) == 2 * len(FIGURES) + 2
    for image in page.images:
        assert len(re.findall(r"\d", image["alt"])) > 3
        data = base64.b64decode(image["src"].partition(",")[2])
        assert data.startswith(b"\x89PNG") or b"<svg" in data[:2000]


def test_what_is_light_by_day_is_dark_by_night(page):
    nights = sum(figure.night for figure in FIGURES)
    # A picture that is dark in itself stands on dark paper by day too.
    assert (
        sum(link.startswith("data:") for link in page.links) == 2 * (2 * len(FIGURES) - nights) + 2
    )


def test_a_run_without_labels_or_validation_says_what_was_not_drawn(coarse, tmp_path):
    run = synthetic_run(n_layers=2, n_batches=3, labelled=False, phases=("train",))
    page = page_of(run, tmp_path)
    assert "Charts that were not drawn" in page.text
    for title in ("How far YES and NO are apart", "Where validation differs from training"):
        assert f"{title} " in page.text
    assert "batches of train and of valid" in page.text
    assert "Units dead all through epoch 2: conv0" in page.text


def test_tables_that_scroll_can_be_reached_by_keyboard(coarse, tmp_path):
    text = actrace.report(synthetic_run(n_layers=2), tmp_path / "a.html").read_text("utf-8")
    regions = re.findall(r'<div class="scroll"([^>]*)>', text)
    assert regions
    assert all('tabindex="0"' in region and "aria-label=" in region for region in regions)


def test_no_hostile_name_becomes_a_tag_or_an_attribute(coarse, tmp_path):
    rng = np.random.default_rng(0)
    batches = [
        Batch({name: rng.normal(0, 1, (20, 3)) for name in HOSTILE}, epoch, rng.integers(0, 3, 20))
        for epoch in range(2)
    ]
    runs = {
        name: run_from_samples(
            {"train": batches},
            classes=list(HOSTILE[:3]),
            attributes={
                "config": {other: other for other in HOSTILE},
                "tags": list(HOSTILE),
                "host": name,
                "status": name,
                "skipped": {other: other for other in HOSTILE},
                "git_commit": name,
                "coverage": {"never_fired": list(HOSTILE), "functions": {}},
            },
        )
        for name in HOSTILE[:2]
    }
    page = page_of(runs, tmp_path)
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "49" not in re.findall(r"\b49\b", page.text)
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    told = actrace.report(runs, tmp_path / "report.md", progress=False).read_text("utf-8")
    assert not re.search(r"(?<!\\)<(?!run-)", told)
    assert "@someone" not in told


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_odd_runs_have_a_report(suffix, coarse, tmp_path):
    one = Batch({"a": np.ones((4, 3))})
    runs = {
        "empty": run_from_samples({}, layers=["a"]),
        "one batch": run_from_samples({"train": [one]}),
        "only validation": run_from_samples({"valid": [one, one]}, units=False),
        "unfinished": synthetic_run(n_layers=2, attributes={"status": "recording"}),
    }
    for name, run in runs.items():
        text = actrace.report(run, tmp_path / f"{name}.{suffix}", progress=False).read_text("utf-8")
        assert "run 0" in text
    beside = actrace.report(runs, tmp_path / f"all.{suffix}", progress=False).read_text("utf-8")
    assert "These runs cannot be compared" in beside


def test_a_long_training_is_told_by_epochs_evenly_spaced(coarse, tmp_path):
    batches = [Batch({"a": np.ones((2, 2))}, epoch, loss=1.0) for epoch in range(200)]
    text = page_of(run_from_samples({"train": batches}), tmp_path).text
    assert "60 of 200 epochs, evenly spaced" in text


def test_markdown_names_pictures_by_number_beside_itself(coarse, tmp_path):
    runs = {"../../etc/passwd": synthetic_run(n_layers=2)}
    path = actrace.report(runs, tmp_path / "docs" / "a.md", pictures=tmp_path / "pictures")
    found = re.findall(r"\]\(<(.*?)>\)", path.read_text("utf-8"))
    assert found == [f"../pictures/run-1-{figure.name}.png" for figure in FIGURES]
    for name in found:
        assert (path.parent / name).read_bytes().startswith(b"\x89PNG")


def test_a_damaged_run_is_refused_and_leaves_no_file(tmp_path):
    write(synthetic_run(n_layers=2, n_batches=8), tmp_path / "a.zarr")
    for chunk in (tmp_path / "a.zarr" / "train" / "mean" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\x00" * chunk.stat().st_size)
    with pytest.raises(DamagedRunError):
        actrace.report(tmp_path / "a.zarr", tmp_path / "out" / "a.html")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("runs", "output", "options", "error", "words"),
    [
        ([], "a.html", {}, ReportError, "needs a run"),
        ("nowhere", "a.pdf", {}, ReportError, "ends in .html"),
        ("nowhere", "a.html", {"pictures": "p"}, ReportError, "holds its own"),
        ({"a": None, "b": None}, "a.md", {"by": "time"}, ComparisonError, "by must be"),
    ],
)
def test_what_cannot_be_written_is_said(runs, output, options, error, words, tmp_path):
    if isinstance(runs, dict):
        runs = dict.fromkeys(runs, synthetic_run(n_layers=2))
    with pytest.raises(error, match=words):
        actrace.report(runs, tmp_path / output, **options)
