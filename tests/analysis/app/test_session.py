"""The pages as objects, without a browser: what they show, and what their URL is."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import panel as pn
import pytest
from bokeh.models import Title
from tests.analysis.app.served import EVIL, HOSTILE

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.session import Session
from actrace.analysis.app.view import SECTIONS, View
from actrace.analysis.app.workers import Workers
from actrace.store.axis import Linear
from actrace.store.writer import RunWriter

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
    assert rows.loc["damaged", "note"].startswith("its zarr.json"), "the name is in its row"
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


#: Section -> its parts, and those that a browser zooms; the run made here has no gradients.
PARTS = {
    "overview": (["layers"], []),
    "layer": (["layer", "units"], ["layer"]),
    "peaks": (["peaks", "separation"], ["peaks"]),
    "classes": (["report", "class-peaks", "class-separation"], []),
    "rates": (["warning", "rates", "table"], []),
    "divergence": (["divergence", "class-divergence"], []),
    "gradients": (["gradients"], []),
    "findings": (["findings"], []),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_a_run_is_shown(runs, workers, section):
    session = shown(runs, workers, View("run", run="good", section=section).query())
    slots = session.page.parts.slots
    parts, zoomed = PARTS[section]
    assert list(slots) == parts
    assert "role='alert'" not in markup(session)
    assert not any(slot.area.loading for slot in slots.values())
    for name in zoomed:
        assert isinstance(slots[name].area[0], pn.pane.Bokeh)
    said = text(session)
    assert "finished" in said
    if section == "gradients":
        assert "record with gradients=True" in said
    held = markup(session)
    n_pictures = (
        len(parts) - len(zoomed) - len({"report", "table", "gradients", "findings"} & {*parts})
    )
    assert held.count("<img alt=") == n_pictures
    assert ("Epoch 2, every layer" in said) == (section == "rates")
    assert ("The pairs confused most" in said) == (section == "classes")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_run_without_a_batch_is_shown_as_that(tmp_path, workers, section):
    RunWriter.create(tmp_path / "empty", axis=Linear(-1, 1, 4), attributes={}).close()
    session = shown(tmp_path, workers, View("run", run="empty", section=section).query())
    assert "role='alert'" not in markup(session)
    assert "no batch yet" in text(session)


def test_a_section_is_computed_only_when_it_is_opened(runs, workers, monkeypatch):
    from actrace.analysis.app import sections

    made = []
    for name in [name for name in vars(sections) if name.endswith(("_chart", "_markup"))]:
        real = getattr(sections, name)
        monkeypatch.setattr(
            sections,
            name,
            lambda *args, name=name, real=real, **options: (
                made.append(name),
                real(*args, **options),
            )[1],
        )
    page = shown(runs, workers, "?page=run&run=good&section=peaks").page
    assert made == ["_chart", "_chart", "twin_peaks_chart", "separation_chart"]
    made.clear()

    async def slide() -> None:
        page.view = View("run", run="good", section="peaks", epoch=0)
        page._settle()
        await page._draw()

    asyncio.run(slide())
    assert made == ["_chart", "_chart", "twin_peaks_chart"], "what had not changed was drawn again"


@pytest.mark.parametrize(
    ("view", "part", "says", "widgets"),
    [
        (View(section="overview", each="class"), "outputs", "each class", "phase each"),
        (View(section="overview", each="unit"), "outputs", "each output unit", "phase each"),
        (View(section="peaks", along="time"), "stacked", "along time", "along each mark"),
        (View(section="peaks", each="class"), "each", "", "along each phase epoch mark"),
        (
            View(section="peaks", each="class", along="time"),
            "stacked",
            "each class along time, valid",
            "along each phase mark",
        ),
    ],
)
def test_the_output_is_seen_by_class_and_along_time(runs, workers, view, part, says, widgets):
    session = shown(runs, workers, replace(view, page="run", run="good").query())
    page = session.page
    assert part in page.parts.slots
    assert "role='alert'" not in markup(session)
    assert says in markup(session)
    assert list(page.choices) == [page.widgets[name] for name in widgets.split()]


#: Section -> its charts that carry the marks of findings.
MARKED = {
    "overview": {"colorful_chart"},
    "layer": {"colorful_chart", "units_chart"},
    "peaks": {"twin_peaks_chart", "separation_chart"},
    "classes": {"separation_chart"},
    "rates": {"rates_chart"},
    "divergence": {"divergence_chart"},
    "gradients": {"gradients_chart"},
}


@pytest.mark.parametrize("section", MARKED)
def test_findings_are_handed_to_every_chart_that_carries_them(runs, workers, monkeypatch, section):
    from actrace.analysis.app import sections
    from actrace.errors import NotRecordedError

    given: dict[str, list[Any]] = {}

    def taking(name: str) -> Any:
        def chart(*_args: Any, findings: Any = (), **_options: Any) -> None:
            given.setdefault(name, []).append(findings)
            raise NotRecordedError("not drawn here")

        return chart

    for name in [name for name in vars(sections) if name.endswith("_chart") and name != "_chart"]:
        monkeypatch.setattr(sections, name, taking(name))
    session = shown(runs, workers, View("run", run="good", section=section, mark="all").query())
    found = session.page._judge.found().found
    assert found
    marked = {name for name, some in given.items() if all(one == found for one in some)}
    assert marked == MARKED[section]
    assert session.page.mark in list(session.page.choices)


def test_what_is_in_view_is_kept_and_goes_with_what_it_is_of(runs, workers):
    told: list[str] = []
    query = View("run", run="good", section="layer", layer="fc", batches=(2, 6)).query()
    page = shown(runs, workers, query, told).page

    def title() -> str:
        (pane,) = page.parts.slots["layer"].area
        return " ".join(one.text for one in pane.object.select({"type": Title}) if one.text)

    assert "batches 2 to 5 of 24" in title()

    async def look() -> None:
        page._seen((3.0, 9.0), (-1.0, 2.0))
        view = View.from_query(told[-1])
        assert (view.batches, view.values) == ((3, 9), (-1, 2))
        page._known = ("recording", {})
        await page.follow()
        assert "batches 3 to 8 of 24" in title()
        page.layer.value = "conv1"
        view = View.from_query(told[-1])
        assert (view.batches, view.values) == ((3, 9), None), "another layer has other values"
        page.phase.value = "valid"
        assert View.from_query(told[-1]).batches is None, "another phase has other batches"

    asyncio.run(look())


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
    assert isinstance(page.parts.slots["layer"].area[0], pn.pane.Bokeh)


@pytest.mark.parametrize("name", ["damaged", "nothing", "../outside", "linked", HOSTILE[0]])
def test_a_run_that_cannot_be_shown_is_one_line_in_its_place(runs, workers, name):
    session = shown(runs, workers, View("run", run=name).query())
    (said,) = session.page.about
    assert said.object.count("role='alert'") == 1
    assert "\n" not in said.object
    assert HOSTILE[0] not in markup(session)
    assert not session.page.sections.visible, "buttons that lead nowhere"


def test_a_comparison_says_where_runs_part_and_draws_the_layer(runs, workers):
    session = shown(runs, workers, "?page=compare&runs=good&runs=nested/good")
    assert "nested/good" in text(session)
    assert session.page.layer.value in ("conv0", "conv1", "fc")
    assert list(session.page.parts.slots) == ["map", "pair nested/good"]
    assert markup(session).count("<img ") == 2, "the map of distances, and the layer of both"


def test_a_comparison_that_fails_says_so_and_the_app_goes_on(runs, workers):
    for query in ("?page=compare&runs=good", "?page=compare&runs=good&runs=damaged"):
        session = shown(runs, workers, query)
        assert "role='alert'" in markup(session)
        assert not session.page.layer.visible


def test_show_me_goes_to_the_layer_of_a_finding(runs, workers):
    from actrace.analysis.findings.finding import Finding

    told: list[str] = []
    page = shown(runs, workers, "?page=run&run=good&section=rates&along=time", told).page

    async def press() -> None:
        page.show_finding(Finding("a", "error", "b", layer="conv1", phase="valid"))

    asyncio.run(press())
    view = View.from_query(told[-1])
    assert (view.section, view.layer, view.phase) == ("layer", "conv1", "valid")
    assert view.mark == "a", "the chart does not mark it"
    assert view.along == "", "what stands along time carries no mark"


def test_each_kind_of_finding_has_its_chart(runs):
    from actrace.analysis.app.findings_list import chart_of
    from actrace.analysis.findings.finding import Finding

    run = RunFolder(runs).open("good")

    def section(rule, **place):
        return chart_of(Finding(rule, "error", "it is", **place), run).get("section")

    assert section("dead-layer", layer="conv0") == "layer"
    assert section("lagging-class", layer="fc", target_class="1") == "classes"
    assert section("overfit", layer="fc") == "divergence"
    assert section("no-peaks", layer="fc") == "peaks"
    assert section("recorder-gap") is None
    assert section("dead-layer", layer="not there") is None
    assert chart_of(Finding("lagging-class", "error", "", first_epoch=1), run)["epoch"] == 1


def test_a_marked_finding_is_on_the_chart_and_said_above_it(runs, workers):
    query = "?page=run&run=good&section=layer&layer=conv0&mark=dead-units"
    session = shown(runs, workers, query)
    page = session.page
    assert list(page.parts.slots) == ["marked", "layer", "units"]
    assert "dead-units at conv0" in " ".join(text(session).split())
    (figure,) = page.parts.slots["layer"].area
    labels = [str(s.data) for s in figure.object.select({"name": None}) if hasattr(s, "data")]
    assert any("dead-units" in data for data in labels)


#: Tags of ours; any other in the markup came out of a name.
OURS = {
    *("b", "br", "code", "details", "div", "em", "h1", "h2", "h3", "img", "li", "p", "strong"),
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
    name = EVIL
    session = shown(runs, workers, View("run", run=name, section=section).query())
    assert "window.harmed" in text(session)
    assert "role='alert'" not in markup(session), "a name keeps the section from being shown"
    assert harm(session) == []


def test_hostile_names_stay_text_in_table_and_comparison(runs, workers):
    name = EVIL
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

        slot = page.parts.slots["layers"]
        await slot.show(lambda made: made, doing="breaking", read=broken)
        assert "&lt;b&gt;broken" in slot.area[0].object
        page.view = View("run", run="good", section="rates")
        await page._draw()

    asyncio.run(fail())
    assert "every layer" in page.parts.slots["table"].area[0].object


def test_what_fails_leaves_the_parts_beside_it(runs, workers, monkeypatch):
    from actrace.analysis.app import sections
    from actrace.errors import ChartError

    def refuse(*_args: Any, **_options: Any) -> None:
        raise ChartError("no <i>such</i> chart")

    monkeypatch.setattr(sections, "warning_chart", refuse)
    session = shown(runs, workers, "?page=run&run=good&section=rates")
    slots = session.page.parts.slots
    assert "no &lt;i&gt;such&lt;/i&gt; chart" in slots["warning"].area[0].object
    assert "<img " in slots["rates"].area[0].object


def test_the_colours_are_in_the_url_and_charts_are_drawn_in_them(runs, workers):
    told: list[str] = []
    session = shown(runs, workers, "?page=run&run=good&section=rates&theme=dark", told)
    assert session.dark
    dark = session.page.parts.slots["rates"].area[0].object

    async def change() -> None:
        session.theme.value = "light"
        await session.page.redraw()
        slots = session.page.parts.slots.values()
        while any(slot.left or slot.area.loading for slot in slots):
            await asyncio.sleep(0.01)
        assert View.from_query(told[-1]).theme == "light"
        assert session.page.parts.slots["rates"].area[0].object != dark
        session.go(View())
        assert View.from_query(told[-1]) == View(theme="light")

    asyncio.run(change())


def test_without_a_word_the_browser_says_which_colours(runs, workers):
    session = shown(runs, workers, "?page=run&run=good")
    assert not session.dark

    async def change() -> None:
        session.prefer(True)
        assert session.dark
        session.theme.value = "light"
        assert not session.dark

    asyncio.run(change())


def test_runs_are_sorted_those_without_a_value_last(runs, workers):
    page = shown(runs, workers, "?sort=-run").page
    names = page.table.value["run"].tolist()
    assert names == sorted(names, reverse=True)
    page.sort.value = "loss"
    assert page.table.value["run"].tolist()[-1] == "damaged"
    assert page.view.sort == "loss"
