"""The map of units: what its cells hold, and that both backends draw it."""

import holoviews as hv
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.charts.activity.units import units_chart
from actrace.analysis.charts.activity.units_data import units_data
from actrace.analysis.charts.showing.save import save_chart
from actrace.analysis.dead_units import dead_units
from actrace.errors import ChartError, LayerNotFoundError, NotRecordedError


def run_of(alive, *, samples=4, window=1, epochs=None):
    """Return a run whose unit u of batch j has the first alive[u, j] of its samples active."""
    alive = np.asarray(alive)
    batches = []
    for j in range(alive.shape[1]):
        x = (np.arange(samples)[:, None] < alive[:, j]).astype(np.float32)
        batches.append(Batch({"a": x}, 0 if epochs is None else epochs[j]))
    return run_from_samples({"train": batches}, window=window)


def test_rows_are_units_and_colour_is_their_share_of_active_elements():
    alive = np.array([[4, 2, 0, 0], [1, 1, 1, 1], [4, 4, 4, 0]])
    data = units_data(run_of(alive), layer="a", sort="index")
    np.testing.assert_array_equal(data["share"], alive / 4)
    np.testing.assert_array_equal(data["dead"], alive == 0)
    np.testing.assert_allclose(data["dead_share"], (alive == 0).mean(axis=0))
    assert data["start"].values.tolist() == [0, 1, 2, 3]
    assert data["channel"].values.tolist() == [0, 1, 2]


def test_the_first_to_die_are_on_top_and_then_the_least_active():
    alive = np.array([[4, 4, 4, 4], [4, 4, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [4, 0, 4, 0]])
    assert units_data(run_of(alive), layer="a")["channel"].values.tolist() == [2, 1, 4, 3, 0]


def test_who_is_dead_at_the_end_is_what_dead_units_says():
    run = synthetic_run()
    for layer in ("conv0", "fc"):
        data = units_data(run, layer=layer, by=4)
        found = dead_units(run, layers=layer, by=4, phase="train")["dead"].values
        assert (data["dead"].values[:, -1] > 0).sum() == found.sum()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_pooled_rows_and_columns_keep_the_counts(n, batches, max_rows, max_columns, seed):
    alive = np.random.default_rng(seed).integers(0, 3, (n, batches))
    run = run_of(alive)
    one = units_data(run, layer="a", sort="index", max_columns=max_columns)
    data = units_data(run, layer="a", sort="index", max_columns=max_columns, max_rows=max_rows)
    assert data.sizes["row"] <= max_rows
    assert data.sizes["column"] <= max_columns
    np.testing.assert_array_equal(data["dead"].sum("row"), one["dead"].sum("row"))
    assert (data["called"].sum("row") == n).all()
    pool = data.attrs["units_per_row"]
    width = data.attrs["width"]
    for row in range(data.sizes["row"]):
        for column in range(data.sizes["column"]):
            part = alive[row * pool : (row + 1) * pool, column * width : (column + 1) * width]
            assert data["share"].values[row, column] == pytest.approx(part.mean() / 4)


def test_columns_are_epochs_where_asked_and_as_long_as_what_was_recorded_together():
    run = run_of(np.ones((2, 7)), window=3, epochs=[0, 0, 0, 0, 1, 1, 1])
    assert units_data(run, layer="a", by="epoch")["start"].values.tolist() == [0, 1]
    assert units_data(run, layer="a").attrs["width"] == 4
    with pytest.raises(ValueError, match="windows of up to 3"):
        units_data(run, layer="a", by=2)


def test_what_was_not_called_is_neither_active_nor_dead():
    batches = [
        Batch({"b": np.ones((2, 2)), **({"a": np.ones((2, 3))} if j != 1 else {})})
        for j in range(3)
    ]
    data = units_data(run_from_samples({"train": batches}), layer="a")
    assert np.isnan(data["share"].values[:, 1]).all()
    assert not data["dead"].values.any()
    assert np.isnan(data["dead_share"].values[1])


def test_it_does_not_depend_on_chunks():
    run, lazy = synthetic_run(), synthetic_run(chunks={"window": 3, "unit": 2})
    assert units_data(run, layer="conv0").equals(units_data(lazy, layer="conv0"))


def test_it_draws_in_both_backends_and_says_what_is_what(tmp_path):
    run = synthetic_run(n_batches=4, n_layers=3)
    large = units_chart(run, layer="conv0")
    said = " ".join(
        str(text)
        for labels in large.traverse(lambda x: x, [hv.Labels])
        for text in labels.dimension_values(2)
    )
    assert "share of active elements" in said
    assert "died first" in said
    for i, chart in enumerate([large, units_chart(run, by="epoch", sort="index")]):
        assert save_chart(chart, tmp_path / f"{i}.png", dpi=30).stat().st_size > 1000
        save_chart(chart, tmp_path / f"{i}.html")


def test_one_batch_many_units_and_empty_runs_draw(tmp_path):
    many = run_of(np.random.default_rng(0).integers(0, 2, (4096, 1)))
    save_chart(units_chart(many, layer="a"), tmp_path / "many.png", dpi=30)
    image = units_chart(many, layer="a").traverse(lambda x: x, [hv.Image])[-1]
    assert image.interface.shape(image, gridded=True) == (256, 1)
    empty = units_chart(run_from_samples({}, layers=["a"]))
    assert "no batch" in str(empty.traverse(lambda x: x, [hv.Labels])[0].dimension_values(2))


def test_what_cannot_be_drawn_is_refused():
    run = synthetic_run(n_batches=2)
    with pytest.raises(ChartError, match="not both"):
        units_chart(run, layer="fc", layers="fc")
    with pytest.raises(ChartError, match="fits 2 layers"):
        units_chart(run, layer="conv*")
    with pytest.raises(ChartError, match="sort"):
        units_chart(run, layer="fc", sort="name")
    with pytest.raises(LayerNotFoundError, match="fc9"):
        units_chart(run, layer="fc9")
    with pytest.raises(NotRecordedError, match="unit"):
        units_chart(synthetic_run(n_batches=2, units=False), layer="fc")
