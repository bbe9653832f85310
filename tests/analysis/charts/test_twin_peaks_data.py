"""What the twin-peaks chart draws: curves, means, shares, and which epochs."""

import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.charts.peaks.twin_peaks_data import choose_epochs, twin_peaks_data
from actrace.analysis.kernels.peaks import peak_curve, peaks_of
from actrace.analysis.select import bin_edges
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import (
    ChartError,
    LayerNotFoundError,
    NotRecordedError,
    PhaseNotFoundError,
)


def test_area_under_a_role_is_its_share_of_the_outputs():
    data = twin_peaks_data(synthetic_run(n_batches=16, samples=64))
    area = (data["density"] * data["value_edge"].diff("edge").rename(edge="cell")).sum("cell")
    np.testing.assert_allclose(area.sum("role"), 1.0, atol=2e-3)
    np.testing.assert_allclose(area.sel(role="yes"), data["share_yes"], atol=2e-3)


def test_numbers_are_those_that_twin_peaks_answers():
    run = synthetic_run(n_batches=8)
    data, table = twin_peaks_data(run), twin_peaks(run).compute()
    for name in ("understanding", "share_yes", "accuracy"):
        np.testing.assert_array_equal(data[name], table[name].transpose("epoch", "phase"))
    for role in ("yes", "no"):
        np.testing.assert_allclose(
            data["mean"].sel(role=role),
            table[f"mean_{role}"].transpose("epoch", "phase"),
            rtol=1e-12,
        )


def test_train_is_the_last_quarter_and_valid_is_all_batches():
    """Only the batches of the chart's window have an output of their own."""
    quiet, loud = np.zeros((4, 2)), np.full((4, 2), 5.0)
    target = np.zeros(4, np.int64)
    train = [Batch({"fc": loud if i >= 6 else quiet}, 0, target) for i in range(8)]
    valid = [Batch({"fc": loud if i >= 6 else quiet}, 0, target) for i in range(8)]
    for labelled in (True, False):
        if not labelled:
            for batch in (*train, *valid):
                batch.target = None
        data = twin_peaks_data(run_from_samples({"train": train, "valid": valid}))
        mean = data["mean"].isel(epoch=0, role=0)
        assert float(mean.sel(phase="train")) == 5.0
        assert float(mean.sel(phase="valid")) == 1.25


def test_curves_are_those_in_which_peaks_are_searched():
    run = synthetic_run(n_batches=8, labelled=False, gap=3.0, samples=256)
    data = twin_peaks_data(run, phases="valid")
    edges = bin_edges(run)
    for epoch in data["epoch"].values:
        part = run["valid"].to_dataset().isel(batch=run["valid/epoch"].values == epoch)
        count = part["count"].sel(layer="fc").sum("batch").values
        want = peak_curve(count, edges, grid=data["value_edge"].sel(epoch=epoch).values).value
        drawn = data["density"].sel(epoch=epoch, phase="valid", role="all")
        np.testing.assert_allclose(drawn, want)
        assert int(data["peaks"].sel(epoch=epoch, phase="valid")) == len(peaks_of(count, edges))
    assert data["peaks"].values[-1, 0] == 2


def test_one_normal_shows_one_peak():
    x = np.random.default_rng(0).normal(0, 1, (5000, 20))
    data = twin_peaks_data(run_from_samples({"train": [Batch({"fc": x})]}))
    curve = data["density"].values[0, 0, 0]
    visible = curve > 0.01 * curve.max()
    turns = np.diff(np.sign(np.diff(curve[visible])))
    assert (turns < 0).sum() == 1
    assert data["peaks"].values.tolist() == [[1]]


@pytest.mark.parametrize("task", ["single-label", "binary", "multi-label"])
def test_every_task_with_labels_has_yes_and_no(task):
    data = twin_peaks_data(synthetic_run(n_batches=4, task=task))
    assert data["role"].values.tolist() == ["yes", "no"]
    assert data.attrs["task"] == task
    assert (data["understanding"] > 0).all()


def test_a_regression_holds_predictions_against_targets():
    run = synthetic_run(n_batches=4, task="regression")
    data = twin_peaks_data(run)
    assert data["role"].values.tolist() == ["prediction", "target"]
    group = run["valid/output"].to_dataset()
    last = group.isel(window=group["epoch"].values == 2)
    size = last["elements_by_unit"].sel(role="prediction").sum()
    want = np.sqrt(last["squared_error"].sum() / size)
    np.testing.assert_allclose(data["rmse"].sel(epoch=2, phase="valid"), want)
    assert "understanding" not in data


def test_another_layer_is_drawn_without_labels():
    data = twin_peaks_data(synthetic_run(n_batches=4), layer="conv0")
    assert data["role"].values.tolist() == ["all"]
    assert data.attrs["layer"] == "conv0"


def test_phases_without_targets_are_left_out_unless_asked_for():
    rng = np.random.default_rng(0)

    def batch(target):
        return Batch({"fc": rng.normal(0, 1, (8, 3))}, 0, target)

    run = run_from_samples({"train": [batch(np.zeros(8, np.int64))], "test": [batch(None)]})
    assert twin_peaks_data(run)["phase"].values.tolist() == ["train"]
    both = twin_peaks_data(run, phases=["train", "test"])
    assert both["phase"].values.tolist() == ["train", "test"]
    assert both.attrs["task"] == "unlabelled"


def test_an_epoch_that_one_phase_lacks_is_blank_there():
    rng = np.random.default_rng(0)
    phases = {
        "train": [Batch({"fc": rng.normal(0, 1, (8, 3))}, e) for e in range(3)],
        "valid": [Batch({"fc": rng.normal(0, 1, (8, 3))}, 1)],
    }
    for target in (None, np.zeros(8, np.int64)):
        for batches in phases.values():
            for batch in batches:
                batch.target = target
        data = twin_peaks_data(run_from_samples(phases))
        held = (data["elements"].sum("role") > 0).sel(phase="valid")
        assert held.values.tolist() == [False, True, False]
        assert np.isnan(data["mean"].sel(phase="valid", epoch=0)).all()
        assert not data["density"].sel(phase="valid", epoch=0).any()


def test_outputs_that_are_no_number_leave_an_empty_curve():
    x = np.full((8, 3), np.nan)
    for target in (None, np.zeros(8, np.int64)):
        data = twin_peaks_data(run_from_samples({"train": [Batch({"fc": x}, 0, target)]}))
        assert not data["density"].any()
        assert np.isnan(data["mean"]).all()


def test_epochs_are_few_evenly_spaced_and_include_both_ends():
    assert choose_epochs(range(5), None) == [0, 1, 2, 3, 4]
    chosen = choose_epochs(range(100), None)
    assert len(chosen) == 12
    assert chosen[0] == 0
    assert chosen[-1] == 99
    assert set(np.diff(chosen)) == {9}
    assert choose_epochs([3], None) == [3]
    assert choose_epochs([], None) == []


def test_epochs_asked_for_are_taken_or_refused():
    assert choose_epochs(range(30), [7, 2, 7]) == [2, 7]
    assert choose_epochs(range(30), 4) == [4]
    assert choose_epochs(range(30), range(20)) == list(range(20))
    with pytest.raises(ChartError, match=r"epoch 30 .* 0 to 29"):
        choose_epochs(range(30), [1, 30])
    with pytest.raises(ChartError, match="it has 1, 3"):
        choose_epochs([1, 3], 2)
    with pytest.raises(ChartError, match="none yet"):
        choose_epochs([], 0)


def test_unknown_phases_and_layers_are_refused():
    run = synthetic_run(n_batches=2)
    with pytest.raises(PhaseNotFoundError, match="'test'"):
        twin_peaks_data(run, phases="test")
    with pytest.raises(LayerNotFoundError, match="fc9"):
        twin_peaks_data(run, layer="fc9")


def test_a_run_without_an_output_layer_asks_for_one():
    run = synthetic_run(n_batches=2, labelled=False, attributes={"output_layer": None})
    with pytest.raises(NotRecordedError, match="layer="):
        twin_peaks_data(run)
    assert twin_peaks_data(run, layer="fc").attrs["layer"] == "fc"


def test_a_run_with_no_batch_has_no_panels():
    assert twin_peaks_data(run_from_samples({}, layers=["a"])).sizes["epoch"] == 0


def test_panels_share_a_range():
    edges = twin_peaks_data(synthetic_run(n_batches=8))["value_edge"].values
    assert (edges == edges[0]).all()


def test_an_epoch_that_blew_up_leaves_the_others_readable():
    rng = np.random.default_rng(0)
    batches = [
        Batch({"fc": rng.normal(0, scale, (256, 10))}, e) for e, scale in enumerate((1, 1, 200))
    ]
    edges = twin_peaks_data(run_from_samples({"train": batches}))["value_edge"]
    assert abs(edges.sel(epoch=0)).max() < 10
    assert edges.sel(epoch=2).max() > 200
