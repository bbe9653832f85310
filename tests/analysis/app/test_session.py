"""The pages as objects, without a browser: what they show, and what their URL is."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from typing import Any

import panel as pn
import pytest
from tests.analysis.app.conftest import HOSTILE

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.session import Session
from actrace.analysis.app.view import SECTIONS, View
from actrace.analysis.app.workers import Workers

# Bokeh's own, where it turns a data frame into columns.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame")


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def shown(runs, workers, query: str = "", told: list[str] | None = None) -> Session:
    """Return a session whose page has been filled."""
    session = Session(RunFolder(runs), workers, query, (told if told is not None else []).append)
    asyncio.run(session.start())
    return session


def markup(session: Session) -> str:
    """Return all HTML that a page hands to the browser."""
    return "\n".join(str(pane.object) for pane in session.body.select(pn.pane.HTML))


def text(session: Session) -> str:
    return html.unescape(re.sub("<[^>]*>", " ", markup(session)))


def test_the_table_has_every_run_the_damaged_one_as_such(runs, workers):
    session = shown(runs, workers)
    rows = session.page.table.value.set_index("run")
    assert {"good", "nested/good", "damaged"} <= set(rows.index)
    assert rows.loc["damaged", "status"] == "damaged"
    assert "zarr.json" in rows.loc["damaged", "note"]
    assert "linked" not in rows.index
    assert "4 of 4 runs, 1 damaged" in text(session)


def test_searching_and_filtering_are_in_the_url_and_back(runs, workers):
    told: list[str] = []
    page = shown(runs, workers, told=told).page
    page.search.value = "NESTED"
    assert page.table.value["run"].tolist() == ["nested/good"]
    assert View.from_query(told[-1]).search == "NESTED"
    page.search.value = ""
    page.status.value = "damaged"
    assert page.table.value["run"].tolist() == ["damaged"]
    again = shown(runs, workers, told[-1]).page
    assert again.table.value["run"].tolist() == ["damaged"]
    assert again.status.value == "damaged"


def test_a_tag_chooses_runs_even_a_hostile_one(runs, workers):
    page = shown(runs, workers, View(tag=HOSTILE[0]).query()).page
    assert page.tag.value == HOSTILE[0]
    assert len(page.table.value) == 1


def test_one_run_opens_and_several_compare(runs, workers):
    told: list[str] = []
    session = shown(runs, workers, told=told)
    page = session.page
    names = page.table.value["run"].tolist()
    assert page.open.disabled
    assert page.compare.disabled
    page.table.selection = [names.index("good"), names.index("nested/good")]
    assert page.open.disabled
    assert not page.compare.disabled

    async def press() -> None:
        page.compare.clicks += 1

    asyncio.run(press())
    assert told[-1] == "?page=compare&runs=good&runs=nested%2Fgood"
    assert session.page.view.runs == ("good", "nested/good")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_a_run_is_shown(runs, workers, section):
    session = shown(runs, workers, View("run", run="good", section=section).query())
    page = session.page
    (made,) = page.slot.area
    assert "role='alert'" not in markup(session)
    assert not page.slot.area.loading
    assert "finished" in text(session)
    if section == "overview":
        assert (
            "<img alt='The colorful dimension of every layer of good, phase train'" in made.object
        )
    if section in ("layer", "peaks"):
        assert isinstance(made, pn.pane.Bokeh)
    if section == "rates":
        assert "Epoch 2, every layer" in made.object
        assert "conv0" in made.object


def test_what_is_chosen_goes_into_the_url(runs, workers):
    told: list[str] = []
    page = shown(runs, workers, View("run", run="good").query(), told).page

    async def choose() -> None:
        page.buttons["layer"].clicks += 1
        page.layer.value = "conv1"
        page.phase.value = "valid"

    asyncio.run(choose())
    view = View.from_query(told[-1])
    assert (view.section, view.layer, view.phase) == ("layer", "conv1", "valid")
    assert page.buttons["layer"].button_type == "primary"


def test_a_layer_phase_or_epoch_that_is_not_there_gives_what_is(runs, workers):
    query = View("run", run="good", section="layer", layer="x", phase="y", epoch=99).query()
    page = shown(runs, workers, query).page
    assert (page.layer.value, page.phase.value, page.epoch.value) == ("fc", "train", 2)
    assert isinstance(page.slot.area[0], pn.pane.Bokeh)


@pytest.mark.parametrize("name", ["damaged", "nothing", "../outside", "linked", HOSTILE[0]])
def test_a_run_that_cannot_be_shown_is_one_line_in_its_place(runs, workers, name):
    session = shown(runs, workers, View("run", run=name).query())
    (said,) = session.page.about
    assert said.object.count("role='alert'") == 1
    assert "\n" not in said.object
    assert HOSTILE[0] not in markup(session)


def test_a_comparison_says_where_runs_part_and_draws_the_layer(runs, workers):
    session = shown(runs, workers, "?page=compare&runs=good&runs=nested/good")
    assert "nested/good" in text(session)
    assert session.page.layer.value in ("conv0", "conv1", "fc")
    assert markup(session).count("<img ") == 2


def test_a_comparison_that_fails_says_so_and_the_app_goes_on(runs, workers):
    for query in ("?page=compare&runs=good", "?page=compare&runs=good&runs=damaged"):
        session = shown(runs, workers, query)
        assert "role='alert'" in markup(session)
        assert not session.page.layer.visible


def test_show_me_goes_to_the_layer_of_a_finding(runs, workers):
    from actrace.analysis.findings.finding import Finding

    told: list[str] = []
    page = shown(runs, workers, "?page=run&run=good&section=rates", told).page

    async def press() -> None:
        page.show_finding(Finding("a", "error", "b", layer="conv1", phase="valid"))

    asyncio.run(press())
    view = View.from_query(told[-1])
    assert (view.section, view.layer, view.phase) == ("layer", "conv1", "valid")


def hostile_name(runs) -> str:
    (name,) = {run.name for run in RunFolder(runs).runs()} - {"good", "nested/good", "damaged"}
    return name


#: Tags of ours; any other in the markup came out of a name.
OURS = {
    *("b", "br", "code", "details", "div", "em", "h1", "h2", "img", "li", "p", "strong"),
    *("summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}


def harm(session: Session) -> list[str]:
    """Return what in a page's HTML is no tag or attribute of ours."""
    from html.parser import HTMLParser

    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
            found.extend([tag] if tag not in OURS else [])
            found.extend(
                name
                for name, _ in attrs
                if name not in ("alt", "src", "class", "scope", "role", "style", "border")
            )

    Reader().feed(markup(session))
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_hostile_names_stay_text_on_a_runs_page(runs, workers, section):
    name = hostile_name(runs)
    session = shown(runs, workers, View("run", run=name, section=section).query())
    assert "window.harmed" in text(session)
    assert "role='alert'" not in markup(session), "a name keeps the section from being shown"
    assert harm(session) == []


def test_hostile_names_stay_text_in_table_and_comparison(runs, workers):
    name = hostile_name(runs)
    session = shown(runs, workers)
    assert harm(session) == []
    assert {kind["type"] for kind in session.page.table.formatters.values()} == {"plaintext"}
    assert set(session.page.table.formatters) == set(session.page.table.value.columns)
    session = shown(runs, workers, View("compare", runs=(name, "good")).query())
    assert harm(session) == []
    session = shown(runs, workers, View("compare", runs=(name, name + "x")).query())
    assert harm(session) == []


def test_a_page_says_what_it_cannot_draw_and_another_section_still_works(runs, workers):
    page = shown(runs, workers, "?page=run&run=good").page

    async def fail() -> None:
        def broken() -> None:
            raise ZeroDivisionError("<b>broken</b>")

        await page.slot.show(broken, lambda made: made, doing="breaking")
        assert "&lt;b&gt;broken" in page.slot.area[0].object
        page.view = View("run", run="good", section="rates")
        await page._draw()

    asyncio.run(fail())
    assert "every layer" in page.slot.area[0].object
