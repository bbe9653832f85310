"""Names become indices, epochs become batches, and errors list what there is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis import select
from actrace.errors import LayerNotFoundError, NotARunError, NotRecordedError, PhaseNotFoundError


@pytest.fixture(scope="module")
def run() -> xr.DataTree:
    return synthetic_run(n_layers=4, n_batches=10, phases=("valid", "train", "extra"), window=4)


def test_phases_come_train_first_and_all_by_default(run) -> None:
    assert select.phase_names(run) == ("train", "valid", "extra")
    assert select.select_phases(run, "extra") == ("extra",)
    assert select.select_phases(run, ["valid", "train", "valid"]) == ("valid", "train")


def test_an_unknown_phase_lists_those_there_are_and_the_closest(run) -> None:
    with pytest.raises(
        PhaseNotFoundError, match=r"'vald' is not .* 'train', 'valid', 'extra'.*mean 'valid'"
    ):
        select.select_phases(run, ["train", "vald"])


def test_layers_are_found_by_name_and_pattern_in_the_stores_order(run) -> None:
    assert select.layer_names(run) == ("conv0", "conv1", "conv2", "fc")
    assert select.select_layers(run).tolist() == [0, 1, 2, 3]
    assert select.select_layers(run, ["fc", "conv[01]"]).tolist() == [0, 1, 3]
    assert select.select_layer(run, "f*") == "fc"
    assert select.select_layer(run) == "fc"


def test_a_layers_own_name_is_no_pattern() -> None:
    x = np.ones((2, 3))
    run = run_from_samples({"train": [Batch({"lstm[0]": x, "lstm0": x})]})
    assert select.select_layers(run, "lstm[0]").tolist() == [0]


def test_an_unknown_layer_lists_those_there_are_and_the_closest(run) -> None:
    with pytest.raises(
        LayerNotFoundError, match=r"'conv9' is not .*'conv0'.*run\.layer.*did you mean"
    ):
        select.select_layers(run, ["fc", "conv9"])
    with pytest.raises(LayerNotFoundError, match="fits 3 layers"):
        select.select_layer(run, "conv*")


def test_a_run_without_an_output_layer_says_what_to_do() -> None:
    run = synthetic_run(attributes={"output_layer": None})
    with pytest.raises(NotRecordedError, match="layer="):
        select.output_layer(run)


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(NotARunError, match="got Dataset"):
        select.phase_names(xr.Dataset())
    with pytest.raises(NotARunError, match="bin_left"):
        select.layer_names(xr.DataTree(xr.Dataset(coords={"layer": ["a"]})))


def test_edges_are_those_of_the_axis(run) -> None:
    from actrace.store.axis import Asinh

    np.testing.assert_array_equal(select.bin_edges(run), Asinh().edges)


def test_the_chart_takes_the_last_quarter_of_training_and_all_of_the_rest(run) -> None:
    train = select.epoch_batches(run, "train")
    assert [part.epoch for part in train] == [0, 1, 2]
    assert train[1].batches.tolist() == [17, 18, 19]
    assert train[1].indexer == slice(17, 20)
    assert select.epoch_batches(run, "valid")[1].batches.tolist() == [5, 6, 7, 8, 9]
    assert len(select.epoch_batches(run, "train", window="epoch")[2].batches) == 10
    with pytest.raises(ValueError, match="'chart', 'epoch'"):
        select.epoch_batches(run, "train", window="quarter")


@pytest.mark.parametrize("n", range(1, 13))
def test_the_last_quarter_is_never_empty_and_never_less_than_a_quarter(n: int) -> None:
    run = run_from_samples({"train": [Batch({"a": np.ones((1, 1))})] * n}, units=False)
    (part,) = select.epoch_batches(run, "train")
    assert n / 4 <= len(part.batches) < n / 4 + 1
    assert part.batches[-1] == n - 1


def test_an_epoch_that_came_back_is_one_epoch() -> None:
    batches = [Batch({"a": np.ones((1, 1))}, epoch=e) for e in (0, 1, 0)]
    run = run_from_samples({"valid": batches})
    first, second = select.epoch_batches(run, "valid")
    assert first.batches.tolist() == [0, 2]
    np.testing.assert_array_equal(first.indexer, [0, 2])
    assert second.indexer == slice(1, 2)


def test_windows_start_at_or_after_the_cut_and_the_last_always_belongs(run) -> None:
    # Windows of 4 of 10 batches start at 0, 4, 8; the last quarter starts at 7.
    assert select.window_indices(run, "train", "output")[0].tolist() == [2]
    assert select.window_indices(run, "train", "output", window="epoch")[0].tolist() == [0, 1, 2]
    long = synthetic_run(n_batches=8, window=8)
    assert select.window_indices(long, "train", "unit")[1].tolist() == [1]


def test_a_missing_group_says_what_it_needs() -> None:
    run = synthetic_run(labelled=False, units=False)
    with pytest.raises(NotRecordedError, match="targets"):
        select.window_indices(run, "train", "output")
    with pytest.raises(NotRecordedError, match="channels or neurons"):
        select.window_indices(run, "train", "unit")
