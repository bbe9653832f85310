"""A training on several processes: each records for itself, and opening merges them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.capture import ranks_training as training
from torch import nn

import actrace
from actrace.errors import ActraceWarning, RecorderError, RunExistsError, RunLockedError

ROOT = Path(__file__).parents[2]
WORLD = 2
#: Far above what a run takes, so that a hang is a failure and not a wait for ever.
PATIENCE = 300


def run_ranks(case: str, folder: Path) -> list[tuple[int, str]]:
    """Run a case on two processes; return each one's exit status and what it said."""
    # A thread a rank, and no torchrun variables of a surrounding job.
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    env |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "tests.capture.ranks_training", case]
    ranks = [
        subprocess.Popen(
            [*program, str(rank), str(WORLD), str(folder)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        said = [process.communicate(timeout=PATIENCE)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return [(process.returncode, words) for process, words in zip(ranks, said, strict=True)]


def run_well(case: str, folder: Path) -> None:
    for status, words in run_ranks(case, folder):
        assert status == 0, words


def assert_merged(merged: actrace.Run, whole: actrace.Run) -> None:
    """Assert that halves recorded by ranks are the whole batches recorded by one process."""
    assert merged.phases == whole.phases == ("train", "valid")
    assert merged.layer.values.tolist() == whole.layer.values.tolist()
    for name in ("layer_type", "layer_shape", "layer_order", "layer_units"):
        assert merged[name].values.tolist() == whole[name].values.tolist()
    for phase in whole.phases:
        left, right = merged[phase].to_dataset().compute(), whole[phase].to_dataset().compute()
        assert set(left) == {*right, "ranks"}
        assert (left["ranks"] == WORLD).all()
        # A half and its whole are called once each; everything else that counts adds up.
        exact = ["count", "underflow", "overflow", "nan", "posinf", "neginf", "zero", "elements"]
        exact += ["calls", "min", "max", "step", "epoch", "samples"]
        for name in exact:
            np.testing.assert_array_equal(left[name].values, right[name].values, err_msg=name)
        close = ["mean", "std", "norm", "activation_rate", "loss"]
        for name in [*close, *(["lr"] if "lr" in right else [])]:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-6, atol=1e-7, err_msg=name)
        assert_merged_windows(merged[phase], whole[phase])
    for by in ("epoch", "batch"):
        left, right = (actrace.rates(run, by=by).compute() for run in (merged, whole))
        np.testing.assert_allclose(left["activation_rate"], right["activation_rate"], rtol=1e-6)
        if by == "epoch":
            np.testing.assert_array_equal(left["death_rate"], right["death_rate"])
    left, right = (actrace.twin_peaks(run).compute() for run in (merged, whole))
    for name in right.data_vars:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-6, atol=1e-9, err_msg=name)


def assert_merged_windows(merged, whole) -> None:
    """Assert that sums over windows are the same wherever both end together."""
    for group in ("unit", "output"):
        left, right = (node[group].to_dataset().compute() for node in (merged, whole))
        cuts = np.intersect1d(left["first_batch"], right["first_batch"])
        assert len(cuts) >= left.sizes["window"] // 2
        for ds in (left, right):
            assert int(ds["batches"].sum()) == merged.sizes["batch"]
        for name, array in right.data_vars.items():
            if "window" not in array.dims or array.dtype.kind == "f" or array.dims == ("window",):
                continue
            sums = [
                np.add.reduceat(
                    ds[name].transpose(..., "window").values.astype(np.uint64),
                    np.searchsorted(ds["first_batch"], cuts),
                    axis=-1,
                )
                for ds in (left, right)
            ]
            np.testing.assert_array_equal(*sums, err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> actrace.Run:
    """One process on whole batches."""
    path = tmp_path_factory.mktemp("whole") / "run"
    model = training.exact_model()
    with actrace.record(model, path, flush_seconds=1e6, axis=training.AXIS) as recorder:
        training.train_exactly(model, recorder, list(model.parameters()), slice(None))
    return actrace.open(path)


@pytest.mark.parametrize("case", ["ddp", "fsdp", "fsdp_after"])
def test_two_ranks_on_halves_are_one_process_on_the_whole(
    tmp_path: Path, whole: actrace.Run, case: str
) -> None:
    run_well(case, tmp_path)
    merged = actrace.open(tmp_path / case)
    assert merged.status == "finished"
    assert merged.attrs["world_size"] == 2
    assert merged.attrs["missing_ranks"] == []
    assert [rank.attrs["rank"] for rank in merged.ranks] == [0, 1]
    assert "  ranks    2 ranks" in repr(merged).splitlines()
    assert_merged(merged, whole)
    assert merged["layer_type"].values.tolist() == whole["layer_type"].values.tolist()
    dead = merged["train"]["death_rate"]
    assert dead.attrs["comment"] == "exact"
    np.testing.assert_array_equal(dead.values, whole["train"]["death_rate"].values)
    # Units that are dead on one rank alone tell the exact rate from the smallest.
    bound = np.minimum(*(rank["train"]["death_rate"].values for rank in merged.ranks))
    assert (dead.values[:2] < bound[:2]).any()
    for rank in range(WORLD):
        assert actrace.open(tmp_path / case / f"rank-{rank}").attrs["rank"] == rank


def test_ddp_is_untouched_and_may_be_recorded_before_or_after_wrapping(tmp_path: Path) -> None:
    run_well("neutral", tmp_path)
    assert (tmp_path / "neutral-0").exists()
    assert (tmp_path / "neutral-1").exists()
    before, after = actrace.open(tmp_path / "before"), actrace.open(tmp_path / "after")
    assert before.n_batches("train") == after.n_batches("train") == 3
    names = before.layer.values.tolist()
    assert "conv1" in names
    assert after.layer.values.tolist() == names
    np.testing.assert_array_equal(before["train"]["count"].values, after["train"]["count"].values)


def test_a_killed_rank_holds_nobody_up_and_the_rest_opens(tmp_path: Path) -> None:
    (status, words), (killed, _) = run_ranks("killed", tmp_path)
    assert killed == -signal.SIGKILL
    assert status > 0, words
    run = actrace.open(tmp_path / "killed")
    assert [rank.status for rank in run.ranks] == ["failed", "interrupted"]
    assert run.status == "failed"
    # The fourth batch was open when rank 1 died after its flush.
    assert run["train"]["ranks"].values.tolist() == [2, 2, 2, 2]
    assert run["train"]["elements"].values[:, -1].tolist() == [64, 64, 32]
    for rank in run.ranks:
        assert rank.n_batches("train") == 4


def record_as(
    monkeypatch: pytest.MonkeyPatch, path: Path, rank: int, world: int, n: int = 3, **settings
) -> actrace.Recorder:
    """Record `n` batches as one rank of a job that torchrun started."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    recorder = actrace.record(model, path, **settings)
    for _ in range(n):
        model(torch.randn(5, 4))
    recorder.close()
    return recorder


def test_torchruns_environment_tells_the_rank(tmp_path, monkeypatch) -> None:
    recorder = record_as(monkeypatch, tmp_path / "x.zarr", 1, 2)
    assert recorder.path == tmp_path / "x" / "rank-1.zarr"
    # It closed although rank 0 never came; opening says so.
    with pytest.warns(ActraceWarning, match="without rank 0 "):
        assert actrace.open(tmp_path / "x").n_batches("train") == 3
    record_as(monkeypatch, tmp_path / "x.zarr", 0, 2)
    for path in ("x", "x.zarr"):
        run = actrace.open(tmp_path / path)
        assert len(run.ranks) == 2
        assert run.directory == tmp_path / "x"
    assert (run["train"]["samples"] == 10).all()


@pytest.mark.parametrize(("rank", "world"), [("0", "1"), ("2", "2"), ("a", "2"), ("", "")])
def test_a_process_that_is_alone_records_as_ever(tmp_path, monkeypatch, rank, world) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    model = nn.Linear(2, 2)
    with actrace.record(model, tmp_path / "x") as recorder:
        model(torch.zeros(1, 2))
    assert recorder.path == tmp_path / "x.zarr"
    assert actrace.open(tmp_path / "x").ranks == ()


def test_distributed_can_be_told(tmp_path, monkeypatch) -> None:
    alone = record_as(monkeypatch, tmp_path / "a", 1, 2, distributed=False)
    assert alone.path == tmp_path / "a.zarr"
    one_of_one = record_as(monkeypatch, tmp_path / "b", 0, 1, distributed=True)
    assert one_of_one.path == tmp_path / "b" / "rank-0.zarr"
    monkeypatch.delenv("RANK")
    with pytest.raises(RecorderError, match="init_process_group first, start the training with"):
        actrace.record(nn.Linear(2, 2), tmp_path / "c", distributed=True)
    with pytest.raises(RecorderError, match="must be True, False or None, got 'yes'"):
        actrace.record(nn.Linear(2, 2), tmp_path / "c", distributed="yes")
    assert not (tmp_path / "c").exists()


def test_a_run_of_the_other_form_is_refused_unless_it_may_be_replaced(
    tmp_path, monkeypatch
) -> None:
    record_as(monkeypatch, tmp_path / "x", 0, 1)
    for settings in ({}, {"resume": True}):
        with pytest.raises(
            RunExistsError, match=r"a run of one process stands at .*x\.zarr', and several"
        ):
            record_as(monkeypatch, tmp_path / "x", 1, 2, **settings)
    for rank in (1, 0):
        record_as(monkeypatch, tmp_path / "x", rank, 2, overwrite=True)
    assert not (tmp_path / "x.zarr").exists()
    assert len(actrace.open(tmp_path / "x").ranks) == 2
    for settings in ({}, {"resume": True}):
        with pytest.raises(
            RunExistsError, match=r"a run of several processes stands at .*x', and one"
        ):
            record_as(monkeypatch, tmp_path / "x", 0, 1, **settings)
    (tmp_path / "x" / "notes.txt").write_text("mine")
    record_as(monkeypatch, tmp_path / "x", 0, 1, overwrite=True)
    assert actrace.open(tmp_path / "x").ranks == ()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["notes.txt"]
    (tmp_path / "y.zarr").mkdir()
    (tmp_path / "y.zarr" / "mine").touch()
    with pytest.raises(RunExistsError, match="is not a run of actrace"):
        record_as(monkeypatch, tmp_path / "y", 0, 2, overwrite=True)


def test_overwriting_removes_what_a_larger_training_left_and_nothing_else(
    tmp_path, monkeypatch
) -> None:
    for rank in range(4):
        record_as(monkeypatch, tmp_path / "x", rank, 4)
    (tmp_path / "x" / "rank-7.zarr").mkdir()
    monkeypatch.setenv("RANK", "3")
    model = nn.Linear(2, 2)
    busy = actrace.record(model, tmp_path / "x", overwrite=True)
    model(torch.zeros(1, 2))
    with pytest.raises(RunExistsError, match="resume=True to go on with it"):
        record_as(monkeypatch, tmp_path / "x", 0, 2)
    for rank in (1, 0):
        record_as(monkeypatch, tmp_path / "x", rank, 2, overwrite=True)
    left = sorted(path.name for path in (tmp_path / "x").iterdir())
    # Rank 3 is being written and rank-7.zarr is no run.
    assert left == ["rank-0.zarr", "rank-1.zarr", "rank-3.zarr", "rank-7.zarr"]
    with pytest.raises(RunExistsError, match=r"rank-7\.zarr' exists and is not a run"):
        record_as(monkeypatch, tmp_path / "x", 0, 1, overwrite=True)
    (tmp_path / "x" / "rank-7.zarr").rmdir()
    with pytest.raises(RunLockedError, match=r"rank-3\.zarr' is being written"):
        record_as(monkeypatch, tmp_path / "x", 0, 1, overwrite=True)
    busy.close()


def test_a_training_that_goes_on_opens_as_far_as_each_rank_has_committed(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    recorders = []
    for rank, n in enumerate((5, 3)):
        monkeypatch.setenv("RANK", str(rank))
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        recorders.append(actrace.record(model, tmp_path / "x", flush_seconds=1e6))
        for _ in range(n):
            model(torch.randn(5, 4))
        recorders[-1].flush()
    run = actrace.open(tmp_path / "x")
    assert run.status == "recording"
    assert run["train"]["ranks"].values.tolist() == [2, 2, 2, 1, 1]
    assert int(run["train/unit"]["total"].isel(window=0).values[0]) == 10
    for recorder in recorders:
        recorder.close()
    assert actrace.open(tmp_path / "x").status == "finished"


def test_a_smaller_world_goes_on_with_the_run_of_the_larger_one(tmp_path, monkeypatch) -> None:
    for rank in range(3):
        record_as(monkeypatch, tmp_path / "x", rank, 3)
    for rank in range(2):
        record_as(monkeypatch, tmp_path / "x", rank, 2, resume=True)
    run = actrace.open(tmp_path / "x")
    assert run.attrs["world_size"] == 3
    # The second of the two resumed after the first had gone on, and takes up its step.
    assert run["train"]["ranks"].values.tolist() == [3] * 3 + [1] * 3 + [1] * 3
    assert run["train"]["step"].values.tolist() == list(range(9))


def test_ranks_that_were_killed_at_different_batches_go_on_together(tmp_path, monkeypatch) -> None:
    record_as(monkeypatch, tmp_path / "x", 0, 2, n=5)
    record_as(monkeypatch, tmp_path / "x", 1, 2, n=3)
    models = [nn.Sequential(nn.Linear(4, 3), nn.ReLU()) for _ in range(2)]
    recorders = []
    # Both look at what was committed before either goes on, as ranks that train together do.
    for rank, model in enumerate(models):
        monkeypatch.setenv("RANK", str(rank))
        recorders.append(actrace.record(model, tmp_path / "x", resume=True))
    for model, recorder in zip(models, recorders, strict=True):
        for _ in range(2):
            model(torch.randn(5, 4))
        recorder.close()
    run = actrace.open(tmp_path / "x")
    assert run["train"]["step"].values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert run["train"]["ranks"].values.tolist() == [2, 2, 2, 1, 1, 2, 2]
    assert run.attrs["world_size"] == 2
