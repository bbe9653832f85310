"""divergence over a run, against SciPy on the samples."""

from __future__ import annotations

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.divergence import divergence
from actrace.errors import LayerNotFoundError, NotRecordedError, PhaseNotFoundError
from actrace.store.axis import Linear


def made(phase: str, n: int, epochs: int = 3) -> list[Batch]:
    rng = np.random.default_rng(len(phase))
    shift = 0.0 if phase == "train" else 1.0
    return [
        Batch({"conv": rng.normal(0, 1, (40, 5)), "fc": rng.normal(shift * e, 1, (40, 3))}, e)
        for e in range(epochs)
        for _ in range(n)
    ]


PHASES = {"train": made("train", 8), "valid": made("valid", 4, 2), "test": made("test", 4)}
AXIS = Linear(-3, 3, 60)


def values(phase: str, layer: str, epoch: int) -> np.ndarray:
    mine = [b.activations[layer].ravel() for b in PHASES[phase] if b.epoch == epoch]
    return np.concatenate(mine[-2:] if phase == "train" else mine)


@pytest.mark.parametrize("layer", ["conv", "fc"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_the_numbers_are_scipys_on_the_charts_window(layer: str, epoch: int) -> None:
    run = run_from_samples(PHASES, axis=AXIS)
    one = divergence(run).compute().sel(layer=layer, epoch=epoch)
    x, y = values("train", layer, epoch), values("valid", layer, epoch)
    outer = np.concatenate([[-np.inf], AXIS.edges, [np.inf]])
    p, q = np.histogram(x, outer)[0], np.histogram(y, outer)[0]
    assert one["jensen_shannon"] == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    clipped = wasserstein_distance(np.clip(x, -3, 3), np.clip(y, -3, 3))
    assert one["wasserstein"] == pytest.approx(clipped, abs=0.1)
    edges = AXIS.edges
    gap = [abs((x < edge).mean() - (y < edge).mean()) for edge in edges]
    assert one["kolmogorov_smirnov"] == pytest.approx(max(gap))
    assert (
        max(gap) <= ks_2samp(x, y).statistic <= max(gap) + max(p.max() / p.sum(), q.max() / q.sum())
    )
    assert one["hellinger"] == pytest.approx(
        np.linalg.norm(np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())) / np.sqrt(2)
    )
    assert (one["elements_first"], one["elements_second"]) == (x.size, y.size)


def test_an_epoch_that_one_phase_lacks_is_nan() -> None:
    found = divergence(run_from_samples(PHASES)).compute()
    late = found.sel(epoch=2)
    assert np.isnan(late["jensen_shannon"]).all()
    assert np.isnan(late["wasserstein"]).all()
    assert (late["elements_second"] == 0).all()


def test_it_rises_where_phases_part_and_not_where_they_do_not() -> None:
    found = divergence(run_from_samples(PHASES), phases=("train", "test"), window="epoch").compute()
    assert (found["wasserstein"].sel(layer="fc").diff("epoch") > 0.8).all()
    assert (found["wasserstein"].sel(layer="conv") < 0.15).all()
    chance = found["jensen_shannon_by_chance"].sel(layer="conv")
    assert (found["jensen_shannon"].sel(layer="conv") < 2 * chance).all()
    assert (found["jensen_shannon"].sel(layer="fc", epoch=2) > 2 * chance.sel(epoch=2)).all()


def test_layers_are_chosen_by_pattern_and_phases_must_be_two() -> None:
    run = run_from_samples(PHASES)
    assert divergence(run, layers="f*")["layer"].values.tolist() == ["fc"]
    with pytest.raises(LayerNotFoundError):
        divergence(run, layers="x*")
    with pytest.raises(PhaseNotFoundError):
        divergence(run, phases=("train", "val"))
    with pytest.raises(ValueError, match="two different"):
        divergence(run, phases=("train", "train"))


def test_a_layer_that_was_never_called_is_nan() -> None:
    found = divergence(run_from_samples(PHASES, layers=["never", "conv", "fc"])).compute()
    assert np.isnan(found["jensen_shannon"].sel(layer="never")).all()


def labelled(phase: str, n: int, shift: float) -> list[Batch]:
    rng = np.random.default_rng(len(phase))
    made = []
    for epoch in range(2):
        for _ in range(n):
            target = rng.integers(0, 3, 30)
            logits = rng.normal(0, 1, (30, 3))
            logits[np.arange(30), target] += 1 + shift * epoch
            made.append(Batch({"conv": logits * 0.5, "fc": logits}, epoch, target))
    return made


LABELLED = {"train": labelled("train", 8, 0.0), "valid": labelled("valid", 4, 1.0)}


@pytest.mark.parametrize("role", ["yes", "no"])
@pytest.mark.parametrize("c", [0, 1, 2])
def test_by_class_they_are_scipys_on_the_outputs_of_the_class(role: str, c: int) -> None:
    run = run_from_samples(LABELLED, axis=AXIS)
    one = divergence(run, by="class").compute().sel(target_class=str(c), role=role, epoch=1)
    sides = []
    for phase, kept in (("train", 2), ("valid", 4)):
        mine = [b for b in LABELLED[phase] if b.epoch == 1][-kept:]
        own = np.arange(3) == c
        columns = own if role == "yes" else ~own
        sides.append(
            np.concatenate([b.activations["fc"][b.target == c][:, columns].ravel() for b in mine])
        )
    x, y = sides
    outer = np.concatenate([[-np.inf], AXIS.edges, [np.inf]])
    p, q = np.histogram(x, outer)[0], np.histogram(y, outer)[0]
    assert one["jensen_shannon"] == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    clipped = wasserstein_distance(np.clip(x, -3, 3), np.clip(y, -3, 3))
    assert one["wasserstein"] == pytest.approx(clipped, abs=0.1)
    gap = [abs((x < edge).mean() - (y < edge).mean()) for edge in AXIS.edges]
    assert one["kolmogorov_smirnov"] == pytest.approx(max(gap))
    assert one["hellinger"] == pytest.approx(
        np.linalg.norm(np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())) / np.sqrt(2)
    )
    assert (one["elements_first"], one["elements_second"]) == (x.size, y.size)


def test_by_class_needs_classes_and_no_layers() -> None:
    with pytest.raises(NotRecordedError, match="has no classes"):
        divergence(run_from_samples(PHASES), by="class")
    with pytest.raises(NotRecordedError, match="regression"):
        divergence(synthetic_run(task="regression"), by="class")
    with pytest.raises(ValueError, match="leave layers= out"):
        divergence(run_from_samples(LABELLED), by="class", layers="fc")
    with pytest.raises(ValueError, match="'layer' or 'class'"):
        divergence(run_from_samples(LABELLED), by="unit")


@pytest.mark.parametrize("by", ["layer", "class"])
@pytest.mark.parametrize("window", ["chart", "epoch"])
def test_what_the_distance_and_its_band_share_is_read_once(by: str, window: str) -> None:
    read: list[str] = []

    def counted(dataset: xr.Dataset) -> xr.Dataset:
        def watch(name: str, values: np.ndarray) -> dask.array.Array:
            def block(one: np.ndarray) -> np.ndarray:
                read.append(name)
                return one

            whole = dask.array.from_array(values, chunks=-1)
            return whole.map_blocks(block, meta=values[:0])

        names = [name for name in dataset.data_vars if str(name).startswith("count")]
        return dataset.assign(
            {n: dataset[n].copy(data=watch(str(n), dataset[n].values)) for n in names}
        )

    run = run_from_samples(LABELLED, axis=AXIS)
    with dask.config.set(scheduler="synchronous"):
        found = divergence(run.map_over_datasets(counted), by=by, window=window).compute()
    assert np.isfinite(found["hellinger_null"]).any()
    assert read == ["count" if by == "layer" else "count_by_class"] * 2  # once a phase
