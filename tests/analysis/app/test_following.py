"""A run that is being recorded grows on its page, until it is finished."""

import asyncio

import numpy as np
import pytest

from actrace.analysis.app.folder import RunFolder
from actrace.analysis.app.session import Session
from actrace.analysis.app.workers import Workers
from actrace.store.axis import Linear
from actrace.store.rows import BatchRow, LayerInfo
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter


def append(writer, n):
    rng = np.random.default_rng(0)
    for step in range(n):
        values = rng.integers(1, 9, (1, 4)).astype(np.uint64)
        counters = np.zeros((len(COUNTERS), 1), np.uint64)
        names = [variable.name for variable in COUNTERS]
        counters[names.index("elements")] = values.sum()
        counters[names.index("calls")] = 1
        writer.append_batch(
            BatchRow(
                phase="train",
                count=values,
                counters=counters,
                moments=np.zeros((len(MOMENTS), 1)),
                step=step,
                epoch=0,
                samples=2,
                time=0.0,
                loss=1.0,
            )
        )
    writer.commit()


@pytest.mark.parametrize(("section", "part"), [("overview", "layers"), ("layer", "layer")])
def test_a_live_run_grows_and_its_end_is_seen(tmp_path, section, part):
    writer = RunWriter.create(
        tmp_path / "live", axis=Linear(-1, 1, 4), attributes={"status": "recording"}
    )
    writer.declare_layers([LayerInfo("fc", "Linear", (2, 4), 0, 4)])
    append(writer, 3)
    workers = Workers()
    session = Session(RunFolder(tmp_path), workers, f"?page=run&run=live&section={section}")

    async def watch():
        await session.start()
        page = session.page
        assert page.run.n_batches("train") == 3
        first = page.parts.slots[part].area[0]
        await session.follow()
        assert page.parts.slots[part].area[0] is first, "nothing new, and it was drawn again"
        append(writer, 2)
        page._draw_next = 0.0
        await session.follow()
        assert page.run.n_batches("train") == 5
        assert page.parts.slots[part].area[0] is not first
        append(writer, 1)
        page._draw_next = float("inf")
        await session.follow()
        assert page.run.n_batches("train") == 5, "drawn again without a rest"
        writer.close()
        await session.follow()
        assert page.run.n_batches("train") == 6
        assert page.run.status == "finished"
        last = page.parts.slots[part].area[0]
        await session.follow()
        assert page.parts.slots[part].area[0] is last

    asyncio.run(watch())
    workers.close()


def test_a_run_that_vanishes_while_it_is_followed_is_one_line(tmp_path):
    writer = RunWriter.create(
        tmp_path / "live", axis=Linear(-1, 1, 4), attributes={"status": "recording"}
    )
    writer.declare_layers([LayerInfo("fc", "Linear", (2, 4), 0, 4)])
    append(writer, 1)
    workers = Workers()
    session = Session(RunFolder(tmp_path), workers, "?page=run&run=live")

    async def watch():
        await session.start()
        (tmp_path / "live.zarr").rename(tmp_path / ".gone")
        await session.follow()
        assert "no run is called" in session.page.about[0].object

    asyncio.run(watch())
    (tmp_path / ".gone").rename(tmp_path / "live.zarr")
    writer.close()
    workers.close()
