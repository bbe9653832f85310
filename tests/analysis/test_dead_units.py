"""Units that died and came back, against a loop over the samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.synthetic import Batch, run_from_samples

import actrace
from actrace.analysis.dead_units import dead_units
from actrace.analysis.kernels.lifetimes import lifetimes
from actrace.errors import LayerNotFoundError, NotRecordedError, PhaseNotFoundError

N_BATCHES = 12


def planted(seed: int = 0) -> list[Batch]:
    """Three epochs of four batches: unit 0 never lives, 1 dies, 2 comes back, 3 lives."""
    rng = np.random.default_rng(seed)
    lives = np.ones((N_BATCHES, 5), bool)
    lives[:, 0] = False
    lives[5:, 1] = False
    lives[4:9, 2] = False
    lives[:, 4] = rng.random(N_BATCHES) < 0.5
    return [
        Batch({"fc": (rng.random((3, 5)) + 0.1) * alive, "out": rng.random((3, 2))}, at // 4)
        for at, alive in enumerate(lives)
    ]


def slow(alive: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return died, recovered and revivals of one unit, window by window."""
    died = recovered = -1
    revivals = 0
    for at, lives in enumerate(alive):
        if lives and died >= 0:
            recovered, revivals, died = at, revivals + 1, -1
        elif not lives and died < 0:
            died = at
    return died, recovered, revivals


@given(st.lists(st.sampled_from([(0, 0), (0, 4), (1, 4), (4, 4)]), max_size=12))
def test_lifetimes_are_those_of_a_loop_over_the_windows_that_called_the_unit(
    windows: list[tuple[int, int]],
) -> None:
    active, total = np.array(windows, np.int64).reshape(-1, 2).T
    found = lifetimes(active, total)
    called = np.flatnonzero(total)
    died, recovered, revivals = slow(active[called] > 0)
    assert found.died == (called[died] if died >= 0 else -1)
    assert found.recovered == (called[recovered] if recovered >= 0 else -1)
    assert found.revivals == revivals
    assert (found.windows, found.dead_windows) == (len(called), (active[called] == 0).sum())


@pytest.mark.parametrize(
    ("window", "by"), [(1, 2), (1, 3), (1, 4), (1, "epoch"), (2, 2), (2, 4), (2, "epoch")]
)
def test_units_die_and_come_back_at_the_step_their_window_began(window: int, by: int | str) -> None:
    batches = planted()
    found = dead_units(run_from_samples({"train": batches}, window=window), by=by).compute()
    length = 4 if by == "epoch" else int(by)
    for at in range(5):
        alive = np.array([(batch.activations["fc"][:, at] > 0).any() for batch in batches])
        per_window = alive.reshape(-1, length).any(axis=1)
        died, recovered, revivals = slow(per_window)
        one = found.isel(unit=at)
        assert (str(one["unit_layer"].values), int(one["unit_channel"])) == ("fc", at)
        assert bool(one["dead"]) == (died >= 0)
        np.testing.assert_equal(
            [float(one[name]) for name in ("died_at", "recovered_at")],
            [index * length if index >= 0 else np.nan for index in (died, recovered)],
        )
        np.testing.assert_equal(
            [float(one[name]) for name in ("died_in", "recovered_in")],
            [index * length // 4 if index >= 0 else np.nan for index in (died, recovered)],
        )
        assert int(one["revivals"]) == revivals
        assert int(one["dead_windows"]) == (~per_window).sum()
        assert int(one["windows"]) == len(per_window)
    assert found.attrs == {"phase": "train", "by": by}


def test_layers_that_are_silent_by_design_are_left_out_unless_asked_for() -> None:
    run = run_from_samples({"train": planted()})
    names = run.dataset["layer"].values.tolist()
    kinds = np.where(run.dataset["layer"] == "fc", "Dropout", "Linear")
    run.dataset = run.dataset.assign_coords(layer_type=("layer", kinds))
    assert set(actrace.dead_units(run)["unit_layer"].values) == {"out"}
    assert set(dead_units(run, by_design=True)["unit_layer"].values) == {"fc", "out"}
    assert set(dead_units(run, by_design=True, layers="fc")["unit_layer"].values) == {"fc"}
    rates = actrace.rates(run, by="epoch").sel(phase="train").compute()
    assert rates["by_design"].values.tolist() == [name == "fc" for name in names]
    assert set(rates["highest_death_layer"].values) == {"out"}
    everything = actrace.rates(run, by="epoch", by_design=True).sel(phase="train").compute()
    assert set(everything["highest_death_layer"].values) == {"fc"}


def test_rates_of_any_window_are_those_of_its_batches() -> None:
    batches = planted()
    found = actrace.rates(run_from_samples({"train": batches}, window=2), by=6).compute()
    assert found["death_rate"].dims == ("layer", "window")
    assert found["first_batch"].values.tolist() == found["step"].values.tolist() == [0, 6]
    assert found["epoch"].values.tolist() == [0, 1]
    for at in range(2):
        x = np.concatenate([batch.activations["fc"] for batch in batches[6 * at : 6 * at + 6]])
        one = found.sel(layer="fc").isel(window=at)
        assert float(one["activation_rate"]) == pytest.approx((x > 0).mean())
        assert float(one["death_rate"]) == pytest.approx((~(x > 0).any(axis=0)).mean())


def test_the_result_does_not_depend_on_chunks_and_stays_lazy() -> None:
    run = run_from_samples({"train": planted()})
    whole = dead_units(run, by=2)
    assert all(array.chunks is not None for array in whole.data_vars.values())
    group = run["train/unit"]
    group.dataset = group.to_dataset().chunk({"unit": 2, "window": 5})
    assert dead_units(run, by=2).compute().identical(whole.compute())


@pytest.mark.parametrize("by", [0, -1, 2.5, True, "batch"])
def test_another_window_is_refused(by: object) -> None:
    run = run_from_samples({"train": planted()})
    with pytest.raises(ValueError, match="by must be 'epoch' or a number of batches from 1, got"):
        dead_units(run, by=by)  # type: ignore[arg-type]


def test_windows_shorter_than_those_recorded_are_refused_with_their_length() -> None:
    run = run_from_samples({"train": planted()}, window=4)
    with pytest.raises(ValueError, match=r"windows of up to 4 batches.*ask for 4 or more"):
        dead_units(run, by=2)


def test_what_is_not_in_the_run_is_named() -> None:
    run = run_from_samples({"train": planted()}, units=False)
    with pytest.raises(NotRecordedError, match="units"):
        dead_units(run)
    with pytest.raises(PhaseNotFoundError, match="valid"):
        dead_units(run, phase="valid")
    with pytest.raises(NotRecordedError, match="no batch"):
        dead_units(run.filter(lambda node: node.path == "/"))
    with pytest.raises(LayerNotFoundError, match="fc9"):
        dead_units(run_from_samples({"train": planted()}), layers="fc9")
