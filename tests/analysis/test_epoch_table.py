"""The joined table of a run: every column from its own answer, gaps as NaN."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.divergence import divergence
from actrace.analysis.rates import rates
from actrace.analysis.table import EpochRow, epoch_table
from actrace.analysis.twin_peaks import twin_peaks


def test_each_column_is_the_answer_it_is_named_after() -> None:
    run = synthetic_run(chunks={"batch": 3, "window": 2})
    rows = epoch_table(run)
    apart = twin_peaks(run, phases="valid").compute().isel(phase=0)
    told = twin_peaks(run, window="epoch").compute()
    parted = divergence(run, layers="fc").compute().isel(layer=0)
    unit = rates(run, phases="train", by="epoch").compute().isel(phase=0)
    assert [row.epoch for row in rows] == [0, 1, 2]
    for i, row in enumerate(rows):
        loss = run["train"]["loss"].values[run["train"]["epoch"].values == i]
        assert row.train_loss == pytest.approx(loss.mean())
        assert row.train_accuracy == told["accuracy"].sel(phase="train")[i]
        assert row.valid_accuracy == told["accuracy"].sel(phase="valid")[i]
        for name in ("understanding", "d_prime", "overlap"):
            assert getattr(row, name) == apart[name][i]
        assert row.divergence == parted["jensen_shannon"][i]
        for name in ("lowest_activation_rate", "highest_death_rate"):
            assert getattr(row, name) == unit[name][i]
            layer = name.replace("_rate", "_layer")
            assert getattr(row, layer) == str(unit[layer].values[i])


def test_losses_are_weighted_by_samples_and_leave_unseen_ones_out() -> None:
    made = [
        Batch({"fc": np.ones((n, 2))}, 0, loss=loss)
        for n, loss in ((10, 1.0), (30, 2.0), (5, math.nan))
    ]
    (row,) = epoch_table(run_from_samples({"train": made}))
    assert row.train_loss == pytest.approx(70 / 40)
    assert math.isnan(row.valid_loss)


def test_what_was_not_recorded_is_nan_and_no_error() -> None:
    rows = epoch_table(synthetic_run(labelled=False, phases=("train",), units=False))
    assert len(rows) == 3
    gaps = {f.name for f in dataclasses.fields(EpochRow)} - {"epoch", "train_loss"}
    for name in gaps:
        value = getattr(rows[0], name)
        assert value == "" or math.isnan(value), name


def test_training_alone_is_told_apart_on_training() -> None:
    run = synthetic_run(phases=("train",))
    (first, *_) = epoch_table(run)
    assert first.understanding == twin_peaks(run)["understanding"].values[0, 0]
    assert math.isnan(first.valid_accuracy)


def test_a_regression_has_divergence_and_rates_but_no_understanding() -> None:
    (first, *_) = epoch_table(synthetic_run(task="regression"))
    assert math.isnan(first.understanding)
    assert first.divergence > 0
    assert first.highest_death_rate > 0


def test_a_run_without_batches_has_no_rows() -> None:
    assert epoch_table(synthetic_run(phases=())) == []
