"""find_peaks over a run: the kernel's answers by phase and epoch."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import Batch, run_from_samples

from actrace.analysis.kernels.dip import dip
from actrace.analysis.kernels.peaks import ashmans_d, peaks_of
from actrace.analysis.peaks import find_peaks
from actrace.analysis.twin_peaks import twin_peaks
from actrace.errors import LayerNotFoundError
from actrace.store.axis import Asinh, Linear


def growing(phase: str, n: int = 4, epochs: int = 3, seed: int = 0) -> list[Batch]:
    """One peak in epoch 0, two in epoch 1, three in epoch 2."""
    rng = np.random.default_rng([seed, len(phase)])
    return [
        Batch(
            {
                "a": np.zeros((50, 20)),
                "b": rng.normal(0, 1, (50, 20)) + 9 * rng.integers(0, e + 1, (50, 20)),
            },
            e,
        )
        for e in range(epochs)
        for _ in range(n)
    ]


PHASES = {"train": growing("train"), "valid": growing("valid", 2, 2)}


def test_peaks_are_counted_by_phase_and_epoch_and_padded_with_nan() -> None:
    found = find_peaks(run_from_samples(PHASES)).compute()
    assert found.attrs["layer"] == "b"
    np.testing.assert_array_equal(found["n_peaks"], [[1, 2, 3], [1, 2, 0]])
    last = found.sel(phase="train", epoch=2)
    np.testing.assert_allclose(last["position"][:3], [0, 9, 18], atol=0.5)
    assert np.isnan(last["position"][3:]).all()
    assert last["mass"].sum() == pytest.approx(1)
    two = found.sel(phase="valid", epoch=1)
    assert two["valley"] == pytest.approx(4.5, abs=1.5)
    assert two["ashmans_d"] == pytest.approx(9, abs=0.7)
    assert two["bimodality_coefficient"] > 5 / 9
    assert two["dip"] > 0.1
    one = found.sel(phase="valid", epoch=0)
    assert np.isnan(one["valley"])
    assert np.isnan(one["ashmans_d"])
    assert one["dip"] < 0.02
    none = found.sel(phase="valid", epoch=2)
    assert none["elements"] == 0
    assert np.isnan(none["position"]).all()


@pytest.mark.parametrize("axis", [Asinh(), Linear(-10, 15, 300)])
def test_the_answers_are_the_kernels_on_the_charts_window(axis) -> None:
    found = find_peaks(run_from_samples(PHASES, axis=axis), phases="train").compute()
    x = np.concatenate([b.activations["b"].ravel() for b in PHASES["train"][7:8]])
    count = np.histogram(x, axis.edges)[0]
    expected = peaks_of(count, axis.edges, overflow=float((x > axis.edges[-1]).sum()))
    one = found.isel(phase=0).sel(epoch=1)
    assert one["elements"] == x.size
    np.testing.assert_allclose(one["position"][: len(expected)], expected.position)
    np.testing.assert_allclose(one["height"][: len(expected)], expected.height)
    np.testing.assert_allclose(one["prominence"][: len(expected)], expected.prominence)
    np.testing.assert_allclose(one["mass"][: len(expected)], expected.mass)
    assert one["valley"] == expected.valley
    assert one["valley_depth"] == expected.valley_depth
    assert (one["dip"].item(), one["dip_error"].item()) == dip(count, axis.edges)
    assert one["ashmans_d"] == ashmans_d(count, axis.edges, expected.valley)


def test_a_layer_of_zeros_has_one_peak_at_zero() -> None:
    found = find_peaks(run_from_samples(PHASES), layer="a", window="epoch").compute()
    one = found.sel(phase="train")
    assert (one["n_peaks"] == 1).all()
    assert (np.abs(one["position"][:, 0]) < 0.01).all()
    assert (one["elements"] == 4 * 1000).all()


def test_of_many_peaks_the_heaviest_are_described() -> None:
    found = find_peaks(run_from_samples(PHASES), max_peaks=2).compute().sel(phase="train", epoch=2)
    assert found["n_peaks"] == 3
    assert found.sizes == {"peak": 2}
    assert np.isfinite(found["position"]).all()


def test_a_layer_that_was_never_called_has_no_peak() -> None:
    run = run_from_samples(PHASES, layers=["never", "a", "b"])
    assert (find_peaks(run, layer="never").compute()["n_peaks"] == 0).all()
    with pytest.raises(LayerNotFoundError, match="'nevr' is not"):
        find_peaks(run, layer="nevr")


def test_each_variable_says_what_it_is() -> None:
    for name, variable in find_peaks(run_from_samples(PHASES)).items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"], name


def test_separation_is_understanding_where_the_highest_are_the_right_ones() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 10, 500)
    logits = rng.normal(0, 1, (500, 10)) + 12 * np.eye(10)[target]
    run = run_from_samples({"valid": [Batch({"h": logits, "fc": logits}, 0, target)]})
    found = find_peaks(run).compute().isel(phase=0, epoch=0)
    apart = twin_peaks(run).compute().isel(phase=0, epoch=0)
    assert found["separation"] == pytest.approx(float(apart["understanding"]), abs=0.05)
    assert found["two_normals_d"] == pytest.approx(float(apart["d_prime"]), rel=0.05)
    assert found["two_normals_share"] == pytest.approx(0.1, abs=0.005)
    assert np.isnan(find_peaks(run, layer="h")["separation"]).all()
    again = find_peaks(run, layer="h", share=0.1).compute().isel(phase=0, epoch=0)
    assert again["separation"] == found["separation"]
    with pytest.raises(ValueError, match="between 0 and 1, got 10"):
        find_peaks(run, share=10)
