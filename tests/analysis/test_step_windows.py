"""Windows of steps: each answer is that of a run which holds nothing but their batches."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tests.synthetic import Batch, run_from_samples

import actrace
from actrace.analysis import select
from actrace.analysis.step_windows import step_windows
from actrace.errors import NotRecordedError
from actrace.store.run import Run

#: Batches of training in an epoch, and of the validation that follows each.
EPOCH, VALID, EPOCHS = 12, 3, 3


def batches(phase: str) -> list[Batch]:
    rng = np.random.default_rng(len(phase))
    made = []
    for epoch in range(EPOCHS):
        for n in range(EPOCH if phase == "train" else VALID):
            target = rng.integers(0, 3, 20)
            logits = rng.normal(0, 1, (20, 3)) + (epoch + n / EPOCH) * np.eye(3)[target]
            made.append(Batch({"h": rng.normal(n, 1, (20, 4)), "fc": logits}, epoch, target))
    return made


PHASES = {"train": batches("train"), "valid": batches("valid")}


def training(window: int = 1, phases: dict[str, list[Batch]] | None = None) -> Run:
    """Return the run, with validations at the steps at which they were."""
    run = run_from_samples(PHASES if phases is None else phases, window=window)
    for name in run.phases:
        if name != "train":
            run[name]["step"][:] = (run[name]["epoch"].to_numpy() + 1) * EPOCH
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    return training()


ASKED = [
    lambda run, **asked: actrace.twin_peaks(run, **asked),
    lambda run, **asked: actrace.twin_peaks(run, by="class", **asked),
    lambda run, **asked: actrace.class_report(run, **asked),
    lambda run, **asked: actrace.find_peaks(run, layer="h", **asked),
    lambda run, **asked: actrace.divergence(run, null=False, **asked),
    lambda run, **asked: actrace.divergence(run, by="class", null=False, **asked),
]


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize(
    ("window", "train", "valid"),
    [((7, 13), slice(7, 13), slice(0, 3)), ((12, 30), slice(12, 30), slice(3, 6))],
)
def test_from_step_to_step_is_what_its_batches_say(run, ask, window, train, valid) -> None:
    def one_epoch(some: list[Batch]) -> list[Batch]:
        return [Batch(b.activations, 0, b.target) for b in some]

    alone = {"train": PHASES["train"][train], "valid": PHASES["valid"][valid]}
    right = ask(run_from_samples({k: one_epoch(v) for k, v in alone.items()}), window="epoch")
    found = ask(run, window=window)
    assert found.sizes["window"] == 1
    assert found.attrs["window"] == list(window)
    assert set(found.data_vars) == set(right.data_vars)
    xr.testing.assert_equal(
        found.isel(window=0, drop=True).compute(), right.isel(epoch=0, drop=True).compute()
    )


def test_so_many_batches_are_the_windows_from_step_to_step(run) -> None:
    found = actrace.twin_peaks(run, window=5, phases="train").compute()
    assert found["window"].values.tolist() == list(range(8))
    assert found["step"].values.tolist() == list(range(0, 36, 5))
    assert found["last_step"].values.tolist() == [4, 9, 14, 19, 24, 29, 34, 35]
    assert found["epoch"].values.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    for n in range(8):
        one = actrace.twin_peaks(run, window=(5 * n, 5 * n + 5), phases="train").compute()
        for name in found:
            np.testing.assert_array_equal(found[name][:, n], one[name][:, 0], err_msg=str(name))


def test_a_window_of_one_epochs_batches_is_that_epoch(run) -> None:
    for ask in ASKED:
        by_window, by_epoch = ask(run, window=EPOCH), ask(run, window="epoch")
        for name in by_epoch.data_vars:
            np.testing.assert_array_equal(
                by_window[name].rename(window="e").values, by_epoch[name].values, err_msg=str(name)
            )


def test_the_null_band_of_a_window_is_taken_within_it(run) -> None:
    found = actrace.divergence(run, window=(0, 12), layers="h").compute()
    right = actrace.divergence(run, window="epoch", layers="h").compute().isel(epoch=0)
    assert found["null_windows"].values.tolist() == [3]
    for name in ("wasserstein_null", "jensen_shannon_null"):
        assert found[name].values.tolist() == [[right[name].item()]], name


def test_a_phase_without_a_batch_there_is_left_out_and_missed_if_asked_for(run) -> None:
    found = actrace.find_peaks(run, window=(0, 5))
    assert found["phase"].values.tolist() == ["train"]
    with pytest.raises(NotRecordedError, match=r"'valid' .* steps 0 to 5: 'valid' has steps 12"):
        actrace.find_peaks(run, window=(0, 5), phases=["train", "valid"])
    with pytest.raises(NotRecordedError, match="'valid'"):
        actrace.divergence(run, window=(0, 5))
    with pytest.raises(NotRecordedError, match="'train' has steps 0 to 35"):
        actrace.twin_peaks(run, window=(90, 99))


def test_edges_that_cut_stored_windows_are_refused_with_those_that_do_not() -> None:
    run = training(window=4)
    with pytest.raises(NotRecordedError, match=r"up to 4 batches.* ask for 4 or 8 and 16 or 20"):
        actrace.twin_peaks(run, window=(6, 18), phases="train")
    with pytest.raises(NotRecordedError, match=r"windows of 5 batches cut some.* ask for 4$"):
        actrace.class_report(run, window=5, phases="train")
    assert actrace.twin_peaks(run, window=(4, 20), phases="train").sizes["window"] == 1
    assert actrace.twin_peaks(run, window=8).sizes["window"] == 5
    # Histograms are kept batch by batch.
    assert actrace.find_peaks(run, window=5).sizes["window"] == 8


def test_no_window_of_batches_fits_epochs_of_another_length() -> None:
    odd = [Batch(b.activations, n // 5, b.target) for n, b in enumerate(PHASES["train"])]
    run = training(window=3, phases={"train": odd})
    with pytest.raises(NotRecordedError, match="ask for whole epochs"):
        actrace.twin_peaks(run, window=4)


@pytest.mark.parametrize(
    "window", [0, -1, True, "quarter", (5, 5), (7, 5), (-1, 5), (1, 2, 3), 2.0]
)
def test_what_is_no_window_is_refused(run, window) -> None:
    with pytest.raises(ValueError, match=r"'chart', 'epoch', a number of batches from 1, or"):
        select.epoch_batches(run, "train", window=window)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.lists(st.integers(0, 90), max_size=20),
    st.integers(1, 50),
)
def test_every_batch_is_in_one_window_and_validation_after_its_training(gaps, others, n) -> None:
    step = np.cumsum([0, *(gap + 1 for gap in gaps)])
    windows = step_windows(n, "train", step)
    mine = windows.numbers("train", step)
    np.testing.assert_array_equal(mine, np.searchsorted(windows.edges, step, side="right") - 1)
    assert len(windows) == len(np.unique(mine))
    for at, number in zip(sorted(others), windows.numbers("valid", np.sort(others)), strict=True):
        trained = mine[step < at]
        assert number == (trained[-1] if len(trained) else 0)


def test_a_run_without_training_is_counted_by_its_first_phase() -> None:
    run = training(phases={"valid": PHASES["valid"]})
    found = actrace.find_peaks(run, window=2)
    assert found["window"].values.tolist() == [0, 1, 2, 3, 4]
    assert found["elements"].values.tolist() == [[120, 120, 120, 120, 60]]
