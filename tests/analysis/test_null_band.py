"""The null band of a divergence, against a slow loop over the samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from tests.synthetic import Batch, run_from_samples

from actrace.analysis.divergence import divergence
from actrace.analysis.null_band import split_epochs
from actrace.store.axis import Linear

AXIS = Linear(-4, 6, 50)
OUTER = np.concatenate([[-np.inf], AXIS.edges, [np.inf]])


def made(phase: str, n: int, epochs: int = 2, samples: int = 20) -> list[Batch]:
    rng = np.random.default_rng(len(phase))
    batches = []
    for epoch in range(epochs):
        for _ in range(n):
            target = rng.integers(0, 3, samples)
            logits = rng.normal(0, 1, (samples, 3))
            logits[np.arange(samples), target] += epoch + 1
            batches.append(
                Batch({"conv": rng.normal(0, 1, (samples, 5)), "fc": logits}, epoch, target)
            )
    return batches


PHASES = {"train": made("train", 16), "valid": made("valid", 2)}


def slow_band(train: list[np.ndarray], length: int, quantile: float) -> float:
    """Return the quantile of distances between the last quarter and what came before."""
    cut = 3 * len(train) // 4
    counted = [np.histogram(values, OUTER)[0] for values in train]
    tail = sum(counted[cut:])
    found = []
    stop = cut
    while stop - length >= 0:
        found.append(jensenshannon(sum(counted[stop - length : stop]), tail, base=2) ** 2)
        stop -= length
    return float(np.quantile(found, quantile))


@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_the_band_of_a_layer_is_that_of_a_slow_loop(quantile: float) -> None:
    run = run_from_samples(PHASES, axis=AXIS)
    found = divergence(run, quantile=quantile).compute()
    assert found.attrs["null_quantile"] == quantile
    # Validation has 40 samples, so a stretch two batches: six of them before batch 12.
    assert found["null_windows"].values.tolist() == [6, 6]
    for epoch in (0, 1):
        for layer in ("conv", "fc"):
            train = [b.activations[layer].ravel() for b in PHASES["train"] if b.epoch == epoch]
            one = found["jensen_shannon_null"].sel(layer=layer, epoch=epoch)
            assert one == pytest.approx(slow_band(train, 2, quantile))


@pytest.mark.parametrize("role", ["yes", "no"])
def test_the_band_of_a_class_is_that_of_a_slow_loop(role: str) -> None:
    run = run_from_samples(PHASES, axis=AXIS)
    found = divergence(run, by="class").compute().sel(role=role, epoch=1)
    for c in range(3):
        train = []
        for batch in PHASES["train"]:
            if batch.epoch == 1:
                mine = batch.activations["fc"][batch.target == c]
                own = np.arange(3) == c
                train.append(mine[:, own if role == "yes" else ~own].ravel())
        one = found["jensen_shannon_null"].sel(target_class=str(c))
        assert one == pytest.approx(slow_band(train, 2, 0.95))


def test_phases_of_one_distribution_lie_within_the_band_and_others_do_not() -> None:
    phases = {"train": made("train", 32, 3), "valid": made("valid", 4, 3)}
    for batch in phases["valid"]:
        batch.activations["fc"][:] = batch.activations["fc"] * 4  # type: ignore[index]
    found = divergence(run_from_samples(phases, axis=AXIS), quantile=1.0).compute()
    for name in ("jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger"):
        ratio = found[name] / found[f"{name}_null"]
        assert (ratio.sel(layer="fc") > 2).all(), name
        assert (ratio.sel(layer="conv") < 2).all(), name


@pytest.mark.parametrize(("n", "stretches"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3)])
def test_too_few_batches_give_no_band_and_say_how_few(n: int, stretches: int) -> None:
    run = run_from_samples({"train": made("train", n), "valid": made("valid", 2)}, axis=AXIS)
    found = divergence(run).compute()
    assert found["null_windows"].values.tolist() == [stretches] * 2
    assert found.attrs["null_least"] == 3
    assert np.isnan(found["hellinger_null"]).all() == (stretches < 3)
    assert np.isfinite(found["hellinger"]).all()


def test_stretches_have_the_samples_of_validation_and_do_not_overlap() -> None:
    for n_valid, length in ((1, 1), (3, 3), (100, 8)):
        phases = {"train": made("train", 32, 1), "valid": made("valid", n_valid, 1)}
        (split,) = split_epochs(run_from_samples(phases), "train", "valid")
        assert split.tail.tolist() == list(range(24, 32))
        assert {len(stretch) for stretch in split.before} == {length}
        used = np.concatenate(split.before)
        assert len(set(used.tolist())) == len(used) <= 24
        assert used.max() == 23


@pytest.mark.parametrize(("begins", "n", "n_valid"), [(0, 600, 128), (3, 701, 133), (0, 550, 200)])
def test_long_stretches_begin_and_end_between_columns(begins: int, n: int, n_valid: int) -> None:
    one = {"fc": np.zeros((1, 2))}
    train = [Batch(one, -1)] * begins + [Batch(one, 0)] * n
    run = run_from_samples({"train": train, "valid": [Batch(one, 0)] * n_valid})
    split = split_epochs(run, "train", "valid")[-1]
    assert split.tail[0] == begins + 3 * n // 4
    assert len(split.before) >= 3
    used = np.concatenate(split.before)
    assert len(set(used.tolist())) == len(used)
    assert begins <= used.min()
    assert used.max() < split.tail[0] <= used.max() + 16
    lengths = {len(stretch) for stretch in split.before}
    assert len(lengths) == 1
    assert abs(lengths.pop() - min(n_valid, n // 4)) <= 8 + n // 4 % 16
    for stretch in split.before:
        assert stretch[0] % 16 == 0
        assert (np.diff(stretch) == 1).all()


def test_windows_of_several_batches_are_told_by_their_samples() -> None:
    phases = {"train": made("train", 32, 1), "valid": made("valid", 4, 1)}
    run = run_from_samples(phases, window=2)
    (split,) = split_epochs(run, "train", "valid", "output")
    assert split.tail.tolist() == [12, 13, 14, 15]
    assert [stretch.tolist() for stretch in split.before][:2] == [[10, 11], [8, 9]]


def test_without_null_nothing_of_it_is_there() -> None:
    found = divergence(run_from_samples(PHASES), null=False)
    assert not [name for name in found if "null" in str(name)]
    for quantile in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="quantile"):
            divergence(run_from_samples(PHASES), quantile=quantile)
