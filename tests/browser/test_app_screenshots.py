"""What the app's views look like, light at 1280 pixels and dark at 1920."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.analysis.storing import write
from tests.browser.app_server import serving
from tests.browser.page_state import settled
from tests.synthetic import synthetic_run

from actrace.analysis.app.view import View

#: Picture -> what it shows.
VIEWS = {
    "table": View(),
    "layer": View("run", run="digits/suits", section="layer", layer="conv0", mark="all"),
    "rates": View("run", run="digits/suits", section="rates"),
    "comparison": View("compare", runs=("digits/suits", "digits/far-too-high")),
}


def record(path: Path, gap: float, rng: int, **attributes: object) -> None:
    """Write a run that looks the same on any day."""
    about = {"status": "finished", "tags": ["demo"]} | attributes
    write(synthetic_run(n_batches=24, n_layers=5, gap=gap, rng=rng, attributes=about), path)
    # The writer says when it was closed.
    root = json.loads((path / "zarr.json").read_text("utf-8"))
    root["attributes"]["ended"] = attributes["ended"]
    (path / "zarr.json").write_text(json.dumps(root), "utf-8")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    runs = tmp_path_factory.mktemp("seen") / "runs"
    record(
        runs / "digits" / "suits.zarr", 2.0, 0,
        started="2026-01-05T09:30:00+00:00", ended="2026-01-05T09:48:12+00:00",
        note="a learning rate that suits", config={"lr": 0.05, "batch_size": 64},
    )  # fmt: skip
    record(
        runs / "digits" / "far-too-high.zarr", 0.2, 1,
        started="2026-01-05T10:10:00+00:00", ended="2026-01-05T10:27:31+00:00",
        note="far too high a learning rate", config={"lr": 4.0, "batch_size": 64},
    )  # fmt: skip
    (runs / "damaged.zarr").mkdir()
    (runs / "damaged.zarr" / "zarr.json").write_text('{"attributes":', "utf-8")
    with serving(runs) as url:
        yield url


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1920, True)], ids=["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_looks_as_committed(
    new_page: Callable[..., Page],
    same_picture: Callable[..., None],
    url: str,
    name: str,
    width: int,
    dark: bool,
) -> None:
    page = new_page(width, 900, dark=dark)
    page.goto(url + VIEWS[name].query())
    settled(page)
    # Where the runs are differs from one test run to the next.
    page.locator("h1").first.evaluate(
        "(one) => { one.textContent = one.textContent.replace(/ in .*/, ' in runs') }"
    )
    same_picture(page, f"app-{name}-{'dark' if dark else 'light'}", full_page=True)
