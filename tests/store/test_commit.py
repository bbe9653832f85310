"""A commit happens whole or not at all, wherever it is cut off."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.store import recording as rec

from actrace.errors import (
    DamagedRunError,
    NewerSchemaError,
    NotARunError,
    RunExistsError,
    StoreWriteError,
)
from actrace.store import files as files_module
from actrace.store.document import json_ready
from actrace.store.paths import TEMPORARY
from actrace.store.reader import open_run
from actrace.store.rows import LayerInfo
from actrace.store.writer import RunWriter


class Cut(BaseException):
    """The process ends here."""


def test_the_root_document_equals_what_zarr_would_consolidate(tmp_path):
    path = rec.write_run(tmp_path / "a")
    ours = json.loads((path / "zarr.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)
    theirs = json.loads((path / "zarr.json").read_text())
    for node in theirs["consolidated_metadata"]["metadata"].values():
        # zarr also marks every group in it as consolidated; there is nothing to say there.
        node.pop("consolidated_metadata", None)
    assert ours == theirs


def test_each_array_stands_on_disk_as_the_root_says(tmp_path):
    path = rec.write_run(tmp_path / "a")
    root = json.loads((path / "zarr.json").read_text())
    for name, node in root["consolidated_metadata"]["metadata"].items():
        assert json.loads((path / name / "zarr.json").read_text()) == node


def test_a_root_document_from_before_still_reads_its_own_prefix(tmp_path):
    """The commit is that one file: later chunk files and array documents do not disturb it."""
    writer = rec.new_writer(tmp_path / "a")
    for index in range(20):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    before = (writer.path / "zarr.json").read_bytes()
    for index in range(20, 1500):
        writer.append_batch(rec.batch_row("train", index))
    writer.close()
    (writer.path / "zarr.json").write_bytes(before)
    with xr.open_datatree(writer.path) as plain:
        rec.assert_rows(plain["train"], "train", list(range(20)))
    rec.assert_rows(open_run(writer.path)["train"], "train", list(range(20)))


def grow(writer: RunWriter, start: int) -> None:
    """Fill a shard, start another, a new phase, a late variable and windows; commit."""
    writer.declare_output("train", rec.OUTPUT)
    for index in range(start, start + 20):
        writer.append_batch(rec.batch_row("train", index))
    writer.append_window(rec.output_window("train", start, 20))
    writer.append_window(rec.unit_window("train", start, 20))
    writer.append_batch(rec.batch_row("valid", start))
    writer.append_batch(rec.batch_row("train", start + 20, lr=0.5))
    writer.commit()


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_writer_that_dies_at_any_rename_leaves_the_last_commit(
    tmp_path, monkeypatch, durability, repeats
):
    """Each rename of a commit in turn is the last thing that happens, before it and after it.

    Some of them, or with --long every one.
    """
    stride = 1 if repeats > 1 else {"process": 13, "power": 61}[durability]
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    writer = rec.new_writer(tmp_path / "a")
    for index in range(20):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    writer._lock.release()
    real = os.replace
    steps = 0
    while True:
        at, after = divmod(steps, 2)
        path = tmp_path / f"{steps}.zarr"
        shutil.copytree(writer.path, path)
        seen = 0

        def replace(source, target, at=at, after=after):
            nonlocal seen
            if seen == at and not after:
                raise Cut
            real(source, target)
            if seen == at:
                raise Cut
            seen += 1

        again = RunWriter.resume(path, durability=durability)
        monkeypatch.setattr(files_module.os, "replace", replace)
        try:
            grow(again, 20)
        except Cut:
            died = True
        else:
            died = False
        monkeypatch.setattr(files_module.os, "replace", real)
        again._lock.release()
        with xr.open_datatree(path) as plain:
            n = plain["train"].sizes["batch"]
            assert n in (20, 41)
            rec.assert_rows(
                plain["train"].to_dataset().drop_vars("lr", errors="ignore"),
                "train",
                list(range(n)),
            )
        resumed = RunWriter.resume(path)
        assert resumed.n_batches("train") == n
        assert not list(path.rglob(f"*{TEMPORARY}"))
        root = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        on_disk = {p.parent.relative_to(path).as_posix() for p in path.rglob("zarr.json")} - {"."}
        assert on_disk == set(root)
        assert all(json.loads((path / k / "zarr.json").read_text()) == v for k, v in root.items())
        grow(resumed, n)
        resumed.close()
        run = open_run(path)
        rec.assert_rows(run["train"].to_dataset().drop_vars("lr"), "train", list(range(n + 21)))
        want = np.full(n + 21, np.nan)
        want[[*([40] if n == 41 else []), n + 20]] = 0.5
        np.testing.assert_array_equal(run["train"]["lr"].values, want)
        assert run["train"]["output"].sizes["window"] == run["train"]["unit"].sizes["window"]
        run.close()
        shutil.rmtree(path)
        if not died:
            break
        steps += stride
    assert steps > 100


def test_a_failed_commit_loses_nothing_and_a_later_one_succeeds(tmp_path, monkeypatch):
    writer = rec.new_writer(tmp_path / "a")
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    real = os.replace
    for failing in range(0, 45, 6):
        calls = iter(range(10_000))

        def replace(source, target, calls=calls, failing=failing):
            if next(calls) >= failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(source, target)

        n = writer.n_batches("train")
        writer.append_batch(rec.batch_row("train", n, lr=0.1))
        monkeypatch.setattr(files_module.os, "replace", replace)
        with pytest.raises(StoreWriteError, match="No space left on device; check free space"):
            writer.commit()
        monkeypatch.setattr(files_module.os, "replace", real)
        assert open_run(writer.path).n_batches("train") == writer.n_committed("train") == n
        assert not list(writer.path.rglob(f"*{TEMPORARY}"))
        writer.commit()
        assert open_run(writer.path).n_batches("train") == n + 1
    writer.close()
    n = writer.n_batches("train")
    rec.assert_rows(
        open_run(writer.path)["train"].to_dataset().drop_vars("lr"), "train", list(range(n))
    )


def test_a_row_that_cannot_be_stored_changes_nothing(tmp_path, monkeypatch):
    """Too large a count, another shape, a bad name, a full disk: the row is refused whole."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    writer = rec.new_writer(tmp_path / "a")
    for index in range(16):
        writer.append_batch(rec.batch_row("train", index))
    row = rec.batch_row("train", 16)
    row.count[1, 2] = 2**32
    with pytest.raises(
        OverflowError, match=r"train/count: a count reached 2\*\*32, got 4294967296"
    ):
        writer.append_batch(row)
    row = rec.batch_row("train", 16)
    row.counters[3, 1] = 2**32
    with pytest.raises(OverflowError, match="train/posinf"):
        writer.append_batch(row)
    with pytest.raises(ValueError, match=r"expected \(3, 4\)"):
        writer.append_batch(rec.batch_row("train", 16, n_bins=5))
    with pytest.raises(ValueError, match="'mean' is taken by the schema"):
        writer.append_batch(rec.batch_row("train", 16, mean=1.0))
    with pytest.raises(ValueError, match=r"phase '\.\./x' cannot be recorded"):
        writer.append_batch(rec.batch_row("../x", 16))
    real = os.replace
    monkeypatch.setattr(
        files_module.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "bad disk"))
    )
    with pytest.raises(StoreWriteError, match="bad disk"):
        writer.append_batch(rec.batch_row("train", 16))
    with pytest.raises(StoreWriteError, match="bad disk"):
        writer.append_batch(rec.batch_row("train", 16, lr=1.0))
    monkeypatch.setattr(files_module.os, "replace", real)
    assert writer.n_batches("train") == 16
    writer.append_batch(rec.batch_row("train", 16))
    writer.close()
    rec.assert_rows(open_run(writer.path)["train"], "train", list(range(17)))


def test_rows_and_windows_are_copied(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    row, window = rec.batch_row("train", 0), rec.unit_window("train", 0, 1)
    writer.append_batch(row)
    writer.append_window(window)
    row.count[:] = 7
    row.moments[:] = 7
    window.values["active"][:] = 7
    writer.close()
    run = open_run(writer.path)
    rec.assert_rows(run["train"], "train", [0])
    want = rec.unit_window("train", 0, 1).values["active"]
    np.testing.assert_array_equal(run["train"]["unit"]["active"].values[:, 0], want)


def test_windows_that_do_not_fit_are_refused(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    with pytest.raises(ValueError, match="takes no windows; declare its output first"):
        writer.append_window(rec.output_window("train", 0, 1))
    with pytest.raises(ValueError, match="a window of 1 batches cannot end at batch 0"):
        writer.append_window(rec.unit_window("train", 0, 1))
    writer.append_batch(rec.batch_row("train", 0))
    for batches in (0, 2):
        with pytest.raises(ValueError, match="cannot end at batch 1"):
            writer.append_window(rec.unit_window("train", 0, batches))
    window = rec.unit_window("train", 0, 1)
    del window.values["total"]
    with pytest.raises(ValueError, match="has the variables active, batches"):
        writer.append_window(window)
    writer.close()


def test_layers_and_outputs_never_change(tmp_path):
    writer = RunWriter.create(tmp_path / "a", axis=rec.AXIS, attributes={})
    with pytest.raises(ValueError, match="has no layers yet; call declare_layers first"):
        writer.append_batch(rec.batch_row("train", 0))
    with pytest.raises(ValueError, match="at least one layer"):
        writer.declare_layers([])
    with pytest.raises(ValueError, match="must differ, got 'layer0' twice"):
        writer.declare_layers([rec.LAYERS[0], rec.LAYERS[0]])
    writer.declare_layers(rec.LAYERS)
    writer.declare_layers(rec.LAYERS)
    with pytest.raises(ValueError, match="differing in 'layer2'"):
        writer.declare_layers(rec.LAYERS[:2])
    writer.declare_output("train", rec.OUTPUT)
    with pytest.raises(ValueError, match="never changes in a run"):
        writer.declare_output("train", rec.ONE_LOGIT)
    with pytest.raises(ValueError, match="task 'guess' is not one of single-label"):
        writer.declare_output("valid", rec.OutputInfo("x", "guess", ("a",), ("a",)))
    with pytest.raises(ValueError, match="needs units and classes, got 0 and 1"):
        writer.declare_output("valid", rec.OutputInfo("x", "binary", ("a",), ()))
    writer.close()


def test_attributes_become_json_whatever_they_are(tmp_path):
    odd = {
        "config": {"lr": float("nan"), "device": object, 3: {1, 2}, "np": np.float32(0.5)},
        "tags": ("a", "b"),
        "git_commit": None,
    }
    writer = rec.new_writer(tmp_path / "a", attributes=odd)
    writer.update_attributes({"waited_seconds": np.float64(1.5)})
    writer.close("failed", {"skipped": {"x": "no \ud800 reason"}})
    attrs = open_run(writer.path).attrs
    assert attrs["config"] == {"lr": "nan", "device": "<class 'object'>", "3": [1, 2], "np": 0.5}
    assert attrs["tags"] == ["a", "b"]
    assert (attrs["status"], attrs["waited_seconds"]) == ("failed", 1.5)
    assert attrs["skipped"] == {"x": "no ? reason"}
    assert attrs["ended"] is not None
    assert json_ready({"a": [True, None]}) == {"a": [True, None]}


def test_layer_names_are_data_and_never_paths(tmp_path):
    names = ["../../etc/passwd", "a/b", "", "ü\x1b[31m", "x" * 5000, "\ud800"]
    writer = RunWriter.create(tmp_path / "a", axis=rec.AXIS, attributes={})
    writer.declare_layers([LayerInfo(name, "X") for name in names])
    writer.close()
    assert open_run(writer.path).layer.values.tolist() == [*names[:5], "?"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]


def test_an_existing_run_is_never_touched_unless_told(tmp_path):
    path = rec.write_run(tmp_path / "a")
    with pytest.raises(RunExistsError, match="resume=True to go on with it, overwrite=True"):
        rec.new_writer(tmp_path / "a")
    assert open_run(path).n_batches("train") == 40
    rec.write_run(tmp_path / "a", 8, overwrite=True)
    assert open_run(path).n_batches("train") == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]


def test_only_runs_are_ever_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    rec.new_writer(tmp_path / "a").close()
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("years of work")
    (tmp_path / "c.zarr").write_text("years of work")
    zarr.create_group(tmp_path / "d.zarr", zarr_format=3)
    for name in "bcd":
        for overwrite in (False, True):
            with pytest.raises(
                RunExistsError, match="not a run of actrace, so it is never replaced"
            ):
                rec.new_writer(tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "b.zarr" / "thesis.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreWriteError, match=r"cannot make run .*: Not a directory; check"):
        rec.new_writer(tmp_path / "file" / "a")
    with pytest.raises(ValueError, match="durability is 'process' or 'power', got 'disk'"):
        rec.new_writer(tmp_path / "a", durability="disk")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_resuming_what_is_not_there_or_damaged_is_refused(tmp_path):
    with pytest.raises(NotARunError, match="there is no run"):
        RunWriter.resume(tmp_path / "a")
    path = rec.write_run(tmp_path / "a")
    chunk = path / "train/count/c/0/0/0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:50] + b"x" + data[51:])
    with pytest.raises(DamagedRunError, match=r"train/count.*damaged"):
        RunWriter.resume(path)
    chunk.unlink()
    with pytest.raises(DamagedRunError, match=r"train/count.*cannot be read"):
        RunWriter.resume(path)
    chunk.write_bytes(data)
    (path / "layer/c/0").unlink()
    with pytest.raises(DamagedRunError, match="cannot be resumed"):
        RunWriter.resume(path)


def test_a_resumed_run_keeps_its_identity_and_its_chunks(tmp_path, monkeypatch):
    """A later version may plan other chunks; a run keeps those it began with."""
    path = rec.write_run(tmp_path / "a", 40)
    before = open_run(path).attrs
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    writer = RunWriter.resume(path)
    assert writer.layers == rec.LAYERS
    assert open_run(path).status == "recording"
    writer.append_batch(rec.batch_row("train", 40, lr=0.1))
    writer.close()
    run = open_run(path)
    assert run.attrs["run_id"] == before["run_id"]
    assert run.attrs["started"] == before["started"]
    assert run["train"].sizes["batch"] == 41
    rec.assert_rows(run["train"].to_dataset().drop_vars("lr"), "train", list(range(41)))


def test_a_training_may_change_its_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = rec.new_writer("a")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    writer.append_batch(rec.batch_row("train", 0))
    writer.close()
    assert open_run(tmp_path / "a").n_batches("train") == 1


def test_no_write_reads_anything_back(tmp_path, monkeypatch):
    """Chunks are written whole from memory, never read, changed and written."""
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    writer = rec.new_writer(tmp_path / "a")
    opened = []
    real = open

    def watch(path, mode="r", *rest, **more):
        opened.append((path, mode))
        return real(path, mode, *rest, **more)

    monkeypatch.setattr("builtins.open", watch)
    for index in range(50):
        writer.append_batch(rec.batch_row("train", index, **({"late": 1.0} if index > 30 else {})))
        writer.commit()
    writer.close()
    monkeypatch.undo()
    assert len(opened) > 50
    assert {mode for _, mode in opened} == {"wb"}


@pytest.mark.parametrize(
    ("name", "like"),
    [("levels", "train"), ("train/future", "train/unit"), ("train/new", "train/mean")],
)
def test_a_run_with_parts_of_a_later_version_opens_and_is_not_resumed(tmp_path, name, like):
    path = rec.write_run(tmp_path / "a")
    document = json.loads((path / "zarr.json").read_text())
    nodes = document["consolidated_metadata"]["metadata"]
    # With what grows in it: anything else survives a resume.
    more = {path: node for path, node in nodes.items() if f"{path}/".startswith(f"{like}/")}
    nodes |= {path.replace(like, name, 1): node for path, node in more.items()}
    (path / "zarr.json").write_text(json.dumps(document))
    shutil.copytree(path / like, path / name)
    assert open_run(path).phases == ("train",)
    with pytest.raises(NewerSchemaError, match=f"it holds '{name}[a-z/]*', which"):
        RunWriter.resume(path)
    assert (path / name).exists()
