"""A folder of ranks opens as one run."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
from tests.store import recording as rec

import actrace
from actrace.errors import (
    ActraceWarning,
    DamagedRunError,
    NewerSchemaError,
    NotARunError,
    RankMismatchError,
)
from actrace.store.axis import Linear
from actrace.store.catalogue.listing import list_runs
from actrace.store.merging.alignment import align_batches
from actrace.store.merging.batches import merge_batches
from actrace.store.merging.ranks import merge_runs
from actrace.store.rows import BatchRow, LayerInfo
from actrace.store.writer import RunWriter


def whole_row(index):
    """Return a batch whose elements are as many as its counts say."""
    row = rec.batch_row("train", index, lr=0.1)
    row.counters[6] = row.count.sum(axis=-1) + row.counters[:5].sum(axis=0)
    row.moments[1] = abs(row.moments[1])
    return row


def whole_window(index):
    row = rec.output_window("train", index, 4)
    for by in ("unit", "class"):
        inside = row.values[f"count_by_{by}"].sum(axis=-1)
        outside = [row.values[f"{n}_by_{by}"] for n in ("underflow", "overflow", "nonfinite")]
        row.values[f"elements_by_{by}"] = inside + sum(outside)
        row.values[f"std_by_{by}"] = abs(row.values[f"std_by_{by}"])
    return row


def write_ranks(folder, *lengths):
    """Write a rank for each length; a batch is the same on all that have it."""
    for rank, n in enumerate(lengths):
        given = {"rank": rank, "world_size": len(lengths)}
        writer = rec.new_writer(folder / f"rank-{rank}", attributes=given)
        writer.declare_output("train", rec.OUTPUT)
        for index in range(n):
            writer.append_batch(whole_row(index))
            if index % 4 == 3:
                writer.append_window(whole_window(index // 4))
                writer.append_window(rec.unit_window("train", index // 4, 4))
        writer.close()
    return folder


@pytest.fixture
def ranks(tmp_path):
    return write_ranks(tmp_path / "x", 24, 24, 24)


def edit(path, **attributes):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] |= attributes
    (path / "zarr.json").write_text(json.dumps(document))


def test_counts_add_up_and_everything_stays_lazy(ranks):
    run = actrace.open(ranks)
    one = actrace.open(ranks / "rank-1.zarr")
    assert run["train"].sizes == one["train"].sizes
    for name in ("count", "elements", "zero"):
        assert run["train"][name].chunks is not None
        assert run["train"][name].dtype == np.uint64
        np.testing.assert_array_equal(run["train"][name], 3 * one["train"][name].astype(np.uint64))
        assert run["train"][name].attrs == one["train"][name].attrs
    for name in ("mean", "min", "max", "activation_rate", "loss", "lr"):
        np.testing.assert_allclose(run["train"][name], one["train"][name], rtol=1e-6)
        assert run["train"][name].dtype == one["train"][name].dtype
    for name in ("count_by_class", "samples", "confusion"):
        got, want = (r["train/output"][name].values for r in (run, one))
        np.testing.assert_array_equal(got, 3 * want.astype(np.uint64))
    np.testing.assert_array_equal(run["train/unit"]["active"], 3 * one["train/unit"]["active"])
    assert [rank.directory.name for rank in run.ranks] == [f"rank-{i}.zarr" for i in range(3)]
    assert "rank" not in run.attrs
    assert (run.name, run.directory) == ("x", ranks)
    assert isinstance(run.isel(layer=[0]), actrace.Run)
    assert len(run.copy().ranks) == 3
    run.close()


def test_no_block_is_read_when_a_run_is_opened(ranks, monkeypatch):
    for rank in range(3):
        shutil.rmtree(ranks / f"rank-{rank}.zarr/train/count/c")
    run = actrace.open(ranks)
    with pytest.raises(DamagedRunError, match="train/count"):
        run["train"]["count"].compute()


def test_batches_that_some_ranks_lack_are_merged_from_the_others(tmp_path):
    folder = write_ranks(tmp_path / "x", 24, 18)
    run = actrace.open(folder)
    assert run["train"]["ranks"].values.tolist() == [2] * 18 + [1] * 6
    alone = actrace.open(folder / "rank-0.zarr")["train"].to_dataset().isel(batch=slice(18, None))
    late = run["train"].to_dataset().isel(batch=slice(18, None))
    for name in set(alone.variables) - {"time", "std", "norm", "mean", "activation_rate"}:
        np.testing.assert_array_equal(late[name], alone[name], err_msg=name)
    for name in ("mean", "norm", "activation_rate"):
        np.testing.assert_allclose(late[name], alone[name], rtol=1e-6)
    assert not late["time"].isnull().any()
    # Rank 1 has 2 batches beyond its last window: no window of these batches is whole.
    assert run["train/unit"]["first_batch"].values.tolist() == [0, 4, 8, 12, 20]
    assert run["train"].attrs == {"last_step": 23, "last_epoch": 2}


def test_a_missing_rank_is_said_once_and_the_rest_opens(ranks):
    shutil.rmtree(ranks / "rank-1.zarr")
    (ranks / "rank-2.zarr" / "zarr.json").write_text("{")
    with pytest.warns(
        ActraceWarning, match=r"without rank 1 \(nothing is at .*, rank 2 \("
    ) as said:
        run = actrace.open(ranks)
    assert len(said) == 1
    assert run.attrs["missing_ranks"] == [1, 2]
    assert "1 of 3 ranks; rank 1, 2 are missing" in repr(run)
    assert "1 of 3 ranks" in run._repr_html_()
    np.testing.assert_array_equal(run["train"]["count"], run.ranks[0]["train"]["count"])


def test_what_a_larger_training_left_takes_no_part(ranks):
    for rank in (0, 1):
        edit(ranks / f"rank-{rank}.zarr", world_size=2)
    with pytest.warns(ActraceWarning, match=r"rank 2 \(left by an earlier training"):
        run = actrace.open(ranks)
    assert (len(run.ranks), run.attrs["missing_ranks"], run.attrs["world_size"]) == (2, [], 2)


@pytest.mark.parametrize("said", [0, -1, True, "2", 10**30, None])
def test_a_world_size_that_cannot_be_is_not_believed(ranks, said):
    edit(ranks / "rank-0.zarr", world_size=said)
    assert actrace.open(ranks).attrs["world_size"] == 3


def test_nothing_to_open_is_an_error(ranks, tmp_path):
    for rank in range(3):
        (ranks / f"rank-{rank}.zarr" / "zarr.json").write_text("{")
    with pytest.raises(DamagedRunError, match=r"rank-0\.zarr"):
        actrace.open(ranks)
    (tmp_path / "y" / "rank-0").mkdir(parents=True)
    (tmp_path / "y" / "link").mkdir()
    (tmp_path / "y" / "rank-1.zarr").symlink_to(ranks / "rank-1.zarr")
    with pytest.raises(NotARunError, match="a directory without a run"):
        actrace.open(tmp_path / "y")


def test_a_newer_rank_is_never_passed_over(ranks):
    edit(ranks / "rank-1.zarr", actrace_schema=99)
    with pytest.raises(NewerSchemaError):
        actrace.open(ranks)


def test_attributes_are_joined(ranks):
    edit(ranks / "rank-0.zarr", lost_batches={"train": 1}, skipped={"a": "x"}, ended="2026-01-01")
    edit(ranks / "rank-1.zarr", lost_batches={"train": 2}, skipped={"b": "y"}, status="failed")
    run = actrace.open(ranks)
    assert run.lost_batches == {"train": 3}
    assert run.attrs["skipped"] == {"a": "x", "b": "y"}
    assert run.status == "failed"
    assert run.attrs["started"] == min(rank.attrs["started"] for rank in run.ranks)
    edit(ranks / "rank-2.zarr", status="recording")
    assert actrace.open(ranks).status == "failed"
    live = RunWriter.resume(ranks / "rank-0")
    assert actrace.open(ranks).status == "recording"
    live.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("axis", Linear(-2, 2, rec.N_BINS).to_dict()), ("active_threshold", 0.5)],
)
def test_ranks_that_cannot_be_merged_say_how_to_open_them(ranks, name, value):
    edit(ranks / "rank-2.zarr", **{name: value})
    with pytest.raises(
        RankMismatchError, match=rf"{name} .* rank 2 .* one by one, as actrace.open"
    ):
        actrace.open(ranks)
    one = actrace.open(ranks / "rank-2")
    assert one.ranks == ()
    assert "rank 2 of 3" in repr(one)


def stage(path, layers, n=4, **attributes):
    """Write a run of some layers whose counts are their names' numbers."""
    writer = RunWriter.create(path, axis=rec.AXIS, attributes=attributes)
    writer.declare_layers([LayerInfo(f"fc{i}", "Linear", (i,), 0, i) for i in layers])
    units = sum(layers)
    for step in range(n):
        row = BatchRow.empty(len(layers), rec.N_BINS)
        row.phase, row.step, row.samples = "train", step, 2
        for at, i in enumerate(layers):
            row.count[at], row.counters[6, at], row.moments[0, at] = i, i * rec.N_BINS, i
        writer.append_batch(row)
        values = {"active": np.repeat(layers, layers), "total": np.full(units, rec.N_BINS)}
        writer.append_window(rec.WindowRow("train", "unit", 1, 0, values))
    writer.close()


def test_layers_that_differ_between_ranks_are_united_by_name(tmp_path):
    """As the stages of a pipeline are."""
    stage(tmp_path / "x/rank-0", [1, 2])
    stage(tmp_path / "x/rank-1", [2, 3])
    run = actrace.open(tmp_path / "x")
    assert run.layer.values.tolist() == ["fc1", "fc2", "fc3"]
    assert run.attrs["missing_layers"] == {"0": ["fc3"], "1": ["fc1"]}
    assert run["train"]["count"].values[:, 0, 0].tolist() == [1, 4, 3]
    assert run["train"]["mean"].values[:, 0].tolist() == [1, 2, 3]
    assert run.coords["layer_units"].values.tolist() == [1, 2, 3]
    assert run["train/unit"]["unit_layer"].values.tolist() == [0, 1, 1, 2, 2, 2]
    assert run["train/unit"]["unit_channel"].values.tolist() == [0, 0, 1, 0, 1, 2]
    assert run["train/unit"]["active"].values[:, 0].tolist() == [1, 4, 4, 3, 3, 3]
    assert actrace.rates(run, by="epoch")["activation_rate"].values.ravel().tolist() == [
        0.25,
        0.5,
        0.75,
    ]


def test_means_are_weighted_with_what_they_are_means_of(tmp_path):
    """Rank 1 has 3 times the rows: tokens in `flat`, longer samples in `deep`."""
    nan = float("nan")
    for rank, rows in enumerate((2, 6)):
        writer = RunWriter.create(tmp_path / f"x/rank-{rank}", axis=rec.AXIS, attributes={})
        writer.declare_layers([LayerInfo("flat", "Linear", (4,), 0), LayerInfo("deep", "", (9, 4))])
        for step, loss in enumerate((1.0 + rank, nan if rank else 5.0, nan)):
            row = BatchRow.empty(2, rec.N_BINS)
            row.phase, row.step, row.samples, row.loss = "train", step, 1 + rank, loss
            row.time, row.logged = 1e9 + rank, {"lr": 1.0 + rank}
            row.counters[6], row.counters[7] = 4 * rows, 1
            row.count[:, 0] = 4 * rows
            row.moments[4], row.moments[5] = 10.0 * (1 + rank), 0.5 * rank
            writer.append_batch(row)
        writer.close()
    train = actrace.open(tmp_path / "x")["train"]
    np.testing.assert_allclose(train["norm"].values[:, 0], [(2 * 10 + 6 * 20) / 8, 50 / 3], 1e-6)
    np.testing.assert_allclose(train["activation_rate"].values[:, 0], [0.375, 0.375])
    np.testing.assert_allclose(train["loss"].values, [5 / 3, 5.0, nan])
    assert train["lr"].values.tolist() == [1.5] * 3
    assert train["calls"].values.tolist() == [[1] * 3] * 2
    assert train["samples"].values.tolist() == [3] * 3
    assert train["time"].values[0] == np.datetime64(10**9 + 1, "s")


def test_a_rank_that_has_not_begun_is_no_pipeline_stage(tmp_path):
    stage(tmp_path / "x/rank-0", [1, 2])
    RunWriter.create(tmp_path / "x/rank-1", axis=rec.AXIS, attributes={}).close()
    run = actrace.open(tmp_path / "x")
    assert "missing_layers" not in run.attrs
    assert (run["train"]["ranks"] == 1).all()


def test_outputs_of_another_kind_are_left_out_and_said(tmp_path):
    for rank, output in enumerate((rec.OUTPUT, rec.OUTPUT, rec.ONE_LOGIT)):
        writer = rec.new_writer(tmp_path / f"x/rank-{rank}")
        writer.declare_output("train", output)
        for index in range(4):
            writer.append_batch(rec.batch_row("train", index))
        writer.append_window(rec.output_window("train", 0, 4, output))
        writer.close()
    run = actrace.open(tmp_path / "x")
    assert run["train/output"].attrs["task"] == "single-label"
    one = run.ranks[0]["train/output"]["samples"]
    np.testing.assert_array_equal(run["train/output"]["samples"], 2 * one)
    assert list(run.attrs["skipped"]) == ["output of rank 2"]


def test_windows_of_different_ends_are_coarsened(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 2))
    for rank, lengths in enumerate(([3, 3, 2, 4], [2, 4, 6])):
        writer = rec.new_writer(tmp_path / f"x/rank-{rank}")
        writer.declare_output("train", rec.OUTPUT)
        done = 0
        for length in lengths:
            for index in range(done, done + length):
                writer.append_batch(rec.batch_row("train", index))
            values = rec.output_window("train", 0, length).values
            part = x[12 * rank + done : 12 * rank + done + length]
            values["elements_by_unit"][:] = length
            values["nonfinite_by_unit"][:] = 0
            values["mean_by_unit"][:] = part.mean(0)[:, None]
            values["std_by_unit"][:] = part.std(0)[:, None]
            values["samples"][:] = length
            writer.append_window(rec.WindowRow("train", "output", length, 0, values))
            done += length
        writer.close()
    group = actrace.open(tmp_path / "x")["train/output"]
    assert group["first_batch"].values.tolist() == [0, 6]
    assert group["samples"].values.tolist() == [[12, 12]] * 2
    for window, part in enumerate((slice(0, 6), slice(6, 12))):
        both = np.concatenate([x[:12][part], x[12:][part]])
        np.testing.assert_allclose(group["mean_by_unit"].values[:, 0, window], both.mean(0))
        np.testing.assert_allclose(group["std_by_unit"].values[:, 1, window], both.std(0))


def test_a_death_rate_says_where_it_is_a_bound(ranks, tmp_path):
    run = actrace.open(ranks)
    assert run["train"]["death_rate"].attrs["comment"].startswith("in 24 of 24 batches the small")
    stage(tmp_path / "y/rank-0", [1, 2])
    stage(tmp_path / "y/rank-1", [1, 2])
    exact = actrace.open(tmp_path / "y")["train"]["death_rate"]
    assert exact.attrs["comment"] == "exact"
    assert (exact == 0).all()


def gradients(rank, kind, rows=("w", "b")):
    """Return a made-up gradient group of two parameters and three batches."""
    rng = np.random.default_rng(rank)
    n, b = len(rows), 3
    values = {
        name: (("parameter", "batch"), rng.integers(0, 3, (n, b)).astype(np.uint32))
        for name in ("underflow", "overflow", "nan", "posinf", "neginf", "zero")
    }
    values["elements"] = (("parameter", "batch"), np.full((n, b), 90 + 10 * rank, np.uint32))
    for name in ("mean", "std", "min", "max", "norm", "activation_rate", "death_rate"):
        values[name] = (("parameter", "batch"), rng.uniform(size=(n, b)).astype(np.float32))
    values["count"] = (
        ("parameter", "gradient_bin", "batch"),
        rng.integers(0, 9, (n, 4, b)).astype(np.uint32),
    )
    values["gradient_scale"] = ("batch", np.full(b, 8.0))
    coords = {"parameter": list(rows), "gradient_bin_left": ("gradient_bin", np.arange(4.0))}
    return xr.Dataset(values, coords, {"gradients": kind})


def test_whole_gradients_are_the_first_ranks():
    groups = [gradients(rank, "whole") for rank in range(2)]
    alignment = align_batches([np.array([0, 2]), np.array([0, 1, 2])], [np.zeros(2), np.zeros(3)])
    found = merge_batches([groups[0].isel(batch=[0, 2]), groups[1]], alignment, kind="whole")
    for name in ("count", "norm", "death_rate", "gradient_scale"):
        want = np.stack([groups[r][name].values[..., i] for i, r in enumerate((0, 1, 0))], axis=-1)
        np.testing.assert_array_equal(found[name], want)


def test_sharded_gradients_are_pieces_of_one():
    groups = [gradients(rank, "sharded") for rank in range(2)]
    same = align_batches([np.arange(3)] * 2, [np.zeros(3)] * 2)
    found = merge_batches(groups, same, kind="sharded")
    np.testing.assert_array_equal(found["count"], groups[0]["count"] + groups[1]["count"])
    norms = [group["norm"].values.astype(np.float64) for group in groups]
    np.testing.assert_allclose(found["norm"], np.hypot(*norms), rtol=1e-6)
    dead = [group["death_rate"].values for group in groups]
    np.testing.assert_allclose(found["death_rate"], (90 * dead[0] + 100 * dead[1]) / 190, rtol=1e-6)
    assert (found["gradient_scale"] == 8).all()
    assert "ranks" not in found


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_gradients_are_part_of_a_merged_run(ranks, kind):
    runs = {}
    for rank in range(2):
        run = actrace.open(ranks / f"rank-{rank}")
        phase = run["train"].to_dataset(inherit=False).isel(batch=slice(3))
        rows = ("w", "b") if rank else ("b", "a")
        run["train"] = xr.DataTree(phase, {"gradient": xr.DataTree(gradients(rank, kind, rows))})
        runs[rank] = run
    found = merge_runs(runs)["train/gradient"]
    assert found["parameter"].values.tolist() == ["b", "a", "w"]
    assert found.attrs["gradients"] == kind
    b = [runs[0]["train/gradient"]["count"].values[0], runs[1]["train/gradient"]["count"].values[1]]
    np.testing.assert_array_equal(found["count"].values[0], b[0] if kind == "whole" else sum(b))
    edges = ("gradient_bin", np.arange(4.0) + 1)
    runs[1]["train/gradient"].coords["gradient_bin_left"] = edges
    with pytest.raises(RankMismatchError, match="'gradient_bin_left' differs"):
        merge_runs(runs)


def test_a_folder_of_ranks_is_listed_as_one_run(ranks, tmp_path, capsys):
    rec.write_run(tmp_path / "alone", 4)
    rec.write_run(tmp_path / "x" / "more" / "inside", 4)
    (ranks / "rank-2.zarr" / "zarr.json").write_text("{")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert set(runs) == {"alone", "x", "x/more/inside"}
    one = runs["x"]
    assert (one.ranks, one.status, one.batches, one.path) == (3, "finished", {"train": 24}, ranks)
    assert one.size == sum(p.stat().st_size for p in ranks.glob("rank-*/**/*") if p.is_file())
    assert one.problem.startswith("rank 2: ")
    assert [run.name for run in list_runs(ranks)] == ["x", "more/inside"]
    assert runs["alone"].ranks == 0


def test_the_commands_take_a_folder_of_ranks(tmp_path, capsys):
    from actrace.cli import main

    folder = write_ranks(tmp_path / "lr-0.05", 24, 24)
    assert main(["ls", str(tmp_path)]) == 0
    assert "lr-0.05 (2 ranks)" in capsys.readouterr().out
    assert main(["info", str(folder), "--layers", "--epochs"]) == 0
    assert "2 ranks" in capsys.readouterr().out
    assert main(["chart", str(folder)]) == 0
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"lr-0.05-colorful.png", "lr-0.05-twin-peaks.png"}


def test_opening_ranks_warns_of_nothing(ranks):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actrace.open(ranks)["train"].to_dataset().compute()
