"""In a real JupyterLab, without a network: charts draw, tables show, a live cell follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from tests.analysis.storing import write
from tests.browser.lab import Lab, running
from tests.synthetic import synthetic_run
from torch import nn

import actrace


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab")) as lab:
        write(synthetic_run(n_batches=16, n_layers=3), lab.folder / "good.zarr")
        write(synthetic_run(n_batches=16, n_layers=3, rng=1), lab.folder / "other.zarr")
        yield lab


def drawn(output: Locator) -> Locator:
    """Return the frame of a chart, when bokeh has drawn all of it."""
    frame = output.locator("iframe")
    frame.wait_for()
    inside = frame.content_frame
    expect(inside.locator("canvas").first).to_be_visible()
    frame.scroll_into_view_if_needed()
    page = output.page
    for _ in range(600):
        if inside.locator(":root").evaluate(
            "() => window.Bokeh?.documents?.length > 0 && Bokeh.documents.every(d => d.is_idle)"
        ):
            return frame
        page.wait_for_timeout(100)
    raise AssertionError("bokeh is still drawing after a minute")


def test_charts_and_answers_show_in_a_fresh_notebook(
    lab: Lab, page: Page, same_picture: Callable[..., None]
) -> None:
    notebook = lab.open(
        page,
        "charts",
        [
            "import actrace\nrun = actrace.open('good')\nrun",
            "actrace.colorful_chart(run, layer='fc')",
            "actrace.twin_peaks_chart(run)",
            "actrace.diagnose(run)",
            "actrace.runs()",
        ],
    )
    notebook.run_all()
    notebook.finished(4, 5)
    assert "3 epochs" in notebook.output(0).inner_text()
    same_picture(drawn(notebook.output(1)), "jupyterlab-colorful")
    same_picture(drawn(notebook.output(2)), "jupyterlab-twin-peaks")
    assert notebook.output(3).locator("table").count()
    assert "other" in notebook.output(4).locator("table").inner_text()


def test_a_live_cell_follows_a_training_until_it_ends(
    lab: Lab, page: Page, same_picture: Callable[..., None]
) -> None:
    notebook = lab.open(
        page,
        "live",
        [
            "import actrace\nbetween = actrace.follow('live', every=0.2, wait=False)",
            "actrace.follow('live', every=0.2, epochs=1)",
            "'after'",
        ],
    )
    notebook.run_all()
    expect(notebook.output(1)).to_contain_text("live: not there yet")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    loss_fn = nn.CrossEntropyLoss()
    recorder = actrace.record(model, lab.folder / "live", criterion=loss_fn)

    def train(n: int) -> None:
        for _ in range(n):
            loss_fn(model(torch.randn(32, 4)), torch.randint(0, 3, (32,)))
        recorder.flush()

    train(8)
    expect(notebook.output(1)).to_contain_text("live: recording, epoch 0, train 8 batches")
    pictures = notebook.output(1).locator("img")
    expect(pictures).to_have_count(2)
    first = pictures.first.get_attribute("src")
    train(16)
    expect(notebook.output(1)).to_contain_text("train 24 batches")
    expect(pictures.first).not_to_have_attribute("src", first)
    recorder.close()
    expect(notebook.output(1)).to_contain_text("live: finished, epoch 0, train 24 batches")
    notebook.finished(2, 3)
    # The view of the first cell waited for the kernel to be idle, and is drawn now.
    expect(notebook.output(0)).to_contain_text("live: finished, epoch 0, train 24 batches")
    same_picture(pictures.first, "jupyterlab-live")


def test_an_interrupted_live_cell_says_so_and_leaves_the_training_alone(
    lab: Lab, page: Page
) -> None:
    model = nn.Linear(4, 3)
    with actrace.record(model, lab.folder / "interrupted") as recorder:
        model(torch.zeros(8, 4))
        recorder.flush()
        notebook = lab.open(
            page,
            "interrupted",
            ["import actrace\nactrace.follow('interrupted', every=0.2, epochs=0)", "1"],
        )
        notebook.command("notebook:run-cell")
        expect(notebook.output(0)).to_contain_text("interrupted: recording")
        expect(notebook.output(0).locator("img").first).to_be_visible()
        notebook.command("notebook:interrupt-kernel")
        expect(notebook.output(0)).to_contain_text("no longer followed")
        notebook.finished(0, 1)
        assert "Traceback" not in notebook.output(0).inner_text()
        model(torch.zeros(8, 4))
    assert actrace.open(Path(lab.folder) / "interrupted").n_batches("train") == 2


def test_a_loop_in_the_notebook_draws_after_each_epoch(lab: Lab, page: Page) -> None:
    notebook = lab.open(
        page,
        "loop",
        [
            "import actrace, torch\nfrom torch import nn\n"
            "model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()\n"
            "recorder = actrace.record(model, 'loop', criterion=loss_fn)\n"
            "view = actrace.follow(recorder, layer='nothing')\n"
            "for epoch in range(3):\n"
            "    loss_fn(model(torch.zeros(8, 4)), torch.zeros(8, dtype=torch.long))\n"
            "    view.update()\n"
            "recorder.close()\n"
            "view.update()\n"
            "'trained'",
        ],
    )
    notebook.run_all()
    notebook.finished(0, 1)
    expect(notebook.output(0)).to_contain_text("loop: finished, epoch 0, train 3 batches")
    expect(notebook.output(0)).to_contain_text("layer 'nothing' is not in this run")
    expect(notebook.output(0)).to_contain_text("'trained'")
