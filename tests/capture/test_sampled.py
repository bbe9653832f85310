"""Recording a part of each tensor: unbiased, marked, and cheap enough where asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import actrace
from actrace.errors import RecorderError

STEPS = 34


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 5))


def train(model: nn.Module, steps: int = STEPS) -> None:
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for _ in range(steps):
            model(x)


def recorded(path: Path, **settings: object) -> actrace.Run:
    model = net()
    with actrace.record(model, path, **settings):  # type: ignore[arg-type]
        train(model)
    return actrace.open(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, actrace.Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {mode: recorded(folder / mode, sample=mode) for mode in ("exact", "histogram", "all")}


def test_an_exact_run_has_nothing_of_it(runs: dict[str, actrace.Run]) -> None:
    assert runs["exact"].attrs["sample"] == {"mode": "exact"}
    assert "sampled" not in runs["exact"]["train"]
    assert (actrace.sampling_error(runs["exact"])["error"] == 0).all()


@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_the_histogram_holds_as_much_as_the_store_says(
    runs: dict[str, actrace.Run], mode: str
) -> None:
    run = runs[mode]
    data = run["train"].to_dataset()
    assert run.attrs["sample"] == {"mode": mode, "stride": 17}
    assert "of 1 block in 17" in repr(run)
    held = data["count"].sum("bin") + data["underflow"] + data["overflow"]
    np.testing.assert_array_equal(held, data["sampled"])
    share = (data["sampled"] / data["elements"]).sel(layer="0").isel(batch=slice(2, None))
    assert float(share.mean()) == pytest.approx(1 / 17, rel=0.02)
    # A small output is read whole.
    assert (data["sampled"] == data["elements"]).sel(layer="3").all()


@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_every_element_is_read_once_in_as_many_batches_as_the_stride(
    runs: dict[str, actrace.Run], mode: str
) -> None:
    """The input is the same in each batch, so 17 of them hold the exact histogram once."""
    whole = runs["exact"]["train"]["count"].isel(batch=1).astype(int)
    # The first two, in which layers and shapes are found, are read whole.
    parts = runs[mode]["train"]["count"].isel(batch=slice(2, 19)).sum("batch").astype(int)
    np.testing.assert_array_equal(parts.sel(layer=["0", "1"]), whole.sel(layer=["0", "1"]))


def test_beside_a_sampled_histogram_everything_is_exact(runs: dict[str, actrace.Run]) -> None:
    exact, sampled = runs["exact"]["train"], runs["histogram"]["train"]
    for name in ("elements", "zero", "nan", "min", "max", "activation_rate", "death_rate", "calls"):
        np.testing.assert_array_equal(sampled[name], exact[name], err_msg=name)
    for name in ("mean", "std", "norm"):
        np.testing.assert_allclose(sampled[name], exact[name], rtol=1e-6)
    for name in ("active", "total"):
        np.testing.assert_array_equal(sampled["unit"][name], exact["unit"][name])


def test_what_is_read_alone_is_like_the_whole(runs: dict[str, actrace.Run]) -> None:
    exact, part = (runs[m]["train"].to_dataset().sel(layer=["0", "1"]) for m in ("exact", "all"))
    np.testing.assert_array_equal(part["elements"], exact["elements"])
    np.testing.assert_allclose(part["mean"], exact["mean"], atol=0.05)
    np.testing.assert_allclose(part["std"], exact["std"], rtol=0.1)
    np.testing.assert_allclose(part["activation_rate"], exact["activation_rate"], atol=0.05)
    np.testing.assert_allclose(part["norm"], exact["norm"], rtol=0.1)
    assert (part["max"] <= exact["max"]).all()


@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_the_error_is_about_that_of_independent_draws(
    runs: dict[str, actrace.Run], mode: str
) -> None:
    """A channel's neighbours are alike, so a block of them says less than strangers would."""
    exact, part = (runs[m]["train"].to_dataset() for m in ("exact", mode))
    stated = actrace.sampling_error(runs[mode], confidence=0.95).isel(batch=slice(2, None))

    def cumulative(data: xr.Dataset) -> xr.DataArray:
        count = data["count"].astype(float)
        return count.cumsum("bin") / count.sum("bin")

    distance = abs(cumulative(part) - cumulative(exact)).max("bin").isel(batch=slice(2, None))
    assert (distance <= stated["error"]).all()
    assert (distance.mean("batch") <= stated["error_independent"].mean("batch")).all()
    assert float(distance.sel(layer="0").max()) > 0
    assert (distance.sel(layer="3") == 0).all()


def test_charts_take_a_sampled_run_as_it_is(runs: dict[str, actrace.Run]) -> None:
    for run in runs.values():
        assert actrace.colorful_chart(run, layer="0") is not None
        assert actrace.find_peaks(run) is not None


def test_ranks_add_what_was_read(tmp_path: Path) -> None:
    for rank in range(2):
        recorded(tmp_path / "run" / f"rank-{rank}", sample="all", sample_stride=5)
    merged = actrace.open(tmp_path / "run")["train"]
    alone = actrace.open(tmp_path / "run" / "rank-0")["train"]
    np.testing.assert_array_equal(merged["sampled"], 2 * alone["sampled"])


def test_a_run_is_read_the_same_way_when_it_is_resumed(tmp_path: Path) -> None:
    recorded(tmp_path / "run", sample="all")
    with pytest.raises(RecorderError, match="recorded with sample='all', got 'exact'"):
        actrace.record(net(), tmp_path / "run", resume=True)
    recorded(tmp_path / "run", sample="auto", resume=True)
    run = actrace.open(tmp_path / "run")["train"]
    assert run.sizes["batch"] == 2 * STEPS
    assert (run["sampled"] <= run["elements"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample": "some"}, "sample must be one of 'exact', 'histogram', 'all', 'auto'"),
        ({"sample_stride": 0}, "sample_stride must be a whole number from 1, got 0"),
        ({"sample_cost": 1.5}, "sample_cost must be a share between 0 and 1, got 1.5"),
    ],
)
def test_what_means_nothing_is_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(RecorderError, match=message):
        actrace.record(net(), tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
