"""What is appended and committed comes back, whatever the order of things."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store import recording as rec

from actrace.store.reader import open_run
from actrace.store.rows import LayerInfo, OutputInfo
from actrace.store.schema import PHASE_VARIABLES
from actrace.store.writer import RunWriter

PHASES = ("train", "valid", "test")
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.sampled_from(PHASES), st.integers(1, 90)),
        st.tuples(st.just("log"), st.sampled_from(PHASES), st.sampled_from(("lr", "acc"))),
        st.tuples(st.just("window"), st.sampled_from(PHASES), st.integers(1, 5)),
        st.tuples(st.sampled_from(("commit", "resume", "crash")), st.none(), st.none()),
    ),
    max_size=25,
)


class Plain:
    """The same run kept in lists: the reference."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, object]]] = {}
        self.windows: dict[str, list[tuple[int, int, int]]] = {}

    def copy(self) -> Plain:
        other = Plain()
        other.rows = {k: list(v) for k, v in self.rows.items()}
        other.windows = {k: list(v) for k, v in self.windows.items()}
        return other


def check(path: Path, plain: Plain, layers: int, bins: int) -> None:
    run = open_run(path)
    try:
        assert run.phases == tuple(plain.rows)
        for phase, rows in plain.rows.items():
            dataset = run[phase].to_dataset()
            assert dataset.sizes["batch"] == len(rows)
            logged = {name for row in rows for name in row} - {v.name for v in PHASE_VARIABLES}
            assert set(dataset.data_vars) == logged | {v.name for v in PHASE_VARIABLES}
            for name in [v.name for v in PHASE_VARIABLES if v.name != "time"] + sorted(logged):
                want = np.stack([np.asarray(r.get(name, np.nan)) for r in rows], axis=-1)
                got = dataset[name].values
                np.testing.assert_array_equal(got, want.astype(got.dtype), err_msg=name)
            windows = plain.windows.get(phase, [])
            if windows:
                unit = run[phase]["unit"].to_dataset()
                assert list(zip(unit.first_batch.values, unit.batches.values, strict=True)) == [
                    (first, n) for first, n, _ in windows
                ]
                want = np.stack([np.full(layers, index) for _, _, index in windows], axis=-1)
                np.testing.assert_array_equal(unit["active"].values, want)
    finally:
        run.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS, layers=st.integers(1, 4), bins=st.integers(2, 5))
def test_any_sequence_of_append_commit_resume_and_crash_equals_plain_lists(actions, layers, bins):
    """A crash loses what was not committed and nothing else."""
    folder = Path(tempfile.mkdtemp())
    try:
        axis = rec.Linear(-1, 1, bins)
        writer = RunWriter.create(folder / "run", axis=axis, attributes={})
        writer.declare_layers([LayerInfo(f"l{i}", "X", (1,), i, 1) for i in range(layers)])
        writer.commit()
        plain = Plain()
        committed = plain.copy()
        serial = 0
        for action, phase, extra in actions:
            if action in ("batch", "log"):
                for _ in range(extra if action == "batch" else 1):
                    logged = {extra: float(serial)} if action == "log" else {}
                    row = rec.batch_row(phase, serial, layers, bins, **logged)
                    writer.append_batch(row)
                    plain.rows.setdefault(phase, []).append(rec.batch_values(row))
                    serial += 1
            elif action == "window" and len(plain.rows.get(phase, [])) >= extra:
                values = {name: np.full(layers, serial) for name in ("active", "total")}
                writer.append_window(rec.WindowRow(phase, "unit", extra, 0, values))
                first = len(plain.rows[phase]) - extra
                plain.windows.setdefault(phase, []).append((first, extra, serial))
            elif action in ("commit", "resume"):
                writer.commit()
                committed = plain.copy()
                check(writer.path, committed, layers, bins)
            if action in ("resume", "crash"):
                writer._lock.release()
                writer = RunWriter.resume(folder / "run")
                plain = committed.copy()
                for name, rows in plain.rows.items():
                    assert writer.n_batches(name) == writer.n_committed(name) == len(rows)
                    assert writer.last_scalars(name)["step"] == rows[-1]["step"]
        writer.close()
        check(writer.path, plain, layers, bins)
    finally:
        shutil.rmtree(folder)


def test_windows_of_every_task_come_back(tmp_path):
    for info in (rec.OUTPUT, rec.ONE_LOGIT, rec.REGRESSION):
        writer = rec.new_writer(tmp_path / info.task)
        writer.declare_output("train", info)
        windows = []
        for index in range(30):
            writer.append_batch(rec.batch_row("train", index))
            windows.append(rec.output_window("train", index, 1, info))
            writer.append_window(windows[-1])
            if index == 11:
                writer.commit()
                writer._lock.release()
                writer = RunWriter.resume(writer.path)
                known = writer.output("train")
                assert (known.task, known.classes, known.units) == (
                    info.task,
                    info.classes,
                    info.units,
                )
                writer.declare_output("train", info)
        writer.close()
        group = open_run(writer.path).output("train")
        assert group is not None
        assert tuple(group.role.values) == info.roles
        assert tuple(group.output_unit.values) == info.units
        assert group.attrs["threshold"] == (0.5 if info.task == "binary" else None)
        for name in windows[0].values:
            want = np.stack([window.values[name] for window in windows], axis=-1)
            np.testing.assert_array_equal(group[name].values, want, err_msg=name)


def test_units_are_laid_end_to_end(tmp_path):
    run = open_run(rec.write_run(tmp_path / "a", 8))
    unit = run["train"]["unit"]
    assert unit["unit_layer"].values.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert unit["unit_channel"].values.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]


def test_plain_xarray_opens_the_same_values(tmp_path):
    path = rec.write_run(tmp_path / "a", 50)
    ours = open_run(path)
    with xr.open_datatree(path) as plain:
        rec.assert_rows(plain["train"], "train", list(range(50)))
        for node in plain.subtree:
            for name, variable in node.data_vars.items():
                mine = ours[node.path][name]
                assert mine.dims == variable.dims
                np.testing.assert_array_equal(mine.values, variable.values, err_msg=str(name))
        assert set(plain.coords) == set(ours.coords) >= {"layer", "bin_left", "layer_type"}


def test_time_is_decoded_with_nan_as_missing(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    row = rec.batch_row("train", 0)
    row.time = float("nan")
    writer.append_batch(row)
    writer.append_batch(rec.batch_row("train", 1))
    writer.close()
    times = open_run(writer.path)["train"]["time"].values
    assert np.isnat(times[0])
    assert times[1] == np.datetime64("2023-11-14T22:13:21", "ns")


def test_counts_beyond_32_bits_are_kept_where_layers_are_huge(tmp_path):
    writer = RunWriter.create(tmp_path / "a", axis=rec.AXIS, attributes={})
    writer.declare_layers([LayerInfo("big", "Conv2d", (64, 512, 512), 0, 64)])
    row = rec.batch_row("train", 0, n_layers=1)
    row.count[0, 0] = 2**40
    writer.append_batch(row)
    writer.close()
    count = open_run(writer.path)["train"]["count"]
    assert count.dtype == np.uint64
    assert int(count[0, 0, 0]) == 2**40


def test_a_run_has_few_files(tmp_path):
    """A phase of 4,000 batches: one file a small variable, and a shard for each 1,024 batches."""
    writer = rec.new_writer(tmp_path / "a")
    for index in range(4000):
        writer.append_batch(rec.batch_row("train", index % 7))
    writer.close()
    chunks = [
        p for p in (writer.path / "train").rglob("*") if p.is_file() and p.name != "zarr.json"
    ]
    assert len(chunks) == 4 + len(PHASE_VARIABLES) - 1


def test_blocks_are_long_in_time_and_one_layer_high(tmp_path):
    run = open_run(rec.write_run(tmp_path / "a", 40))
    assert run["train"]["count"].chunks == ((1, 1, 1), (rec.N_BINS,), (40,))
    assert run["train"]["mean"].chunks == ((3,), (40,))


def test_a_block_holds_all_of_many_classes(tmp_path):
    for n in (100, 5):
        names = tuple(map(str, range(n)))
        info = OutputInfo("layer2", "single-label", names, names)
        writer = rec.new_writer(tmp_path / str(n))
        writer.declare_output("train", info)
        writer.append_batch(rec.batch_row("train", 0))
        writer.append_window(rec.output_window("train", 0, 1, info))
        writer.close()
        count = open_run(writer.path)["train/output/count_by_class"]
        assert count.chunks[0] == ((100,) if n == 100 else (1,) * 5)
