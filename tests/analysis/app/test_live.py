"""A page's large chart: the latest view is drawn, whatever came between."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from bokeh.events import RangesUpdate

from actrace.analysis.app.live import Follower, zoomed
from actrace.errors import DamagedRunError


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
        follower = Follower(look, layer)
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


def test_what_cannot_be_read_leaves_the_chart_and_the_next_view_is_drawn(caplog):
    def look(across, up):
        if across[0] < 5:
            raise DamagedRunError("train/count is damaged")
        return across

    async def turn():
        page = Page()
        layer = Layer(page)
        follower = Follower(look, layer)
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
        follower = Follower(lambda *_: pytest.fail("nobody looks"), layer)
        moved(follower, 0, 10)
        moved(follower, None, 10)
        await asyncio.sleep(0)
        return layer.shown

    assert asyncio.run(turn()) == []


def test_a_chart_without_anything_to_follow_is_shown_as_it_is():
    from bokeh.plotting import figure

    assert zoomed(figure(), None).object is not None
