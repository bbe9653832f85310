"""What is shown of a part in view: right, sharp enough, and no more of it read than that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.levels.test_levels import write
from tests.synthetic import synthetic_run

from actrace.analysis.charts.colorful.cells import to_position
from actrace.analysis.charts.colorful.data import COUNTERS, colorful_data
from actrace.analysis.charts.colorful.read_off import readings
from actrace.analysis.charts.zoom.data import MARGIN, Lens
from actrace.errors import DamagedRunError
from actrace.store.levels import ladder
from actrace.store.reader import open_run

N = 640
LAYER = "layer1"
OUTSIDE = ("underflow", "overflow", "nan", "posinf", "neginf")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "FEWEST", 1)
        return write(tmp_path_factory.mktemp("zoom") / "a", N)


@pytest.fixture(scope="module")
def run(path):
    with open_run(path) as found:
        yield found


@pytest.fixture(scope="module")
def batches(run):
    """Return the layer's numbers batch by batch, as they were recorded."""
    return run["train"].to_dataset(inherit=False).isel(layer=1).load()


def lens(run, *, columns=40, rows=60, **options):
    return Lens(run, colorful_data(run, layer=LAYER, **options), max_columns=columns, max_rows=rows)


def ends(overview):
    edge = overview["position_edge"].values
    return float(edge[0]), float(edge[-1])


@pytest.mark.parametrize(
    ("across", "width"),
    [
        ((0, 640), 16),
        ((0, 600), 16),
        ((0, 320), 8),
        ((100.4, 139.6), 1),
        ((100, 141), 2),
        ((300, 301), 1),
        ((-50, 20), 1),
        ((630, 900), 1),
    ],
)
def test_columns_are_as_sharp_as_there_is_room_for(run, across, width):
    seen = lens(run)
    data = seen.look(across, ends(seen.overview))
    assert data.attrs["batches_per_column"] == width
    first, stop = int(data["first_batch"][0]), int(data["first_batch"][-1] + data["batches"][-1])
    margin = MARGIN * (min(across[1], N) - max(across[0], 0))
    assert first % width == 0
    assert first <= max(0, across[0] - margin)
    assert stop >= min(N, across[1] + margin)
    assert (data["batches"][:-1] == width).all()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.floats(-100, 800), st.floats(-100, 800)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from(["linear", "asinh"]),
)
def test_every_element_of_a_column_is_in_the_picture_or_told_to_be_outside(
    run, batches, across, share, scale
):
    """Against sums of the batches, one column after another."""
    seen = lens(run, scale=scale)
    low, high = ends(seen.overview)
    up = low + share[0] * (high - low), low + share[1] * (high - low)
    data = seen.look(across, up)
    for at, (first, n) in enumerate(
        zip(data["first_batch"].values, data["batches"].values, strict=True)
    ):
        part = batches.isel(batch=slice(first, first + n))
        column = data.isel(column=at)
        assert int(column["elements"]) == int(part["elements"].sum())
        assert int(column["nan"]) == int(part["nan"].sum())
        shown = sum(float(column[name].sum()) for name in ("count", "below", "above", "nan"))
        assert shown == pytest.approx(float(part["elements"].sum()), rel=1e-9, abs=1e-6)
        known = part["min"].values[np.isfinite(part["min"].values)]
        if known.size:
            assert float(column["min"]) == known.min()
    # Hovering tells counts from colours.
    back = data["shown"] * data["batches"] * data["size"]
    np.testing.assert_allclose(back.transpose(*data["count"].dims), data["count"], atol=1e-6)


def test_single_batches_are_those_recorded(run, batches):
    """Where the bins are equally wide, whole bins are the cells, count for count."""
    seen = lens(run, rows=10_000)
    data = seen.look((200, 230), ends(seen.overview))
    assert data.attrs["batches_per_column"] == 1
    cells = data["value_edge"].values
    for at, first in enumerate(data["first_batch"].values):
        for i, (left, right) in enumerate(
            zip(run["bin_left"].values, run["bin_right"].values, strict=True)
        ):
            (cell,) = np.flatnonzero(np.isclose(cells[:-1], left))
            assert cells[cell + 1] == pytest.approx(right)
            assert data["count"].values[cell, at] == batches["count"].values[i, first]
        np.testing.assert_array_equal(data["mean"].values[at], batches["mean"].values[first])


@pytest.mark.parametrize("scale", ["linear", "asinh"])
def test_a_part_of_the_value_axis_has_finer_cells_of_the_same_colours(scale):
    run = synthetic_run(n_batches=6)
    overview = colorful_data(run, layer="fc", scale=scale, max_rows=12)
    seen = Lens(run, overview, max_rows=12)
    low, high = ends(overview)
    whole = seen.look((0, 18), (low, high))
    np.testing.assert_array_equal(whole["value_edge"], seen.overview["value_edge"])
    up = low + 0.4 * (high - low), low + 0.6 * (high - low)
    part = seen.look((0, 18), up)
    place = part["position_edge"].values
    assert low <= place[0] <= up[0] < up[1] <= place[-1] <= high
    assert np.diff(place).max() < np.diff(whole["position_edge"]).min()
    np.testing.assert_allclose(
        to_position(part["value_edge"].values, scale, part.attrs["linear_width"]), place, atol=1e-9
    )
    # Elements per height of the axis, whatever the cells.
    colour = part["shown"] * part["size"] * part["batches"]
    np.testing.assert_allclose(colour.transpose("value", "column"), part["count"], atol=1e-6)
    if scale == "linear":
        assert float(part["size"][0]) == pytest.approx(
            np.diff(place)[0] / np.diff(seen.overview["position_edge"])[0]
        )


def test_a_view_beyond_the_axis_shows_all_of_it(run):
    seen = lens(run)
    low, high = ends(seen.overview)
    for up in ((high + 1, high + 2), (low - 5, high + 5)):
        np.testing.assert_array_equal(
            seen.look((0, 40), up)["value_edge"], seen.overview["value_edge"]
        )


def test_epochs_of_the_columns(run, batches):
    seen = lens(run)
    data = seen.look((100, 170), ends(seen.overview))
    assert data.attrs["batches_per_column"] == 2
    found = readings(data)
    epoch = batches["epoch"].values
    for at, (first, n) in enumerate(
        zip(data["first_batch"].values, data["batches"].values, strict=True)
    ):
        assert found["epoch_first"][0][at] == epoch[first]
        assert found["epoch_last"][0][at] == epoch[first + n - 1]
    edge = found["batch_edge"][0]
    assert (edge[0], len(edge)) == (data["first_batch"][0], data.sizes["column"] + 1)
    begins = np.flatnonzero(np.diff(epoch)) + 1
    np.testing.assert_array_equal(
        data["epoch_start"].values[1:], begins[(begins > edge[0]) & (begins < edge[-1])]
    )


def test_no_more_is_read_than_the_view_needs(path):
    """Batches that are gone are not missed by a wide view, and those far off by none."""
    count = path / "train" / "count"
    with open_run(path) as run:
        seen = lens(run)
        low, high = ends(seen.overview)
        count.rename(count.with_name("elsewhere"))
        try:
            assert seen.look((0, N), (low, high))["count"].values.any()
            with pytest.raises(DamagedRunError):
                seen.look((0, 40), (low, high))
        finally:
            count.with_name("elsewhere").rename(count)


def test_counters_that_a_picture_needs_are_all_in_a_level(run):
    level = run.stored("train", 16)
    assert set(COUNTERS) <= set(level)
    assert level["count"].chunks is None
    assert run.at_level("train", 16)["count"].chunks is not None
