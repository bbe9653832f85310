"""Comparing runs on disk: through levels, by path, from the table of runs, of several ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analysis.comparison.test_compare import made
from tests.store import recording as rec

import actrace
from actrace.analysis.comparison.align import choose_level
from actrace.analysis.comparison.compare import compare
from actrace.errors import NotARunError
from actrace.store.schema import COUNTERS
from actrace.store.writer import RunWriter

ELEMENTS = [v.name for v in COUNTERS].index("elements")
#: What follows from counts, exactly.
EXACT = ["jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger", "noise", "batches"]


def sound(row: rec.BatchRow) -> None:
    """Let a made-up row's elements be those of its counts."""
    row.counters[:] = 0
    row.counters[ELEMENTS] = row.count.sum(axis=-1)
    row.moments[:] = np.abs(row.moments)


def write(path: Path, n: int, seed: int, **settings: bool) -> Path:
    writer = rec.new_writer(path, **settings)
    rows = [rec.batch_row("train", i + 10_000 * seed) for i in range(n)]
    for i, row in enumerate(rows):
        row.step, row.epoch = i, i // 200
        sound(row)
    for first in range(0, n, 50):
        writer.append_batches(rec.batch_rows(rows[first : first + 50]))
    writer.close()
    return writer.path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        for levels in (True, False):
            write(path / f"{seed}-{levels}", 1130, seed, levels=levels)
    return path


@pytest.mark.parametrize(("by", "width", "factor"), [("step", 20, 16), ("step", 100, 16),
                                                      ("samples", 20, 16), ("step", 200, 1),
                                                      ("epoch", 9, 1)])  # fmt: skip
def test_levels_give_the_same_to_the_last_bit(
    folder: Path, by: str, width: int, factor: int
) -> None:
    through = compare([folder / "1-True", folder / "2-True"], by=by, width=width).load()
    batchwise = compare([folder / "1-False", folder / "2-False"], by=by, width=width).load()
    assert through.attrs["batches_a_column"] == [factor, factor]
    assert batchwise.attrs["batches_a_column"] == [1, 1]
    for name in EXACT:
        np.testing.assert_array_equal(through[name].values, batchwise[name].values, err_msg=name)
    for name in ("mean", "activation_rate", "loss"):
        np.testing.assert_allclose(through[name], batchwise[name], rtol=1e-6, err_msg=name)


def test_columns_across_the_end_of_a_position_are_told(folder: Path) -> None:
    found = compare([folder / "1-True", folder / "2-True"], by="fraction", width=3)
    found.load()
    assert found.data.attrs["batches_a_column"] == [16, 16]
    assert all(0 < moved < 2 * 16 for moved in found.data.attrs["batches_in_a_neighbour"])
    assert "columns of 16 batches" in repr(found)
    assert found.data["batches"].sum("position").values.tolist() == [1130, 1130]


@pytest.mark.parametrize(("length", "factor"), [(300, 16), (200, 1), (192, 16)])
def test_a_level_is_taken_only_where_it_fits(folder: Path, length: int, factor: int) -> None:
    with actrace.open(folder / "1-True") as run:
        found = choose_level(run, "train", np.arange(1130) // length)
    assert found.factor == factor
    assert found.parts[1].start == -(-length // factor)
    assert (found.moved == 0) is (length % factor == 0)


def test_paths_give_what_opened_runs_give_and_are_closed_after_it(folder: Path) -> None:
    paths = [folder / "1-True", str(folder / "2-True.zarr")]
    given = compare(paths)
    opened = [actrace.open(path) for path in paths]
    xr.testing.assert_identical(given.load(), compare(opened).load())
    assert given.runs == ("1-True", "2-True")
    assert opened[0]["train"]["loss"].notnull().all()  # runs that were given stay open


def test_a_table_of_runs_is_compared(folder: Path) -> None:
    table = actrace.runs(folder)
    found = compare(table, baseline="2-True", width=4)
    assert found.runs == ("1-False", "1-True", "2-False", "2-True")
    assert float(found.load()["jensen_shannon"].sel(run="2-False").max()) == 0
    assert [part.run for part in found.parts] == ["1-False", "1-True", "2-False"]


def test_a_path_without_a_run_is_an_error(folder: Path) -> None:
    with pytest.raises(NotARunError):
        compare([folder / "1-True", folder / "none"])


def test_a_run_of_two_ranks_is_compared_as_the_whole(tmp_path: Path) -> None:
    for rank in (0, 1):
        writer = RunWriter.create(
            tmp_path / "both" / f"rank-{rank}", axis=rec.AXIS,
            attributes={"rank": rank, "world_size": 2},
        )  # fmt: skip
        writer.declare_layers(rec.LAYERS)
        for i in range(40):
            writer.append_batch(rec.batch_row("train", i))
        writer.close()
    rec.write_run(tmp_path / "one", 40)
    found = compare([tmp_path / "one", tmp_path / "both"]).load()
    # Twice the same counts are the same shares.
    assert float(found["jensen_shannon"].max()) == pytest.approx(0, abs=1e-12)


def test_a_live_run_is_compared_as_of_its_last_commit(tmp_path: Path) -> None:
    rec.write_run(tmp_path / "done", 40)
    writer = rec.new_writer(tmp_path / "live")
    for i in range(10):
        writer.append_batch(rec.batch_row("train", i))
    writer.commit()
    found = compare([tmp_path / "done", tmp_path / "live"])
    assert int(found.load()["batches"].sel(run="live").sum()) == 10
    assert "live is still recording" in repr(found)
    writer.close()


def test_a_sampled_run_is_compared_by_its_shares() -> None:
    whole, part = made(1), made(1)
    train = part["train"].to_dataset()
    # Half of twice as many were read.
    sampled = train.assign(elements=2 * train["elements"], sampled=train["elements"])
    part["train"] = xr.DataTree(sampled)
    part.attrs["sample"] = {"mode": "histogram", "stride": 2}
    found = compare({"whole": whole, "part": part}).load()
    assert float(found["jensen_shannon"].max()) == 0
    np.testing.assert_allclose(found["mean"][0], found["mean"][1])
