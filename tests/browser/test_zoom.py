"""In a real browser: zooming draws a finer level, and hovering tells the right numbers."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.store.generate import Plan, write_run
from benchmarks.zoom import chart, place_of, serving, sharp

from actrace.store.reader import open_run

N = 3000
LAYER = "layer1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoomed")
    write_run(folder / "long.zarr", Plan(batches=N, layers=2, bins=64, seed=1))
    return folder


def told(page, batch, position):
    """Return what hovering at a batch and a place of the value axis says, row by row."""
    page.mouse.move(*place_of(page, batch, position))
    rows = page.locator(".bk-tooltip-row-label")
    rows.first.wait_for()
    values = page.locator(".bk-tooltip-row-value").all_inner_texts()
    names = [name.strip().rstrip(":") for name in rows.all_inner_texts()]
    return dict(zip(names, [value.strip() for value in values], strict=True))


def number(text):
    return float(text.replace(",", ""))


def assert_told(page, run, first, stop):
    """Hover over the fullest cell of the column of some batches, and check every row."""
    edge, low, tall = page.evaluate(
        "() => { const at = zoom.data(); return [[...at.value_edge[0]], at.y[0], at.dh[0]] }"
    )
    part = run["train"].to_dataset(inherit=False).isel(batch=slice(first, stop), layer=1)
    bins = np.append(run["bin_left"].values, run["bin_right"].values[-1])
    below = np.append(0, np.cumsum(part["count"].values.sum(axis=-1)))
    cells = np.diff(np.interp(edge, bins, below))
    row = int(cells.argmax())
    said = told(page, (first + stop) / 2, low + tall * (row + 0.5) / len(cells))
    batches = [number(text) for text in said["batch"].split(" to ")]
    assert batches == ([first] if stop == first + 1 else [first, stop - 1])
    (epoch,) = np.unique(part["epoch"].values)
    assert number(said["epoch"]) == epoch
    values = [number(text) for text in said["value"].split(" to ")]
    assert values == pytest.approx(edge[row : row + 2], rel=1e-3)
    elements = said["elements"].removesuffix(" a batch")
    if stop > first + 1:
        elements, _, mean = elements.rpartition(", ")
        assert number(mean) == pytest.approx(cells[row] / (stop - first), rel=1e-3)
    assert number(elements) == pytest.approx(cells[row], rel=1e-3, abs=0.51)


def test_a_zoom_draws_single_batches_and_hovering_tells_their_numbers(runs, page):
    with serving(runs) as url, open_run(runs / "long") as run:
        chart(page, url, "long", LAYER)
        assert_told(page, run, 1600, 1604)
        left, top, wide, tall = page.evaluate("() => zoom.box()")
        page.mouse.move(left + wide * 1600 / N, top + tall / 2)
        while page.evaluate("() => zoom.view()[1] - zoom.view()[0]") > 100:
            page.mouse.wheel(0, -400)
            assert sharp(page, N) is not None
        # What was drawn before may be as sharp: of this view it has no more than a margin.
        page.wait_for_function("() => zoom.data().batch_edge[0].length < 200")
        batch = page.evaluate("() => [...zoom.data().batch_edge[0]]")
        assert (np.diff(batch) == 1).all()
        assert_told(page, run, 1600, 1601)
        page.get_by_title("Reset", exact=True).first.click()
        assert sharp(page, N) is not None
        assert page.evaluate("() => zoom.view().slice(0, 2)") == [0, N]
        assert_told(page, run, 1600, 1604)
