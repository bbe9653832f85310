"""Everything that is not a whole run of ours is refused, and the message says what it is."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.store import recording as rec

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.reader import open_run


@pytest.fixture
def path(tmp_path):
    return rec.write_run(tmp_path / "a")


def edit(path, change):
    document = json.loads((path / "zarr.json").read_text())
    change(document)
    (path / "zarr.json").write_text(json.dumps(document))


def node(document, name):
    return document["consolidated_metadata"]["metadata"][name]


def test_either_spelling_opens(path):
    assert open_run(path).phases == open_run(str(path).removesuffix(".zarr")).phases == ("train",)


def test_a_run_that_was_renamed_without_its_suffix_opens(path, tmp_path):
    path.rename(tmp_path / "plain")
    assert open_run(tmp_path / "plain").n_batches("train") == 40


def test_nothing_there(tmp_path):
    with pytest.raises(NotARunError, match=r"there is no run at .*nowhere\.zarr.*check the path"):
        open_run(tmp_path / "nowhere")


def test_not_a_run_error_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_run(tmp_path / "nowhere")


def test_a_file(tmp_path):
    (tmp_path / "a.zarr").write_text("x")
    with pytest.raises(NotARunError, match="is a file, and a run is a directory"):
        open_run(tmp_path / "a")


def test_an_empty_directory(tmp_path):
    with pytest.raises(NotARunError, match="it is empty"):
        open_run(tmp_path)


def test_a_directory_of_other_things_names_some(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NotARunError, match=r"it holds 'notes\.txt'"):
        open_run(tmp_path)


def test_a_directory_of_runs_names_them(path):
    with pytest.raises(NotARunError, match=r"it holds runs: open '.*a\.zarr'"):
        open_run(path.parent)


def test_a_zarr_2_store(tmp_path):
    zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    with pytest.raises(NotARunError, match="Zarr 2 store"):
        open_run(tmp_path / "old")


def test_another_zarr_store(tmp_path):
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(NotARunError, match="no attribute 'actrace_schema'"):
        open_run(tmp_path / "other")


def test_a_newer_schema_names_the_upgrade(path):
    edit(path, lambda d: d["attributes"].update(actrace_schema=2))
    with pytest.raises(NewerSchemaError, match="schema 2 and this actrace reads up to 1; upgrade"):
        open_run(path)


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_a_cut_root_document(path, keep):
    text = (path / "zarr.json").read_bytes()
    (path / "zarr.json").write_bytes(text[: int(len(text) * keep) if keep == 0.5 else keep])
    with pytest.raises(DamagedRunError, match="not whole JSON"):
        open_run(path)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", "[" * 100_000])
def test_a_root_document_of_another_form(path, text):
    (path / "zarr.json").write_text(text)
    with pytest.raises((NotARunError, DamagedRunError)):
        open_run(path)


def test_a_root_document_without_consolidated_metadata(path):
    edit(path, lambda d: d.pop("consolidated_metadata"))
    with pytest.raises(DamagedRunError, match="no consolidated metadata"):
        open_run(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train/count", {"data_type": "object"}, "not a plain number or string"),
        ("train/count", {"data_type": ["uint32"]}, "not a plain number or string"),
        ("train/count", {"shape": [3, 4]}, "regular one of 2 numbers"),
        ("train/count", {"shape": [3, 4, -1]}, "whole numbers"),
        ("train/count", {"shape": [3, 4, 1.5]}, "whole numbers"),
        ("train/count", {"shape": [3, 4, 41]}, "has 40 along 'batch' and|has 41 along 'batch' and"),
        ("train/count", {"shape": [2**40, 2**40, 40]}, "larger than a run can be"),
        ("train/count", {"dimension_names": ["bin", "layer", "batch"]}, "along|over"),
        ("train/count", {"dimension_names": None}, "dimension names"),
        (
            "train/mean",
            {"data_type": "float64"},
            r"'train/mean' is float64 over .* expected float32",
        ),
        ("train/mean", {"codecs": [{"name": "pickle"}]}, "codec 'pickle' is not among"),
        (
            "train/mean",
            {"codecs": [{"name": "bytes"}, {"name": "blosc"}, {"name": "zstd"}]},
            "codecs",
        ),
        ("train/mean", {"codecs": []}, "codecs"),
        ("train/mean", {"chunk_grid": {"name": "regular"}}, "chunk grid"),
        ("train/mean", {"chunk_key_encoding": {"name": "v2"}}, "chunk key encoding"),
        ("train/mean", {"storage_transformers": [{"name": "x"}]}, "storage transformers"),
        ("train/mean", {"attributes": 3}, "attributes"),
        ("train/mean", {"node_type": "link"}, "node type"),
        ("train/mean", {"node_type": "group"}, "lacks 'train/mean'"),
        ("train/output", {"attributes": {"task": "sing"}}, "task 'sing'"),
    ],
)
def test_metadata_that_no_writer_makes(path, name, change, message):
    edit(path, lambda d: node(d, name).update(change))
    with pytest.raises(DamagedRunError, match=message):
        open_run(path)


@pytest.mark.parametrize(
    "name", ["../a", "train/../../a", "/etc", "train//x", "", "a\x00b", ".hidden"]
)
def test_names_that_lead_out_of_the_run(path, name):
    edit(path, lambda d: d["consolidated_metadata"]["metadata"].update({name: node(d, "layer")}))
    with pytest.raises(DamagedRunError, match="could lead out of the run"):
        open_run(path)


def test_an_axis_that_does_not_fit(path):
    edit(path, lambda d: d["attributes"]["axis"].update(bins=7))
    with pytest.raises(DamagedRunError, match="axis has 7 bins and 'bin_left' has 4"):
        open_run(path)
    edit(path, lambda d: d["attributes"].update(axis={"kind": "log"}))
    with pytest.raises(DamagedRunError, match="axis is not valid"):
        open_run(path)


def test_an_empty_run_opens(tmp_path):
    """Before the layers are declared, after, and with a phase but no batch."""
    writer = rec.RunWriter.create(tmp_path / "a", axis=rec.AXIS, attributes={})
    assert open_run(writer.path).sizes["layer"] == 0
    with xr.open_datatree(writer.path) as plain:
        assert plain.sizes == {"bin": 4, "layer": 0}
    writer.declare_layers(rec.LAYERS)
    writer.commit()
    assert open_run(writer.path).layer.values.tolist() == ["layer0", "layer1", "layer2"]
    writer.declare_output("train", rec.OUTPUT)
    writer.commit()
    run = open_run(writer.path)
    assert run.n_batches("train") == 0
    assert run.epochs("train").tolist() == []
    assert run["train"]["output"].sizes["window"] == 0
    assert run["train"]["count"].shape == (3, 4, 0)
    assert "no batch" not in repr(run)
    with xr.open_datatree(writer.path) as plain:
        assert plain["train"]["count"].shape == (3, 4, 0)
    writer.close()


def test_opening_and_reading_warns_of_nothing(path):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run = open_run(path)
        run.load()
        repr(run)
    assert not seen


def test_a_read_only_directory_opens():
    """A probe for the writer needs no right to write."""
    # Beside pytest's folders, which only their owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        path = rec.write_run(Path(folder) / "a")
        code = f"""
import os
from actrace.store.reader import open_run
open_run({str(path)!r}).load()
if os.getuid() == 0:
    os.setuid(65534)
assert open_run({str(path)!r}).load().n_batches("train") == 40
"""
        found = [Path(folder), path, *path.rglob("*")]
        for each in found:
            each.chmod(0o555 if each.is_dir() else 0o444)
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        finally:
            for each in found:
                each.chmod(0o755)
    assert done.returncode == 0, done.stderr


def test_an_opened_run_travels_to_another_process(path):
    run = open_run(path)
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again["train"]["count"].values, run["train"]["count"].values)


def test_an_opened_run_is_not_taken_for_its_successor(path):
    """A run that was overwritten since fails, and never mixes with the new one."""
    run = open_run(path)
    packed = pickle.dumps(run)
    rec.write_run(path, 9, overwrite=True)
    with pytest.raises(DamagedRunError, match="is missing"):
        run["train"]["count"].values.sum()
    with pytest.raises(DamagedRunError, match="was replaced by another"):
        pickle.loads(packed)
    assert open_run(path).n_batches("train") == 9


def test_reading_after_close_says_so(path):
    run = open_run(path)
    run.close()
    with pytest.raises(ValueError, match="run was closed"):
        run["train"]["count"].values.sum()
