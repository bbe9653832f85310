"""A followed run is drawn as it grows, until it ends; what goes wrong is shown and never raised."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.synthetic import synthetic_run
from torch import nn

import actrace
from actrace.analysis.live import follow as module
from actrace.analysis.live.follow import LiveView, follow
from actrace.analysis.live.screen import Cell, Terminal, as_html
from actrace.errors import ChartError
from actrace.store.axis import Linear
from actrace.store.rows import BatchRow, LayerInfo
from actrace.store.schema import COUNTERS, MOMENTS
from actrace.store.writer import RunWriter

PNG = b"\x89PNG\r\n\x1a\n"


class Watched:
    """A screen that keeps all that it was shown."""

    def __init__(self, *, draws: bool = True) -> None:
        self.draws = draws
        self.shown: list[tuple[str, list[str], str]] = []

    def show(self, words, pictures, problem):
        assert all(png.startswith(PNG) for _, png in pictures)
        self.shown.append((words, [says for says, _ in pictures], problem))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Watched:
    screen = Watched()
    monkeypatch.setattr(module, "screen_here", lambda: screen)
    return screen


def begun(path: Path) -> RunWriter:
    writer = RunWriter.create(path, axis=Linear(-1, 1, 4), attributes={"status": "recording"})
    writer.declare_layers([LayerInfo("fc", "Linear", (2, 4), 0, 4)])
    return writer


def append(writer: RunWriter, n: int) -> None:
    names = [variable.name for variable in COUNTERS]
    for step in range(n):
        counters = np.zeros((len(COUNTERS), 1), np.uint64)
        counters[names.index("elements")], counters[names.index("calls")] = 8, 1
        writer.append_batch(
            BatchRow(
                phase="train",
                count=np.full((1, 4), 2, np.uint64),
                counters=counters,
                moments=np.zeros((len(MOMENTS), 1)),
                step=step,
                epoch=0,
                samples=2,
                time=0.0,
                loss=0.5,
            )
        )
    writer.commit()


def rested(view: LiveView) -> LiveView:
    view._rest_until = 0.0
    return view


def test_it_is_drawn_again_when_it_has_grown_and_not_before(tmp_path, screen):
    writer = begun(tmp_path / "live")
    append(writer, 3)
    view = follow(tmp_path / "live", wait=False)
    assert screen.shown == [
        ("live: recording, epoch 0, train 3 batches, loss 0.5", ["fc in train"], "")
    ]
    assert rested(view).update()
    assert len(screen.shown) == 1, "nothing was new"
    append(writer, 2)
    assert rested(view).update()
    assert "train 5 batches" in screen.shown[-1][0]
    writer.close()
    assert not view.update()
    assert screen.shown[-1][0].startswith("live: finished")
    assert not view.update()
    assert len(screen.shown) == 3


def test_it_rests_four_times_as_long_as_drawing_took_but_not_at_the_end(
    tmp_path, screen, monkeypatch
):
    clock, drawn = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def slow(run, **_):
        clock[0] += 3.0
        drawn.append(run.n_batches("train"))
        return [("a picture", PNG)]

    monkeypatch.setattr("actrace.analysis.live.picture.pictures_of", slow)
    writer = begun(tmp_path / "live")
    append(writer, 1)
    view = follow(tmp_path / "live", wait=False)
    append(writer, 1)
    assert view.update()
    assert drawn == [1, 2], "the first drawing, which loads what draws, is no measure"
    append(writer, 1)
    clock[0] = 117.0
    assert view.update()
    assert view.update()
    assert drawn == [1, 2]
    assert [words.rpartition("train ")[2] for words, _, _ in screen.shown] == [
        "1 batch, loss 0.5",
        "2 batches, loss 0.5",
        "3 batches, loss 0.5",
    ]
    clock[0] = 118.5
    assert view.update()
    assert drawn == [1, 2, 3]
    append(writer, 1)
    writer.close()
    assert not view.update()
    assert drawn == [1, 2, 3, 4]


def test_a_waiting_view_returns_when_the_run_has_ended(tmp_path, screen):
    def train():
        time.sleep(0.2)
        writer = begun(tmp_path / "live")
        append(writer, 2)
        time.sleep(0.2)
        writer.close()

    training = threading.Thread(target=train)
    training.start()
    follow(tmp_path / "live", every=0.02, patience=60)
    training.join()
    assert screen.shown[0][0].endswith("live: not there yet")
    assert screen.shown[-1][0].startswith("live: finished")


def test_ctrl_c_ends_a_waiting_view_and_nothing_else(tmp_path, screen, monkeypatch):
    writer = begun(tmp_path / "live")

    def pressed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", pressed)
    follow(tmp_path / "live")
    assert screen.shown[-1][2] == "no longer followed"
    writer.close()


def test_a_run_that_never_begins_is_given_up(tmp_path, screen):
    follow(tmp_path / "none", every=0.01, patience=0.05)
    assert all("not there yet" in words for words, _, _ in screen.shown)
    assert len(screen.shown) > 1


@pytest.mark.parametrize("error", [ValueError("oh\nno"), MemoryError(), OSError(5, "gone")])
def test_what_goes_wrong_is_shown_and_not_raised(tmp_path, screen, monkeypatch, error):
    def broken(*_, **__):
        raise error

    writer = begun(tmp_path / "live")
    append(writer, 1)
    with monkeypatch.context() as patch:
        patch.setattr("actrace.analysis.live.picture.pictures_of", broken)
        view = follow(tmp_path / "live", wait=False)
    assert screen.shown[-1][2].startswith("cannot be drawn: ")
    assert "\n" not in screen.shown[-1][2]
    assert rested(view).update(), "it recovers"
    assert screen.shown[-1][2] == ""
    monkeypatch.setattr(screen, "show", broken)
    append(writer, 1)
    rested(view).update()
    writer.close()


def test_a_damaged_run_is_shown_as_such_and_given_up(tmp_path, screen):
    folder = tmp_path / "live.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_text('{"attributes":', "utf-8")
    follow(tmp_path / "live", every=0.01, patience=0.05)
    assert "damaged" in screen.shown[-1][0]
    assert screen.shown[-1][2].startswith("cannot be drawn: ")


def test_a_layer_that_is_not_there_is_said_in_the_cell(tmp_path, screen):
    writer = begun(tmp_path / "live")
    append(writer, 1)
    follow(tmp_path / "live", layer="nothing", wait=False)
    assert "layer 'nothing' is not in this run" in screen.shown[-1][2]
    writer.close()


def test_a_recorder_of_this_process_writes_what_it_has_first(tmp_path, screen):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    loss_fn = nn.CrossEntropyLoss()
    recorder = actrace.record(model, tmp_path / "mine", criterion=loss_fn)
    view = follow(recorder)
    for epoch in range(2):
        for _ in range(4):
            loss_fn(model(torch.randn(16, 4)), torch.randint(0, 3, (16,)))
        assert rested(view).update()
        assert f"train {4 * epoch + 4} batches" in screen.shown[-1][0]
        assert screen.shown[-1][1:] == (["2 in train", "twin peaks of the latest epochs"], "")
    recorder.close()
    assert not view.update()
    assert screen.shown[-1][0].startswith("mine: finished")


def test_in_a_running_loop_it_is_drawn_while_the_loop_is_idle(tmp_path, screen):
    writer = begun(tmp_path / "live")

    async def cells():
        view = follow(tmp_path / "live", every=0.01, wait=False)
        append(writer, 2)
        view._rest_until = 0.0
        for _ in range(500):
            await asyncio.sleep(0.01)
            if "2 batches" in screen.shown[-1][0]:
                break
        view.stop()
        view.stop()
        n = len(screen.shown)
        writer.close()
        await asyncio.sleep(0.05)
        assert len(screen.shown) == n, "drawn after stop()"

    asyncio.run(cells())
    assert "2 batches" in screen.shown[-1][0]


def test_in_a_terminal_a_line_is_printed_for_each_change_and_nothing_drawn(tmp_path, capsys):
    writer = begun(tmp_path / "live")
    view = follow(tmp_path / "live", wait=False)
    append(writer, 1)
    rested(view).update()
    rested(view).update()
    writer.close()
    view.update()
    assert capsys.readouterr().out.splitlines() == [
        "live: recording, no batch yet",
        "live: recording, epoch 0, train 1 batch, loss 0.5",
        "live: finished, epoch 0, train 1 batch, loss 0.5",
    ]
    assert isinstance(view._screen, Terminal)


def test_what_cannot_be_followed_is_refused(tmp_path):
    with pytest.raises(ChartError, match="only in memory"):
        follow(synthetic_run())
    with pytest.raises(ChartError, match="on this machine"):
        follow("s3://bucket/run")
    with pytest.raises(ChartError, match="every must be at least 0"):
        follow(tmp_path, every=-1)


def test_an_opened_run_is_followed_where_it_stands(tmp_path, screen):
    writer = begun(tmp_path / "live")
    with actrace.open(tmp_path / "live") as run:
        view = follow(run, wait=False)
    assert view.path == tmp_path / "live.zarr"
    writer.close()


def test_every_word_of_the_cell_is_escaped():
    page = as_html("<i>", [("'\"><script>", PNG)], "<b>&")
    assert "<i>" not in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_cell_is_replaced_in_place(monkeypatch):
    sent = []

    class Handle:
        def update(self, bundle, *, raw):
            sent.append(("update", bundle, raw))

    def display(bundle, *, raw, display_id):
        sent.append(("display", bundle, raw))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    cell = Cell()
    cell.show("one", [], "")
    cell.show("two", [("a picture", PNG)], "oh")
    assert [(kind, raw) for kind, _, raw in sent] == [("display", True), ("update", True)]
    assert sent[0][1] == {"text/plain": "one", "text/html": "<div><p>one</p></div>"}
    assert sent[1][1]["text/plain"] == "two; oh"
    assert "data:image/png;base64," in sent[1][1]["text/html"]
