"""A chart's output draws wherever a browser shows it, and reaches nothing around it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Frame, Page, expect
from tests.analysis.app.served import hostile_run
from tests.synthetic import synthetic_run

import actrace

#: What VS Code lets the page of a notebook's outputs do, without its own addresses.
VS_CODE = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src https: data:; font-src https: data:; connect-src https:; child-src https: data:"
)


@pytest.fixture(scope="module")
def output() -> str:
    """Return what a notebook keeps of a chart."""
    return actrace.colorful_chart(synthetic_run(n_batches=8), layer="fc")._repr_html_()


def chart_in(page: Page) -> Frame:
    """Return the frame of the chart in a page, when it is drawn."""
    frame = page.locator("iframe")
    expect(frame.content_frame.locator("canvas:visible").first).to_be_visible()
    return next(frame for frame in page.frames if frame.parent_frame is not None)


@pytest.mark.parametrize("policy", ["", VS_CODE], ids=["a plain page", "VS Code's policy"])
def test_it_draws_in_a_page(page: Page, output: str, policy: str) -> None:
    page.set_content(f'<meta http-equiv="Content-Security-Policy" content="{policy}">{output}')
    chart_in(page)


def test_it_draws_in_what_nbconvert_writes(page: Page, output: str, tmp_path: Path) -> None:
    made = nbformat.v4.new_output("execute_result", {"text/html": output}, execution_count=1)
    cell = nbformat.v4.new_code_cell("chart", outputs=[made], execution_count=1)
    exporter = HTMLExporter()
    for name in ("mathjax_url", "require_js_url", "mermaid_js_url"):  # nbconvert's own, of the net
        setattr(exporter, name, "")
    body, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (tmp_path / "page.html").write_text(body, "utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    chart_in(page)


def test_it_reaches_nothing_around_it(page: Page, output: str) -> None:
    page.set_content(output)
    refused = chart_in(page).evaluate(
        "() => { try { return parent.document.title } catch { return 0 } }"
    )
    assert refused == 0


def test_it_becomes_smaller_in_a_narrow_cell_and_still_reads_values(
    new_page: Callable[..., Page], output: str
) -> None:
    widths = []
    for width in (1600, 900):
        page = new_page(width, 800)
        page.set_content(f"<body style='margin:0'>{output}</body>")
        inside = chart_in(page)
        box = page.locator("iframe").bounding_box()
        widths.append(box["width"])
        assert box["width"] <= width
        # Of the frame's own pixels, of which there are as many at any size.
        assert inside.evaluate("innerWidth >= document.documentElement.scrollWidth")
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.3)
        expect(page.locator("iframe").content_frame.locator(".bk-Tooltip").first).to_be_visible()
    assert widths[1] < widths[0]


@pytest.mark.parametrize(
    "make",
    [actrace.colorful_chart, partial(actrace.twin_peaks_chart, view="slider")],
    ids=["tiles", "a slider"],
)
def test_the_frame_holds_the_whole_chart(page: Page, make: Callable[..., Any]) -> None:
    page.set_content(make(synthetic_run(n_batches=4))._repr_html_())
    inside = chart_in(page)
    # By a row of letters more, and no more than that.
    left = inside.evaluate(
        "() => { const box = document.querySelector('[data-root-id] > *').getBoundingClientRect();"
        "return [innerWidth - box.width, innerHeight - box.height] }"
    )
    assert all(0 <= pixels < 60 for pixels in left)


def test_names_stay_words(page: Page) -> None:
    page.set_content(actrace.colorful_chart(hostile_run())._repr_html_())
    chart_in(page)
    page.wait_for_timeout(500)


def test_where_no_frame_is_let_in_a_sentence_says_what_is_missing(output: str) -> None:
    left = re.sub(r"<iframe.*?</iframe>", "", output, flags=re.DOTALL)
    assert "notebook that is trusted" in left
