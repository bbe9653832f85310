"""A page's large chart: the latest view is drawn, whatever came between."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bokeh.document import Document
from bokeh.events import RangesUpdate

from actrace.analysis.app.drawing import zoomable
from actrace.analysis.app.live import Follower, zoomed
from actrace.analysis.charts.colorful.colorful import colorful_chart
from actrace.analysis.charts.zoom.layer import SHARP
from actrace.errors import DamagedRunError
from actrace.store.reader import open_run


class Page:
    """Stands for a document: runs what is asked for at the next tick."""

    def __init__(self):
        self.tasks = set()

    def add_next_tick_callback(self, callback):
        async def turn():
            made = callback()
            if asyncio.iscoroutine(made):
                await made

        task = asyncio.get_running_loop().create_task(turn())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def idle(self):
        while self.tasks:
            await asyncio.gather(*self.tasks)


class Layer:
    def __init__(self, page):
        self.picture = SimpleNamespace(document=page)
        self.shown = []

    def show(self, sight):
        self.shown.append(sight)


def moved(follower, x0, x1):
    follower.moved(RangesUpdate(None, x0=x0, x1=x1, y0=0.0, y1=1.0))


def test_of_many_moves_the_first_and_the_last_are_drawn():
    began, go_on = threading.Event(), threading.Event()

    def look(across, up):
        began.set()
        assert go_on.wait(30)
        return across

    async def drag():
        page = Page()
        layer = Layer(page)
        follower = Follower(look, layer, lambda *_: None)
        moved(follower, 0, 10)
        while not began.is_set():
            await asyncio.sleep(0)
        for at in range(1, 6):
            moved(follower, at, at + 10)
        go_on.set()
        await page.idle()
        assert layer.shown == [(0, 10), (5, 15)]
        moved(follower, 7, 9)
        await page.idle()
        return layer.shown

    assert asyncio.run(drag())[-1] == (7, 9)


def test_who_asked_is_told_of_each_view_that_was_drawn():
    def look(across, up):
        if across[0] == 3:
            raise DamagedRunError("train/count is damaged")
        return across

    async def turn():
        page, told = Page(), []
        follower = Follower(look, Layer(page), lambda *ends: told.append(ends))
        for first in (0, 3, 6):
            moved(follower, first, 10)
            await page.idle()
        return told

    assert asyncio.run(turn()) == [((0, 10), (0.0, 1.0)), ((6, 10), (0.0, 1.0))]


def test_what_cannot_be_read_leaves_the_chart_and_the_next_view_is_drawn(caplog):
    def look(across, up):
        if across[0] < 5:
            raise DamagedRunError("train/count is damaged")
        return across

    async def turn():
        page = Page()
        layer = Layer(page)
        follower = Follower(look, layer, lambda *_: None)
        moved(follower, 0, 10)
        await page.idle()
        moved(follower, 6, 10)
        await page.idle()
        return layer.shown

    assert asyncio.run(turn()) == [(6, 10)]
    assert "looking closer" in caplog.text


def test_a_page_that_shows_something_else_by_now_is_not_drawn_on():
    async def turn():
        layer = Layer(None)
        follower = Follower(lambda *_: pytest.fail("nobody looks"), layer, lambda *_: None)
        moved(follower, 0, 10)
        moved(follower, None, 10)
        await asyncio.sleep(0)
        return layer.shown

    assert asyncio.run(turn()) == []


def test_a_chart_without_anything_to_follow_is_shown_as_it_is():
    from bokeh.plotting import figure

    assert zoomed(figure(), None, lambda *_: None).object is not None


@pytest.fixture
def layer(runs: Path) -> Any:
    """Return the large chart of a layer, of 24 batches."""
    return colorful_chart(open_run(runs / "good"), layer="fc")


def ends_of(axis):
    return axis.start, axis.end


def test_a_chart_opens_sharp_where_it_is_told_and_reset_leads_to_all_of_it(layer):
    model, zoom = zoomable(layer, ends=((2, 6), None))
    (across, up), picture = zoom.whole, zoom.latest.picture
    assert across == (0, 24)
    assert ends_of(picture.x_range) == (2, 6)
    assert (picture.x_range.reset_start, picture.x_range.reset_end) == across
    assert ends_of(picture.y_range) == up
    assert "batches 2 to 5 of 24" in picture.title.text
    (sharp,) = model.select({"name": SHARP})
    # A quarter of the view more on either side.
    assert [*sharp.data_source.data["batch_edge"][0]] == [*range(1, 8)]


@pytest.mark.parametrize(
    ("asked", "got"), [((-5, 6), (0, 6)), ((20, 99), (20, 24)), ((30, 99), (0, 24))]
)
def test_a_view_of_what_is_not_there_is_one_of_what_is(layer, asked, got):
    _, zoom = zoomable(layer, ends=(asked, None))
    assert ends_of(zoom.latest.picture.x_range) == got


def test_what_is_in_view_is_told_and_none_is_all_of_it(layer):
    told = []
    model, zoom = zoomable(layer)
    assert zoomed(model, zoom, lambda *ends: told.append(ends)).object is model
    (across, up), picture = zoom.whole, zoom.latest.picture

    async def turn():
        page, document = Page(), Document()
        document.add_next_tick_callback = page.add_next_tick_callback
        document.add_root(model)
        for x0, x1 in ((2.0, 6.0), across):
            for follow in picture._event_callbacks["rangesupdate"]:
                follow(RangesUpdate(picture, x0=x0, x1=x1, y0=up[0], y1=up[1]))
            await page.idle()

    asyncio.run(turn())
    assert told == [((2.0, 6.0), None), (None, None)]
