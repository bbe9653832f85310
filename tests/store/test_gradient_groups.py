"""Gradient groups grow in lock-step with their phase, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store import recording as rec

from actrace.errors import DamagedRunError, StoreWriteError
from actrace.store.axis import Linear
from actrace.store.files import RunFiles
from actrace.store.gradients import GradientInfo, GradientRow, ParameterInfo
from actrace.store.reader import open_run
from actrace.store.rows import BatchRow
from actrace.store.schema import GRADIENT_COUNTERS, GRADIENT_GROUPS, GRADIENT_MOMENTS
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

PARAMETERS = (ParameterInfo("a.weight", (3, 4)), ParameterInfo("a.bias", (3,)))
INFO = GradientInfo(PARAMETERS, outputs=True, axis=Linear(-1, 1, 6))
PHASES = ("train", "valid")


def gradient_row(phase: str, group: str, index: int) -> GradientRow:
    rng = rec.random_for(f"{phase}/{group}", index)
    row = GradientRow.empty(len(PARAMETERS) if group == "gradient" else rec.N_LAYERS, 6)
    row.count[:] = rng.integers(0, 50, row.count.shape)
    row.counters[:] = rng.integers(0, 9, row.counters.shape)
    row.moments[:] = rng.normal(size=row.moments.shape).astype(np.float32)
    row.scale, row.seen = float(rng.integers(1, 9)), True
    return row


def batch_row(phase: str, index: int, seen: bool, outputs: bool) -> BatchRow:
    row = rec.batch_row(phase, index)
    if seen:
        row.gradient = gradient_row(phase, "gradient", index)
        if outputs:
            row.output_gradient = gradient_row(phase, "output_gradient", index)
    return row


def values(row: GradientRow | None, n: int) -> dict[str, Any]:
    row = row or GradientRow.empty(n, 6)
    found: dict[str, Any] = {"count": row.count, "gradient_scale": row.scale}
    found |= {v.name: row.counters[i] for i, v in enumerate(GRADIENT_COUNTERS)}
    found |= {v.name: row.moments[i] for i, v in enumerate(GRADIENT_MOMENTS)}
    return found


def check(tree: xr.DataTree, plain: dict[str, list[BatchRow]]) -> None:
    """Assert that the tree holds exactly the rows, in every gradient group."""
    for phase, rows in plain.items():
        assert tree[phase].sizes["batch"] == len(rows)
        for name in GRADIENT_GROUPS:
            parts = [getattr(row, name) for row in rows]
            if not any(parts):
                assert name not in tree[phase].children
                continue
            group = tree[f"{phase}/{name}"].to_dataset()
            assert group.sizes["batch"] == len(rows)
            n = group.sizes["parameter" if name == "gradient" else "layer"]
            wanted = [values(part, n) for part in parts]
            for variable in wanted[0]:
                want = np.stack([np.asarray(value[variable]) for value in wanted], axis=-1)
                got = group[variable].values
                np.testing.assert_array_equal(got, want.astype(got.dtype), err_msg=variable)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("batch"), st.sampled_from(PHASES), st.booleans(), st.booleans(),
            st.integers(1, 40),
        ),
        st.tuples(st.sampled_from(("commit", "crash", "forget"))),
    ),
    max_size=15,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
def test_any_sequence_of_batches_commits_and_crashes_keeps_the_groups_in_step(
    actions: list[tuple[Any, ...]],
) -> None:
    """Also where gradients begin late, and where a resumed run does not ask for them."""
    folder = Path(tempfile.mkdtemp())
    try:
        writer = rec.new_writer(folder / "run")
        writer.declare_gradients(INFO)
        writer.commit()
        plain: dict[str, list[BatchRow]] = {}
        committed: dict[str, list[BatchRow]] = {}
        asked = True
        for action, *rest in actions:
            if action == "batch":
                phase, seen, outputs, n = rest
                for _ in range(n):
                    rows = plain.setdefault(phase, [])
                    rows.append(batch_row(phase, len(rows), seen and asked, outputs))
                    writer.append_batch(rows[-1])
                continue
            if action == "commit":
                writer.commit()
                committed = {phase: list(rows) for phase, rows in plain.items()}
                with xr.open_datatree(writer.path) as tree:
                    check(tree, committed)
                continue
            writer._lock.release()
            writer = RunWriter.resume(folder / "run")
            plain = {phase: list(rows) for phase, rows in committed.items()}
            asked = action == "crash"
            if asked:
                writer.declare_gradients(INFO)
        writer.close()
        run = open_run(writer.path)
        check(run, plain)
        run.close()
    finally:
        shutil.rmtree(folder)


def written(path: Path, n: int = 40) -> Path:
    writer = rec.new_writer(path)
    writer.declare_gradients(INFO)
    for index in range(n):
        writer.append_batch(batch_row("train", index, index >= 3, True))
    writer.close()
    return writer.path


def test_names_shapes_bins_and_attributes_come_back(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    with xr.open_datatree(path) as plain:
        for tree in (open_run(path), plain):
            group = tree["train/gradient"]
            assert group["parameter"].values.tolist() == ["a.weight", "a.bias"]
            assert group["parameter_shape"].values.tolist() == ["3x4", "3"]
            np.testing.assert_array_equal(group["gradient_bin_left"], INFO.axis.left)
            np.testing.assert_array_equal(group["gradient_bin_right"], INFO.axis.right)
            assert group.attrs["gradients"] == "whole"
            assert "gradients" not in tree["train/output_gradient"].attrs
            assert tree["train/output_gradient"]["layer"].size == rec.N_LAYERS
            for name in ("parameter_shape", "gradient_bin_left", "gradient_bin_right"):
                assert name in group.coords
    writer = RunWriter.resume(path)
    assert writer.gradients == GradientInfo(PARAMETERS, axis=INFO.axis)
    writer.close()


def test_a_run_says_which_gradients_it_has(tmp_path: Path) -> None:
    words = "gradient of 2 parameters in train; of 3 layers' outputs in train"
    assert words in repr(open_run(written(tmp_path / "a")))
    assert "\n  gradient" not in repr(open_run(rec.write_run(tmp_path / "b")))


def test_other_parameters_than_the_run_s_are_refused(tmp_path: Path) -> None:
    writer = RunWriter.resume(written(tmp_path / "a"))
    writer.declare_gradients(INFO)
    with pytest.raises(ValueError, match=r"gradients of 2 parameters and got 1 others: 'a.bias'"):
        writer.declare_gradients(GradientInfo(PARAMETERS[:1], axis=INFO.axis))
    with pytest.raises(ValueError, match="their shapes, bins or sharding differ"):
        writer.declare_gradients(GradientInfo(PARAMETERS, sharded=True, axis=INFO.axis))
    writer.close()


def test_a_gradient_that_was_not_declared_loses_its_batch_and_no_more(tmp_path: Path) -> None:
    writer = rec.new_writer(tmp_path / "a")
    writer.append_batch(rec.batch_row("train", 0))
    with pytest.raises(ValueError, match="call declare_gradients first"):
        writer.append_batch(batch_row("train", 1, True, False))
    writer.append_batch(rec.batch_row("train", 1))
    writer.close()
    rec.assert_rows(open_run(writer.path)["train"], "train", [0, 1])


def test_a_row_that_does_not_fit_one_group_is_taken_by_none(tmp_path: Path) -> None:
    writer = rec.new_writer(tmp_path / "a")
    writer.declare_gradients(INFO)
    rows = [batch_row("train", index, True, True) for index in range(3)]
    writer.append_batch(rows[0])
    bad = batch_row("train", 1, True, True)
    assert bad.output_gradient is not None
    bad.output_gradient.count[0, 0] = 2**33
    with pytest.raises(OverflowError):
        writer.append_batch(bad)
    writer.append_batch(rows[1])
    writer.close()
    check(open_run(writer.path), {"train": rows[:2]})


def test_a_full_disk_leaves_the_groups_in_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the write fails: a full chunk, or the rows before a group begins."""
    write, refused = RunFiles.write, {"gradient": 0}

    def refuse(self: RunFiles, key: str, data: bytes) -> None:
        if f"/{where}/" in key and refused["gradient"] < 2 and armed:
            refused["gradient"] += 1
            raise StoreWriteError("planted")
        write(self, key, data)

    monkeypatch.setattr(RunFiles, "write", refuse)
    for where in GRADIENT_GROUPS:
        refused["gradient"], armed = 0, True
        writer = rec.new_writer(tmp_path / where)
        writer.declare_gradients(INFO)
        plain: list[BatchRow] = []
        lost = 0
        for index in range(2100):
            row = batch_row("train", len(plain), index >= 1050, True)
            try:
                writer.append_batch(row)
                plain.append(row)
            except StoreWriteError:
                lost += 1
        armed = False
        writer.close()
        assert lost == refused["gradient"] == 2
        check(open_run(writer.path), {"train": plain})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda nodes: nodes.pop("train/gradient/norm"), "it lacks 'train/gradient/norm'"),
        (
            lambda nodes: [
                node["shape"].__setitem__(-1, 39)
                for path, node in nodes.items()
                if path.startswith("train/gradient/") and node["dimension_names"][-1] == "batch"
            ],
            "'train/gradient' has 39 batches and 'train' has 40",
        ),
        (
            lambda nodes: nodes["train/gradient"]["attributes"].update(axis={"kind": "x"}),
            "the axis of 'train/gradient' is not valid",
        ),
        (
            lambda nodes: nodes["train/gradient"]["attributes"]["axis"].update(bins=7),
            "the axis of 'train/gradient' has 7 bins and its 'gradient_bin_left' has 6",
        ),
    ],
)
def test_a_group_that_contradicts_its_phase_is_damage(
    tmp_path: Path, change: Any, message: str
) -> None:
    path = written(tmp_path / "a")
    document = json.loads((path / "zarr.json").read_text())
    change(document["consolidated_metadata"]["metadata"])
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DamagedRunError, match=message):
        open_run(path)


@pytest.mark.parametrize("name", [*GRADIENT_GROUPS, "parameter", "gradient_bin"])
def test_names_of_the_groups_are_taken(tmp_path: Path, name: str) -> None:
    writer = rec.new_writer(tmp_path / "a")
    with pytest.raises(ValueError, match="taken by the schema"):
        writer.append_batch(rec.batch_row(name, 0))
    writer.close()


@pytest.mark.parametrize("at_once", [1, 2, 6])
def test_batches_with_and_without_gradients_are_written_together(
    tmp_path: Path, at_once: int
) -> None:
    thread = WriterThread(rec.new_writer(tmp_path / "a"))
    thread.declare_gradients(INFO)
    plain = [batch_row("train", index, index % 2 == 1, index % 4 == 1) for index in range(6)]
    for start in range(0, 6, at_once):
        some = plain[start : start + at_once]
        rows = rec.batch_rows(some)
        rows.gradient = [row.gradient for row in some]
        rows.output_gradient = [row.output_gradient for row in some]
        thread.call(thread.write_batches, rows)
    assert thread.close()
    check(open_run(tmp_path / "a"), {"train": plain})


def test_a_killed_writer_loses_no_acknowledged_gradient(tmp_path: Path) -> None:
    """Five kills anywhere after a commit; each time the same run goes on."""
    path, root = tmp_path / "run.zarr", Path(__file__).parents[2]
    acknowledged = 0
    for kill in range(5):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.store.test_gradient_groups", str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        ) as writing:
            assert writing.stdout is not None
            for _ in range(1 + kill % 3):
                acknowledged = int(writing.stdout.readline())
            writing.kill()
            for line in writing.stdout:
                if line.endswith("\n"):
                    acknowledged = int(line)
        run = open_run(path)
        n = run["train"].sizes["batch"]
        assert n >= acknowledged
        check(run, {"train": [batch_row("train", i, i >= 5 and i % 3 > 0, True) for i in range(n)]})
        run.close()
    assert acknowledged > 50


def write_until_killed(path: Path) -> None:
    writer = RunWriter.resume(path) if path.exists() else rec.new_writer(path)
    writer.declare_gradients(INFO)
    while True:
        for _ in range(9):
            index = writer.n_batches("train")
            writer.append_batch(batch_row("train", index, index >= 5 and index % 3 > 0, True))
        writer.commit()
        print(writer.n_batches("train"), flush=True)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]))
