"""The few numbers in a root document say of the last epoch what the arrays say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.store import recording as rec
from torch import nn

import actrace
from actrace.analysis.table import epoch_table
from actrace.store.catalogue.last_epoch import EpochMean, LastEpoch
from actrace.store.catalogue.listing import list_runs
from actrace.store.writer import RunWriter


def train(path, epochs, batches=5, **settings):
    """Record a small classifier, train and valid, and return its run's path."""
    torch.manual_seed(0)
    model, loss_fn = (
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.CrossEntropyLoss(),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with actrace.record(model, path, criterion=loss_fn, kernel="reference", **settings) as recorder:
        for epoch in range(epochs):
            recorder.epoch(epoch)
            for phase, n in (("train", batches), ("valid", 2)):
                for i in range(n):
                    x, y = torch.randn(4 + i, 6), torch.randint(0, 3, (4 + i,))
                    with recorder.phase(phase):
                        loss = loss_fn(model(x), y)
                    loss.backward()
                    optimizer.step()
    return path.with_name(path.name + ".zarr")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("summary") / "a", 3)


def test_loss_and_understanding_are_those_of_the_last_epoch(trained):
    (found,) = list_runs(trained)
    run = actrace.open(trained)
    last = epoch_table(run)[-1]
    assert found.phases["train"].last.loss.mean == pytest.approx(last.train_loss, rel=1e-12)
    assert found.phases["valid"].last.loss.mean == pytest.approx(last.valid_loss, rel=1e-12)
    peaks = actrace.twin_peaks(run, window="epoch")["understanding"].isel(epoch=-1)
    for phase in ("train", "valid"):
        expected = float(peaks.sel(phase=phase))
        assert found.phases[phase].last.understanding == pytest.approx(expected, rel=1e-9)
    assert found.loss == found.phases["valid"].last.loss.mean
    assert found.understanding == found.phases["valid"].last.understanding


def rows(writer, indices):
    for index in indices:
        writer.append_batch(rec.batch_row("train", index))


def test_a_resumed_run_goes_on_within_its_epoch(tmp_path):
    """Also one of before there were summaries, which knows nothing until the next epoch."""
    paths = {}
    for name in ("whole", "resumed", "old"):
        writer = rec.new_writer(tmp_path / name)
        paths[name] = writer.path
        rows(writer, range(13))
        if name != "whole":
            writer.close()
            if name == "old":
                document = json.loads((writer.path / "zarr.json").read_text())
                del document["attributes"]["summary"]
                (writer.path / "zarr.json").write_text(json.dumps(document))
            writer = RunWriter.resume(writer.path)
        rows(writer, range(13, 17))
        writer.commit()
        if name == "old":
            (old,) = list_runs(writer.path)
            assert math.isnan(old.loss)
            assert old.batches == {"train": 17}
            rows(writer, range(17, 23))
        writer.close()
    losses = [rec.batch_row("train", i).loss for i in range(10, 17)]
    for name in ("whole", "resumed"):
        (found,) = list_runs(paths[name])
        assert found.loss == pytest.approx(np.mean(losses), rel=1e-12)
    (found,) = list_runs(paths["old"])
    assert found.loss == pytest.approx(
        np.mean([rec.batch_row("train", i).loss for i in range(20, 23)]), rel=1e-12
    )


@pytest.mark.parametrize(("losses", "mean"), [([1.0, math.inf], math.inf), ([math.nan], math.nan)])
def test_a_loss_that_ran_away_is_kept_as_such(tmp_path, losses, mean):
    writer = rec.new_writer(tmp_path / "a")
    for index, loss in enumerate(losses):
        row = rec.batch_row("train", index)
        row.loss = loss
        writer.append_batch(row)
    writer.close()
    (found,) = list_runs(writer.path)
    np.testing.assert_equal(found.loss, mean)


def test_a_run_without_targets_has_no_understanding(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    rows(writer, range(3))
    writer.declare_output("train", rec.REGRESSION)
    writer.append_window(rec.output_window("train", 0, 3, rec.REGRESSION))
    writer.close()
    (found,) = list_runs(writer.path)
    assert math.isnan(found.understanding)


@pytest.mark.parametrize(
    "summary",
    [None, 3, {}, {"phases": []}, {"bytes": -1, "layers": 3, "phases": {}},
     {"bytes": 1, "layers": 3, "phases": {"train": {"batches": 1, "epochs": 1, "loss": "x"}}}],
)  # fmt: skip
def test_a_summary_that_makes_no_sense_is_not_believed(tmp_path, summary):
    path = rec.write_run(tmp_path / "a", 8)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["summary"] = summary
    (path / "zarr.json").write_text(json.dumps(document, separators=(",", ":")))
    (found,) = list_runs(path)
    assert (found.status, found.batches, found.layers) == ("finished", {"train": 8}, 3)


means = st.builds(
    EpochMean, st.integers(0, 3), st.integers(0, 50), st.floats(-100, 100, allow_nan=False)
)


@given(means, means, means)
def test_the_mean_of_an_epoch_merges_in_any_order(a, b, c):
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert (left.epoch, left.n) == (right.epoch, right.n)
    if left.n:
        assert left.mean == pytest.approx(right.mean, rel=1e-9, abs=1e-9)
    assert EpochMean().merge(a) == a


@given(means, means, means)
def test_what_json_holds_is_what_was_there(loss, yes, no):
    last = LastEpoch(loss, yes, no)
    assert LastEpoch.from_dict(json.loads(json.dumps(last.to_dict()))) == last
