"""What the charts over time draw: separation, divergence, rates, warning, class peaks."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import Batch, run_from_samples, synthetic_run

import actrace
from actrace.analysis.charts.activity.rates_data import rates_data, warning_data
from actrace.analysis.charts.differing.divergence_data import (
    divergence_data,
    error_data,
    onset_data,
)
from actrace.analysis.charts.grammar.panels import epoch_axis, reach
from actrace.analysis.charts.peaks.class_peaks_data import class_peaks_data
from actrace.analysis.charts.peaks.separation_data import separation_data, worst_classes
from actrace.errors import ChartError


@pytest.fixture(scope="module")
def run():
    return synthetic_run(n_batches=8, n_layers=4)


def lagging_run():
    """A run of four classes in which class 2 is always told wrong."""
    rng = np.random.default_rng(0)
    batches = []
    for i in range(12):
        target = rng.integers(0, 4, 64)
        logits = rng.normal(0, 0.5, (64, 4))
        logits[np.arange(64), target] += np.where(target == 2, -3.0, 6.0)
        batches.append(Batch({"fc": logits}, i // 6, target))
    return run_from_samples({"train": batches, "valid": batches[:4]})


def test_separation_is_what_twin_peaks_says_with_the_ends_of_its_bounds(run):
    data, table = separation_data(run), actrace.twin_peaks(run).compute()
    for name in ("understanding", "d_prime", "overlap", "auc"):
        np.testing.assert_array_equal(data[name], table[name])
    for name in ("overlap", "auc"):
        low = np.clip(table[name] - table[f"{name}_error"], 0, 1)
        np.testing.assert_array_equal(data[f"{name}_low"], low)
        assert (data[f"{name}_low"] <= data[name]).all()
        assert (data[name] <= data[f"{name}_high"] + 1e-12).all()
        assert float(data[f"{name}_high"].max()) <= 1


def test_separation_by_class_holds_the_whole_and_which_class_lags():
    run = lagging_run()
    data, report = separation_data(run, by="class"), actrace.class_report(run).compute()
    np.testing.assert_array_equal(data["accuracy"], report["accuracy"])
    np.testing.assert_array_equal(data["lagging"], report["lagging"])
    assert data["lagging"].sel(phase="train").any("epoch").values.tolist() == [0, 0, 1, 0]
    whole = actrace.twin_peaks(run)["d_prime"].compute()
    np.testing.assert_array_equal(data["d_prime_all"], whole)
    with pytest.raises(ChartError, match="'unit'"):
        separation_data(run, by="unit")


def test_the_worst_classes_are_those_of_the_last_epoch_that_has_them():
    values = np.array([[[9.0, 9, 9, 9], [3, 1, 2, np.nan]]])
    data = xr.Dataset({"d_prime": (("phase", "epoch", "target_class"), values)})
    data["overlap"] = data["d_prime"]
    assert worst_classes(data, "d_prime", 2) == [1, 2]
    assert worst_classes(data, "overlap", 2) == [0, 3]
    assert worst_classes(data, "overlap", 9) == [0, 1, 2, 3]


def test_divergence_is_what_divergence_says_and_outside_is_above_the_band(run):
    data = divergence_data(run, distance="hellinger")
    table = actrace.divergence(run).compute()
    np.testing.assert_array_equal(data["distance"].isel(role=0), table["hellinger"])
    np.testing.assert_array_equal(data["null"].isel(role=0), table["hellinger_null"])
    outside = (table["hellinger"] > table["hellinger_null"]).values
    np.testing.assert_array_equal(data["outside"].isel(role=0), outside)
    by_class = divergence_data(run, by="class")
    assert set(by_class["role"].values) == {"yes", "no"}
    with pytest.raises(ChartError, match="jensen_shannon"):
        divergence_data(run, distance="far")


def test_epochs_without_both_phases_are_left_out():
    rng = np.random.default_rng(0)
    made = [Batch({"fc": rng.normal(0, 1, (8, 3))}, epoch) for epoch in (0, 1, 2, 3)]
    run = run_from_samples({"train": made, "valid": [made[0], made[1], made[3]]}, units=False)
    assert divergence_data(run)["epoch"].values.tolist() == [0, 1, 3]


def test_the_error_of_the_first_phase_and_its_band_stand_under_the_second(run):
    found, sentence = onset_data(run)
    error = error_data(found)
    assert sentence == repr(found)
    np.testing.assert_allclose(
        error["within"], found.series["error"].sel(phase="train") + found.series["gap_null"]
    )
    found, why = onset_data(synthetic_run(n_batches=4, epochs=1))
    assert found is None
    assert "record more epochs" in why


def spotty_run(seed=0, n_batches=11):
    """A run whose layers are called now and then, and die now and then."""
    rng = np.random.default_rng(seed)
    batches = []
    for i in range(n_batches):
        layers = {}
        for name in ("a", "b", "drop"):
            if name == "a" or rng.random() < 0.7:
                samples = int(rng.integers(1, 6))
                alive = rng.random((1, 3)) < 0.6
                layers[name] = rng.normal(0, 1, (samples, 3)) * alive * (name != "drop")
        batches.append(Batch(layers, i // 4))
    return run_from_samples(
        {"train": batches}, layers=["a", "b", "drop"], kinds={"drop": "Dropout"}
    )


def test_a_column_of_one_batch_is_that_batch():
    run = spotty_run()
    data, table = rates_data(run), actrace.rates(run).compute()
    for rate in ("activation_rate", "death_rate"):
        np.testing.assert_allclose(data[rate].values, table[rate].values)
    assert data["right"].values.tolist() == list(range(1, 12))
    assert data["by_design"].values.tolist() == [False, False, True]


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 50), st.integers(1, 12), st.integers(1, 11))
def test_columns_hold_the_weighted_mean_and_the_lowest(seed, n_batches, most):
    run = spotty_run(seed, n_batches)
    data, node = rates_data(run, max_columns=most), run["train"]
    assert data.sizes["column"] <= most
    for column, (left, right) in enumerate(
        zip(data["left"].values, data["right"].values, strict=True)
    ):
        part = node.to_dataset().isel(batch=slice(int(left), int(right)))
        for layer in range(3):
            mine = part.isel(layer=layer)
            seen = ~np.isnan(mine["activation_rate"].values)
            got = data.isel(layer=layer, column=column)
            if not seen.any():
                assert np.isnan(got["activation_rate"])
                assert np.isnan(got["death_rate"])
                continue
            want = np.average(
                mine["activation_rate"].values[seen], weights=mine["elements"].values[seen]
            )
            np.testing.assert_allclose(got["activation_rate"], want, rtol=1e-6)
            assert float(got["death_rate"]) == mine["death_rate"].values[seen].min()


def test_by_epoch_the_rates_are_those_of_the_epoch():
    run = spotty_run()
    data = rates_data(run, by="epoch")
    table = actrace.rates(run, by="epoch").sel(phase="train").compute()
    for rate in ("activation_rate", "death_rate"):
        np.testing.assert_array_equal(data[rate].values, table[rate].values)
    assert data["epoch"].values.tolist() == [0, 1, 2]


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 50))
def test_a_warning_is_the_extreme_of_the_layers_that_count(seed):
    run = spotty_run(seed)
    data, table = warning_data(rates_data(run)), actrace.rates(run).compute()
    for name in ("lowest_activation_rate", "highest_death_rate"):
        np.testing.assert_allclose(data[name].values, table[name].values)
    lowest = table["lowest_activation_layer"].values
    np.testing.assert_array_equal(data["lowest_activation_layer"].values, lowest)
    dead = np.where(table["highest_death_rate"] > 0, table["highest_death_layer"].values, "")
    np.testing.assert_array_equal(data["highest_death_layer"].values, dead)


def test_rates_know_their_phase_and_refuse_another_by(run):
    assert rates_data(run).attrs["phase"] == "train"
    assert rates_data(run, phase="valid").attrs["phase"] == "valid"
    with pytest.raises(ChartError, match="'window'"):
        rates_data(run, by="window")


@pytest.mark.parametrize("by", ["class", "unit"])
def test_class_peaks_are_counted_apart_and_their_areas_are_shares(by):
    run = lagging_run()
    data = class_peaks_data(run, by=by)
    assert data.attrs["epoch"] == 0  # the last that both phases have
    node = run["train/output"].to_dataset().isel(window=[4, 5])
    count = node[f"count_by_{by}"].sum(["window", "bin"])
    dim = {"class": "target_class", "unit": "output_unit"}[by]
    np.testing.assert_array_equal(
        data["elements"].sel(phase="train"), count.transpose(dim, "role").sel(role=["no", "yes"])
    )
    area = data["density"].sum("cell") * (data["value_edge"][:, 1] - data["value_edge"][:, 0])
    np.testing.assert_allclose(area.sum("role"), 1.0, atol=5e-3)
    table = actrace.twin_peaks(run, by=by).sel(epoch=0).compute()
    np.testing.assert_allclose(
        data["mean"].sel(role="yes"), table["mean_yes"].transpose(dim, "phase"), rtol=1e-6
    )
    np.testing.assert_array_equal(data["d_prime"], table["d_prime"].transpose(dim, "phase"))


def test_class_peaks_of_many_classes_are_those_of_the_worst():
    data = class_peaks_data(lagging_run(), most=1)
    assert data["panel"].values.tolist() == ["2"]
    assert data["lagging"].values.all()
    assert data.attrs["n"] == 4
    with pytest.raises(ChartError, match="epoch 7"):
        class_peaks_data(lagging_run(), epoch=7)
    with pytest.raises(ChartError, match="'layer'"):
        class_peaks_data(lagging_run(), by="layer")


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=8))
def test_an_axis_holds_all_that_is_finite_and_has_two_ends(values):
    low, high = reach(values)
    assert low < high
    assert all(low <= value <= high for value in values if np.isfinite(value))
    assert reach(values, low=-2e6)[0] == -2e6


@given(st.sets(st.integers(0, 10_000), max_size=60))
def test_ticks_of_epochs_are_few_whole_and_within(epochs):
    axis = epoch_axis(sorted(epochs))
    assert 1 <= len(axis["xticks"]) <= 8
    for place, label in axis["xticks"]:
        assert axis["xlim"][0] <= place <= axis["xlim"][1]
        assert float(label) == place
