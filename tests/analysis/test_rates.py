"""Activation and death rates by batch and by epoch."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.rates import rates
from actrace.errors import LayerNotFoundError, NotRecordedError, PhaseNotFoundError


def sparse(phase: str, n: int = 6, epochs: int = 2) -> list[Batch]:
    rng = np.random.default_rng(len(phase))
    made = []
    for epoch in range(epochs):
        for _ in range(n):
            conv = rng.normal(0, 1, (4, 8, 2, 2)) * (rng.random((1, 8, 1, 1)) < 0.5)
            conv[:, 0] = 0
            made.append(
                Batch(
                    {"conv": conv, "fc": rng.normal(0, 1, (4, 3)) * (rng.random((1, 3)) < 0.8)},
                    epoch,
                )
            )
    return made


PHASES = {"train": sparse("train"), "valid": sparse("valid", 3)}


def test_by_batch_they_are_what_the_recorder_stored() -> None:
    run = run_from_samples(PHASES)
    found = rates(run).compute()
    assert dict(found["activation_rate"].sizes) == {"layer": 2, "batch": 12}
    assert str(found["phase"].values) == "train"
    for name in ("activation_rate", "death_rate"):
        np.testing.assert_array_equal(found[name], run["train"][name])
    np.testing.assert_array_equal(found["step"], run["train"]["step"])
    np.testing.assert_array_equal(
        found["lowest_activation_rate"], found["activation_rate"].min("layer")
    )
    worst = found["death_rate"].values.argmax(axis=0)
    np.testing.assert_array_equal(found["highest_death_layer"], np.array(["conv", "fc"])[worst])


@pytest.mark.parametrize("phase", ["train", "valid"])
@pytest.mark.parametrize("window", [1, 4])
def test_by_epoch_a_unit_is_dead_if_nothing_of_it_was_active_in_any_batch(phase, window) -> None:
    found = rates(run_from_samples(PHASES, window=window), by="epoch").compute().sel(phase=phase)
    for epoch in (0, 1):
        for layer in ("conv", "fc"):
            x = np.concatenate([b.activations[layer] for b in PHASES[phase] if b.epoch == epoch])
            active = np.moveaxis(np.abs(x) > 1e-8, 1, 0).reshape(x.shape[1], -1)
            one = found.sel(layer=layer, epoch=epoch)
            assert one["activation_rate"] == pytest.approx(active.mean())
            assert one["death_rate"] == pytest.approx((~active.any(axis=1)).mean())
    assert (found["highest_death_layer"] == "conv").all()


def test_death_over_an_epoch_is_at_most_that_of_any_of_its_batches() -> None:
    run = run_from_samples(PHASES)
    by_batch, by_epoch = rates(run).compute(), rates(run, by="epoch").compute().sel(phase="train")
    for epoch in (0, 1):
        least = by_batch["death_rate"].isel(batch=by_batch["epoch"].values == epoch).min("batch")
        assert (by_epoch["death_rate"].sel(epoch=epoch) <= least + 1e-6).all()


def test_a_layer_without_units_is_nan_and_never_the_lowest() -> None:
    made = [Batch({**b.activations, "scalar": np.zeros(4)}, b.epoch) for b in PHASES["train"]]
    run = run_from_samples({"train": made}, layers=["scalar", "conv", "fc"])
    for found in (rates(run).compute(), rates(run, by="epoch").compute()):
        assert np.isnan(found["death_rate"].sel(layer="scalar")).all()
        assert np.isfinite(found["highest_death_rate"]).all()
    alone = rates(run, layers="scalar").compute()
    assert np.isnan(alone["lowest_activation_rate"]).all()
    assert (alone["lowest_activation_layer"] == "").all()


def test_layers_and_phases_are_chosen_by_name() -> None:
    run = run_from_samples(PHASES)
    assert rates(run, layers="c*", phases="valid")["layer"].values.tolist() == ["conv"]
    assert rates(run, by="epoch", phases="valid")["phase"].values.tolist() == ["valid"]
    with pytest.raises(LayerNotFoundError):
        rates(run, layers="pool")
    with pytest.raises(PhaseNotFoundError):
        rates(run, phases="test")
    with pytest.raises(ValueError, match="one phase at a time"):
        rates(run, phases=["train", "valid"])
    with pytest.raises(ValueError, match="got 'step'"):
        rates(run, by="step")


def test_by_epoch_needs_units() -> None:
    run = synthetic_run(units=False)
    with pytest.raises(NotRecordedError, match="no units"):
        rates(run, by="epoch")
    with pytest.raises(NotRecordedError, match="phase 'train' has no 'unit'"):
        rates(run, by="epoch", phases="train")


def test_each_variable_says_what_it_is() -> None:
    for by in ("batch", "epoch"):
        found = rates(run_from_samples(PHASES), by=by)
        assert by in found["death_rate"].attrs["long_name"]
        assert all(v.attrs["long_name"] for v in found.values())
