"""What the colorful-dimension chart draws: mass, places, lines and notes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.charts.colorful.data import (
    SCALES,
    TRIM,
    colorful_data,
    colorful_layers,
    from_position,
    to_position,
)
from actrace.errors import ChartError, LayerNotFoundError, PhaseNotFoundError
from actrace.store.axis import Asinh, Linear


def one_layer(*batches, axis=None, layers=("a",), epoch=None):
    made = [
        Batch({} if x is None else {"a": np.asarray(x)}, 0 if epoch is None else epoch[i])
        for i, x in enumerate(batches)
    ]
    # A phase needs one called layer for its number of samples.
    for batch in made:
        batch.activations = dict(batch.activations) | {"other": np.ones((4, 2))}
    return run_from_samples(
        {"train": made}, layers=[*layers, "other"], axis=axis, output="other", units=False
    )


def conserved(data):
    drawn = data["count"].sum("value") + data["below"] + data["above"] + data["nan"]
    np.testing.assert_allclose(drawn, data["elements"], rtol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("value_range", [None, (-0.7, 1.3), (5.0, 6.0), (-1e6, 1e6)])
def test_every_element_is_in_the_picture_or_counted_outside_it(scale, value_range):
    rng = np.random.default_rng(0)
    x = [rng.standard_t(2, (16, 8)) * 10.0 ** rng.integers(-3, 5) for _ in range(21)]
    x[3][0, :4] = [np.nan, np.inf, -np.inf, 2e5]
    run = one_layer(*x)
    data = colorful_data(run, layer="a", scale=scale, value_range=value_range, max_columns=6)
    conserved(data)
    np.testing.assert_array_equal(
        data["elements"], [sum(v.size for v in x[i : i + 4]) for i in range(0, 21, 4)]
    )
    assert (data["count"] >= 0).all()
    assert (data["below"] >= 0).all()
    assert (data["above"] >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(2, 60),
    st.sampled_from([Asinh(), Asinh(-5, 5, 31), Linear(-3, 3, 40), Linear(0, 1, 300)]),
    st.sampled_from(SCALES),
    st.integers(0, 99),
)
def test_mass_is_conserved_on_any_axis_and_size(n, columns, rows, axis, scale, seed):
    rng = np.random.default_rng(seed)
    run = one_layer(*[rng.normal(0, 2, (3, 4)) for _ in range(n)], axis=axis)
    data = colorful_data(run, layer="a", scale=scale, max_columns=columns, max_rows=rows)
    conserved(data)
    assert data.sizes["column"] <= columns
    assert data.sizes["value"] <= max(rows, 8)


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_equally_wide_along_the_drawn_axis(scale):
    data = colorful_data(synthetic_run(), layer="conv0", scale=scale)
    steps = np.diff(data["position_edge"])
    np.testing.assert_allclose(steps, steps[0])
    width = data.attrs["linear_width"]
    np.testing.assert_allclose(
        to_position(data["value_edge"].values, scale, width), data["position_edge"], atol=1e-12
    )
    np.testing.assert_allclose(
        from_position(data["position_edge"].values, scale, width), data["value_edge"], atol=1e-9
    )


def test_one_normal_shows_one_ridge_on_unequal_bins():
    """Counts of the asinh bins have two maxima; what is drawn has one, at the mean."""
    x = np.random.default_rng(0).normal(0.0, 1.0, (1000, 200))
    run = one_layer(x)
    raw = run["train/count"].sel(layer="a").values[:, 0]
    edges = Asinh().edges
    assert raw[np.searchsorted(edges, 0.0)] < 0.6 * raw.max()
    data = colorful_data(run, layer="a", max_rows=40)
    column = data["shown"].values[:, 0]
    middle = (data["value_edge"].values[1:] + data["value_edge"].values[:-1]) / 2
    assert abs(middle[column.argmax()]) < 0.4
    rising = np.diff(column[np.abs(middle) < 3]) > 0
    assert rising[: len(rising) // 2 - 2].all()
    assert not rising[len(rising) // 2 + 2 :].any()


def test_a_linear_axis_keeps_its_own_bins():
    """Bins that are equally wide already are drawn as they were counted."""
    axis = Linear(-4, 4, 40)
    x = np.random.default_rng(0).normal(0, 1, (64, 4))
    data = colorful_data(one_layer(x, axis=axis), layer="a")
    drawn = data["count"].values[:, 0]
    want, _ = np.histogram(x, axis.edges)
    np.testing.assert_allclose(drawn[drawn > 0], want[want > 0])


def test_asinh_is_drawn_as_density():
    data = colorful_data(synthetic_run(n_batches=4), layer="fc", scale="asinh")
    whole = (data["shown"] * np.diff(data["value_edge"])[:, None]).sum("value")
    np.testing.assert_allclose(whole, data["elements"])
    assert data["shown"].attrs["long_name"] == "elements per activation unit"


def test_colour_is_a_mean_over_the_columns_batches():
    data = colorful_data(synthetic_run(n_batches=7, epochs=3), layer="conv0", max_columns=6)
    assert data["batches"].values.tolist() == [4, 4, 4, 4, 4, 1]
    np.testing.assert_allclose(data["shown"].sum("value"), 32 * 6 * 9)
    assert data["shown"].attrs["long_name"] == "elements per cell, mean of 4 batches"


def test_epochs_begin_at_their_first_batch():
    run = one_layer(*np.zeros((7, 2, 2)), epoch=[0, 0, 0, 1, 1, 3, 3])
    data = colorful_data(run, layer="a", max_columns=2)
    assert data["epoch"].values.tolist() == [0, 1, 3]
    assert data["epoch_start"].values.tolist() == [0, 3, 5]
    part = colorful_data(run, layer="a", batches=(4, 7))
    assert part["epoch"].values.tolist() == [1, 3]
    assert part["epoch_start"].values.tolist() == [4, 5]


def test_mean_and_extremes_are_those_of_the_samples():
    x = np.random.default_rng(3).normal(2, 3, (10, 6, 5)).astype(np.float32)
    data = colorful_data(one_layer(*x), layer="a", max_columns=5)
    for c in range(5):
        part = x[2 * c : 2 * c + 2].astype(np.float64)
        for name in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(data[name][c], getattr(np, name)(part), rtol=1e-5)


def test_one_stray_element_does_not_squeeze_the_picture_and_is_counted():
    x = np.random.default_rng(0).normal(0, 1, (3, 400, 50))
    x[1, 0, 0] = 900.0
    data = colorful_data(one_layer(*x), layer="a")
    assert data["value_edge"].values[-1] < 10
    assert data["above"].values[1] >= 1
    assert data["above"].max() <= 1 + TRIM * x[0].size


def test_one_stray_of_a_few_hundred_elements_leaves_the_picture_and_of_a_few_stays():
    rng = np.random.default_rng(0)
    for size, top in ((256, 10), (16, 900)):
        x = rng.normal(0, 1, (3, 4, size // 4))
        x[1, 0, 0] = 900.0
        data = colorful_data(one_layer(*x), layer="a")
        assert (data["value_edge"].values[-1] > top) == (top == 900)
        conserved(data)


def test_a_spike_of_a_whole_batch_stays_in_the_picture():
    x = np.random.default_rng(0).normal(0, 1, (9, 64, 50))
    x[4] *= 50
    data = colorful_data(one_layer(*x), layer="a")
    assert data["value_edge"].values[-1] > 150
    assert not data["above"].any()


def test_a_constant_layer_is_a_band_in_a_wider_picture():
    data = colorful_data(one_layer(np.full((8, 8), 3.0)), layer="a")
    held = data["count"].values[:, 0] > 0
    assert 0 < held.mean() < 0.3
    assert data["value_edge"].values[0] < 2.9 < 3.1 < data["value_edge"].values[-1]


@pytest.mark.parametrize(
    ("batch", "note"),
    [
        (None, "never called"),
        (np.zeros(0), "no elements"),
        (np.zeros((4, 4)), "zero throughout"),
        (np.full((4, 4), np.nan), "NaN throughout"),
        (np.full((4, 4), 9e9), "all outside the axis"),
        (np.full((4, 4), -np.inf), "all outside the axis"),
        (np.ones((4, 4)), ""),
    ],
)
def test_a_layer_with_nothing_to_see_says_why(batch, note):
    for scale in SCALES:
        data = colorful_data(one_layer(batch), layer="a", scale=scale)
        assert data.attrs["note"] == note
        conserved(data)
        assert np.isfinite(data["position_edge"]).all()


def test_layers_come_in_the_runs_order_and_one_at_a_time():
    run = synthetic_run(n_layers=4)
    datasets = colorful_layers(run, layers=["fc", "conv*"])
    assert iter(datasets) is datasets
    assert [data.attrs["layer"] for data in datasets] == ["conv0", "conv1", "conv2", "fc"]


def test_the_picture_does_not_depend_on_chunks():
    run, lazy = synthetic_run(), synthetic_run(chunks={"batch": 3, "layer": 1})
    assert colorful_data(run, layer="fc").equals(colorful_data(lazy, layer="fc"))


def test_what_cannot_be_drawn_is_refused_with_what_can():
    run = synthetic_run(n_batches=2)
    with pytest.raises(ChartError, match=r"'linear', 'asinh'.*'log'"):
        colorful_data(run, layer="fc", scale="log")
    for bad in ((1, 1), (2, -2), (0, np.inf), (np.nan, 1)):
        with pytest.raises(ChartError, match="low, high"):
            colorful_data(run, layer="fc", value_range=bad)
    with pytest.raises(ChartError, match="max_rows"):
        colorful_data(run, layer="fc", max_rows=1)
    with pytest.raises(LayerNotFoundError, match="fc9"):
        colorful_data(run, layer="fc9")
    with pytest.raises(PhaseNotFoundError, match="test"):
        colorful_data(run, layer="fc", phase="test")
