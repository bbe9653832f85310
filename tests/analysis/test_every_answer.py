"""Every answer of every kind of run: numbers, or one clear error, never another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tests.analysis.findings.trainings import grave, training
from tests.analysis.storing import write
from tests.synthetic import synthetic_run

import actrace
from actrace.errors import NotRecordedError, PhaseNotFoundError
from actrace.store.run import Run

ANSWERS: dict[str, Callable[[Run], Any]] = {
    "twin_peaks": actrace.twin_peaks,
    "twin_peaks of windows": lambda run: actrace.twin_peaks(run, window=16),
    "class_report": actrace.class_report,
    "find_peaks": lambda run: actrace.find_peaks(run, layer=str(run["layer"].values[-1])),
    "divergence": actrace.divergence,
    "divergence by class": lambda run: actrace.divergence(run, by="class"),
    "onset": actrace.onset,
    "rates": actrace.rates,
    "rates by epoch": lambda run: actrace.rates(run, by="epoch"),
    "rates of windows": lambda run: actrace.rates(run, by=16),
    "dead_units": actrace.dead_units,
    "diagnose": actrace.diagnose,
}
LABELLED = {"twin_peaks", "twin_peaks of windows", "class_report", "divergence by class"}
#: Kind of run -> what it cannot answer; the rest it must.
KINDS: dict[str, set[str]] = {
    "empty": set(ANSWERS) - {"rates", "diagnose"},
    "no phase": set(ANSWERS) - {"diagnose"},
    "one batch": {"onset"},
    "no labels": LABELLED,
    "regression": LABELLED,
    "unfinished": set(),
    "sampled": set(),
    "ranks": set(),
    # Two epochs show no onset yet.
    "thinned": {"onset"},
}


def sampled(**options: Any) -> Run:
    """Return a training of which the histograms hold half of the elements."""
    run = training(attributes={"sample": {"mode": "histogram", "stride": 2}}, **options)
    for phase in run.phases:
        node = run[phase]
        node["count"] //= 2
        held = node["count"].sum("bin")
        node["sampled"] = held.astype(np.uint32)
    return run


def ranks(folder: Path, **options: Any) -> Run:
    """Return a training of two processes, each of which saw the same."""
    for rank in range(2):
        one = training(attributes={"rank": rank, "world_size": 2}, **options)
        write(one, folder / f"rank-{rank}.zarr")
    return actrace.open(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 64)
        write(training(epochs=2, steps=64), folder / "a")
        thin = actrace.thin_run(folder / "a", folder / "b", keep_epochs=1).path
    return {
        "empty": training(epochs=0),
        "no phase": synthetic_run(phases=()),
        "one batch": training(epochs=1, steps=1),
        "no labels": training(labelled=False, steps=16),
        "regression": synthetic_run(task="regression"),
        "unfinished": training(attributes={"status": "recording", "ended": None}),
        "sampled": sampled(),
        "ranks": ranks(folder / "ranks"),
        "thinned": actrace.open(thin),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_or_says_why_not(runs: dict[str, Run], kind: str) -> None:
    refused = {}
    for name, ask in ANSWERS.items():
        try:
            found = ask(runs[kind])
            if isinstance(found, xr.Dataset):
                found.compute()
        except (NotRecordedError, PhaseNotFoundError) as error:
            refused[name] = str(error)
    assert set(refused) == KINDS[kind], refused
    assert all(len(why) > 20 for why in refused.values())


def test_two_ranks_that_saw_the_same_are_one_seen_twice(runs: dict[str, Run]) -> None:
    one = training()
    once, twice = (actrace.twin_peaks(run).compute() for run in (one, runs["ranks"]))
    np.testing.assert_array_equal(twice["elements_yes"], 2 * once["elements_yes"])
    for name in ("understanding", "auc", "accuracy", "best_threshold"):
        np.testing.assert_allclose(twice[name], once[name], rtol=1e-6, err_msg=name)


def dead(activations: dict[str, Any], phase: str, epoch: int, batch: int) -> None:
    activations["act1"][:, :8] = 0.0


def test_what_is_wrong_is_found_in_sampled_runs_and_over_ranks(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    whole = [(f.severity, f.layer) for f in grave(training(dead), "dead-units")]
    assert whole
    for run in (sampled(change=dead), ranks(tmp_path, change=dead)):
        assert [(f.severity, f.layer) for f in grave(run, "dead-units")] == whole


@pytest.mark.parametrize("kind", ["sampled", "ranks", "unfinished"])
def test_nothing_is_wrong_with_a_healthy_one(runs: dict[str, Run], kind: str) -> None:
    found = actrace.diagnose(runs[kind])
    assert [(f.rule, f.what) for f in found if f.severity != "info"] == []
