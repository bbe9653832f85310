"""`compare`: its numbers against slow ones on the samples, its laws, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from tests.synthetic import Batch, run_from_samples, synthetic_run

from actrace.analysis.comparison.compare import compare
from actrace.errors import (
    AxisError,
    ComparisonError,
    LayerNotFoundError,
    NotARunError,
    PhaseNotFoundError,
)
from actrace.store.axis import Edges, Linear
from actrace.store.run import Run

AXIS = Linear(-4, 4, 80)
LAYERS = ("conv", "fc")


def batches(seed: int, n: int = 24, *, drift: float = 0.0, after: int = 0, size: int = 60) -> Any:
    """Return batches of which "fc" drifts away from batch `after` on, epochs of 10."""
    rng = np.random.default_rng(seed)
    return [
        Batch(
            {
                "conv": np.maximum(rng.normal(0, 1, (size, 5)), 0),
                "fc": rng.normal(drift * max(0, i - after), 1, (size, 3)),
            },
            epoch=i // 10,
            loss=1 / (1 + i),
        )
        for i in range(n)
    ]


def made(seed: int, n: int = 24, **settings: Any) -> Run:
    axis, config = settings.pop("axis", AXIS), settings.pop("config", {})
    phases = {settings.pop("phase", "train"): batches(seed, n, **settings)}
    return run_from_samples(phases, axis=axis, attributes={"config": config})


def of_position(kept: list[Batch], place: list[float], start: float, stop: float) -> Any:
    return [b for b, at in zip(kept, place, strict=True) if start <= at < stop]


PLACES = {
    "step": lambda kept: [float(i) for i in range(len(kept))],
    "epoch": lambda kept: [float(b.epoch) for b in kept],
    "samples": lambda kept: [float(60 * i) for i in range(len(kept))],
    "fraction": lambda kept: [i / len(kept) for i in range(len(kept))],
}


@pytest.mark.parametrize("by", PLACES)
def test_every_position_holds_the_batches_that_a_loop_finds_and_scipys_distances(by: str) -> None:
    one, two = batches(1, 24), batches(2, 17, drift=0.2)
    found = compare(
        {"a": run_from_samples({"train": one}, axis=AXIS),
         "b": run_from_samples({"train": two}, axis=AXIS)},
        by=by, width=7,
    ).data.compute()  # fmt: skip
    assert found.sizes["position"] <= 7
    outer = np.concatenate([[-np.inf], AXIS.edges, [np.inf]])
    for p in range(found.sizes["position"]):
        cell = found.isel(position=p)
        span = float(cell["position"]), float(cell["position_end"])
        mine, other = (of_position(k, PLACES[by](k), *span) for k in (one, two))
        assert cell["batches"].values.tolist() == [len(mine), len(other)]
        for layer in LAYERS:
            here = cell.sel(layer=layer)
            x, y = (
                np.concatenate([b.activations[layer].ravel() for b in some] or [np.array([])])
                for some in (mine, other)
            )
            if not len(x) or not len(y):
                assert np.isnan(here["jensen_shannon"][1])
                continue
            h, k = np.histogram(x, outer)[0], np.histogram(y, outer)[0]
            js = jensenshannon(h, k, base=2) ** 2
            assert here["jensen_shannon"][1] == pytest.approx(js, abs=1e-12)
            clipped = wasserstein_distance(np.clip(x, -4, 4), np.clip(y, -4, 4))
            assert here["wasserstein"][1] == pytest.approx(clipped, abs=0.1)
            gap = [abs((x < edge).mean() - (y < edge).mean()) for edge in AXIS.edges]
            assert here["kolmogorov_smirnov"][1] == pytest.approx(max(gap))
            apart = np.linalg.norm(np.sqrt(h / h.sum()) - np.sqrt(k / k.sum())) / np.sqrt(2)
            assert here["hellinger"][1] == pytest.approx(apart)
            assert here["mean"][1] == pytest.approx(y.mean(), abs=1e-5)
            assert here["std"][1] == pytest.approx(y.std(), rel=1e-4)
        if mine:
            assert cell["loss"][0] == pytest.approx(np.mean([b.loss for b in mine]))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(list(PLACES)), st.integers(1, 30))
def test_a_run_is_at_no_distance_from_itself_and_never_parts(
    seed: int, by: str, width: int
) -> None:
    run = made(seed, 12)
    found = compare([run, run], by=by, width=width, tolerance=0.0)
    for name in ("jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger"):
        assert float(found.data[name].max()) == pytest.approx(0, abs=1e-7)
    assert not found.parts[0].parted
    assert "keeps to" in repr(found)


def test_it_says_first_layer_and_position_at_which_a_run_parts() -> None:
    found = compare({"a": made(1, 40), "b": made(2, 40, drift=0.3, after=20)}, patience=3, lag=1)
    (part,) = found.parts
    assert part.layer == "fc"
    assert 22 <= part.at <= 28
    assert repr(found).startswith(f"b parts from a at step {part.at:.0f} in fc (")
    at = found.data["parts_at"].sel(run="b")
    assert np.isnan(at.sel(layer="conv"))
    assert at.sel(layer="fc") == part.at


def test_a_run_that_is_only_late_keeps_to_its_baseline() -> None:
    def parted(after: int) -> bool:
        runs = [made(1, 40, drift=0.1), made(2, 40, drift=0.1, after=after)]
        return compare(runs, lag=4, tolerance=0.02, layers="fc").parts[0].parted

    assert not parted(after=2)
    assert parted(after=15)


def test_noise_is_of_the_seeds_of_the_same_config_without_the_judged_run() -> None:
    runs = {f"s{i}": made(i, config={"lr": 0.1, "seed": i}) for i in range(3)}
    runs["other"] = made(9, config={"lr": 1.0, "seed": 9})
    found = compare(runs, baseline="s1").data
    assert found["noise_pairs"].to_series().to_dict() == {"s0": 1, "s1": 1, "s2": 1, "other": 3}
    assert found["tolerance"].to_series().to_dict() == {
        "s0": 0.08,
        "s1": 0.08,
        "s2": 0.08,
        "other": 0.02,
    }
    alone = compare({"s0": runs["s0"], "other": runs["other"]})
    assert (alone.data["noise_pairs"] == 0).all()
    given = compare({"s0": runs["s0"], "other": runs["other"]}, noise=[runs["s1"], runs["s2"]]).data
    assert given["noise_pairs"].values.tolist() == [1, 3]


def test_channels_on_a_constant_background_keep_apart_from_nothing_but_chance() -> None:
    """Three units, each nearly a constant of its own: other constants are no difference."""

    def spikes(seed: int) -> Run:
        rng = np.random.default_rng(seed)
        places = rng.normal(0, 0.5, 3)
        kept = [Batch({"conv": rng.normal(places, 0.01, (40, 3))}) for _ in range(20)]
        return run_from_samples({"train": kept}, axis=AXIS)

    found = compare({"a": spikes(1), "again": spikes(2)})
    assert float(found.data["jensen_shannon"].sel(run="again").min()) > 0.5
    assert not found.parts[0].parted


def test_seeds_that_differ_widen_the_noise_so_that_a_run_like_them_keeps() -> None:
    runs = {f"s{i}": made(i, 40, drift=0.06 * i, config={"lr": 1}) for i in range(4)}
    judged = {"s0": runs["s0"], "new": made(9, 40, drift=0.15)}
    assert compare(judged).parts[0].parted
    assert not compare(judged, noise=[runs["s1"], runs["s2"], runs["s3"]]).parts[0].parted


@pytest.mark.parametrize("chunks", [{"batch": 1}, {"batch": 5, "layer": 1}, {"batch": 7, "bin": 9}])
def test_the_answer_is_the_same_to_the_last_bit_for_any_chunks(chunks: dict[str, int]) -> None:
    def answer(runs: list[Run]) -> xr.Dataset:
        with dask.config.set(scheduler="synchronous"):
            return compare(runs, by="epoch").data.compute()

    runs = [made(1), made(2, drift=0.1)]
    cut = [
        run.map_over_datasets(
            lambda ds: ds.chunk({k: v for k, v in chunks.items() if k in ds.dims})
        )
        for run in runs
    ]
    xr.testing.assert_identical(answer(runs), answer(cut))


def test_asking_is_lazy_and_loading_gives_the_same() -> None:
    found = compare([made(1), made(2)])
    lazy = found.data
    assert all(lazy[name].chunks for name in ("jensen_shannon", "noise", "beyond", "parts_at"))
    xr.testing.assert_identical(lazy.compute(), found.load())
    assert found.data is found.load()


def test_axes_join_where_one_refines_the_other_and_are_refused_else() -> None:
    fine, coarse = Linear(-4, 4, 80), Linear(-2, 2, 20)
    mixed = compare([made(1, axis=fine), made(2, axis=coarse)]).data
    plain = compare([made(1, axis=coarse), made(2, axis=coarse)]).data
    xr.testing.assert_allclose(mixed["jensen_shannon"], plain["jensen_shannon"])
    with pytest.raises(AxisError, match="20 bins from -2 to 2 and 79 bins from -4 to 4"):
        compare([made(1, axis=coarse), made(2, axis=Linear(-4, 4, 79))])
    with pytest.raises(AxisError, match="do not fit"):
        compare([made(1, axis=Edges([-1, 0.013, 1])), made(2, axis=fine)])


def renamed(run: Run, **names: str) -> Run:
    layer = [names.get(str(name), str(name)) for name in run.dataset["layer"].values]
    return run.map_over_datasets(
        lambda ds: ds.assign_coords(layer=("layer", layer)) if "layer" in ds.coords else ds
    )


def test_layers_are_matched_by_name_and_the_rest_is_told() -> None:
    found = compare({"a": made(1), "b": renamed(made(2), conv="stem")})
    assert np.isnan(found.data["jensen_shannon"].sel(run="b", layer="conv")).all()
    assert found.data["jensen_shannon"].sel(run="b", layer="fc").notnull().all()
    assert "b lacks 'conv'" in repr(found)
    assert "b has besides 'stem'" in repr(found)
    with pytest.raises(ComparisonError, match="none of the layers"):
        compare([made(1), renamed(made(2), conv="x", fc="y")])
    assert compare([made(1), made(2)], layers="f*").data["layer"].values.tolist() == ["fc"]
    with pytest.raises(LayerNotFoundError):
        compare([made(1), made(2)], layers="x")


def test_a_layer_of_another_shape_is_told() -> None:
    wide = run_from_samples(
        {"train": [Batch({"conv": np.ones((4, 5)), "fc": np.ones((4, 7))}) for _ in range(24)]},
        axis=AXIS,
    )
    assert "fc: layer_shape 3 -> 7, layer_units 3 -> 7" in repr(compare({"a": made(1), "b": wide}))


def test_a_shorter_run_is_compared_as_far_as_it_goes() -> None:
    found = compare({"a": made(1, 30), "b": made(2, 12)})
    known = found.data["jensen_shannon"].sel(run="b", layer="fc").notnull()
    assert known.values.tolist() == [True] * 12 + [False] * 18
    assert "b ends first, at step 11" in repr(found)


def test_a_run_that_is_recording_is_told() -> None:
    live = made(2)
    live.attrs["status"] = "recording"
    assert "b is still recording" in repr(compare({"a": made(1), "b": live}))


def test_runs_without_losses_or_labels_are_compared_all_the_same() -> None:
    silent = [synthetic_run(labelled=False, epochs=2, rng=i) for i in (1, 2)]
    for run in silent:
        for phase in run.phases:
            run[phase]["loss"][:] = np.nan
    table = compare(silent).differences
    assert table["outcome.train_loss"].isna().all()
    assert table["outcome.accuracy"].isna().all()


def test_settings_that_differ_stand_beside_what_came_out() -> None:
    runs = {
        "a": synthetic_run(attributes={"config": {"opt": {"lr": 0.1}, "depth": 3}}),
        "b": synthetic_run(gap=3.0, attributes={"config": {"opt": {"lr": 1.0}, "depth": 3}}),
    }
    table = compare(runs).differences
    assert table["config.opt.lr"].to_dict() == {"a": 0.1, "b": 1.0}
    assert "config.depth" not in table
    assert table.loc["b", "outcome.understanding"] > table.loc["a", "outcome.understanding"]
    assert table["outcome.valid_loss"].notna().all()
    assert table["outcome.duration"].tolist() == [3600.0, 3600.0]


def test_json_and_html_hold_what_the_words_say_and_play_no_tricks() -> None:
    runs = {"a<b>": made(1), "\x1b[31mb": made(2, drift=0.5, config={"<script>": "<i>"})}
    found = compare(runs)
    told = json.loads(found.to_json())
    assert told["baseline"] == "a<b>"
    assert told["parts"][0]["parted"] is True
    assert told["differences"]["a<b>"]["config.<script>"] is None
    page = found._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "\x1b" not in repr(found) + page


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"by": "time"}, ComparisonError, "by must be one of"),
        ({"width": 0}, ComparisonError, "width must be"),
        ({"baseline": "z"}, ComparisonError, "is none of the runs"),
        ({"tolerance": -1}, ComparisonError, "tolerance is in bits"),
        ({"quantile": 0}, ComparisonError, "quantile must be"),
        ({"patience": 0}, ComparisonError, "patience must be"),
        ({"lag": True}, ComparisonError, "lag must be"),
        ({"phase": "valid"}, PhaseNotFoundError, "run 'a': phase 'valid'"),
        ({"noise": "a"}, ComparisonError, "noise must be several"),
    ],
)
def test_what_cannot_be_is_refused_in_words(settings: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        compare({"a": made(1, 4), "b": made(2, 4)}, **settings)


def test_one_run_or_none_or_no_run_is_refused() -> None:
    for runs in ([], [made(1)]):
        with pytest.raises(ComparisonError, match="two runs or more"):
            compare(runs)
    with pytest.raises(ComparisonError, match="got one"):
        compare(made(1))
    with pytest.raises(NotARunError):
        compare([made(1), xr.DataTree()])
    empty = made(1)
    empty["train"] = xr.DataTree(empty["train"].to_dataset().isel(batch=slice(0, 0)))
    with pytest.raises(ComparisonError, match="no batch of phase 'train' yet"):
        compare({"a": made(1), "b": empty})


def test_runs_of_one_name_are_told_apart() -> None:
    assert compare([made(1, 4), made(2, 4)]).runs == ("run 0", "run 1")
    named = [made(i, 4) for i in range(3)]
    for run in named:
        run.name = "x"
    assert compare(named).runs == ("x", "x (2)", "x (3)")
