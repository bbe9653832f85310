"""What a later version or somebody else has put into a run survives this one's writing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from tests.store import recording as rec

import actrace
from actrace.errors import NewerSchemaError
from actrace.store.paths import LOCK_NAME
from actrace.store.writer import RunWriter

# zarr says so at every consolidation.
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is:UserWarning")


@pytest.fixture
def path(tmp_path):
    """Return a run with attributes, fixed arrays and a group that no writer of ours makes."""
    path = rec.write_run(tmp_path / "a", 12)
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    root.attrs["later"] = {"x": [1, None]}
    root["layer"].attrs["colour"] = "red"
    root["train"].attrs["quality"] = 3
    root["train"]["loss"].attrs["comment"] = "smoothed"
    root["train"]["lr"].attrs["comment"] = "the user's"
    root["train"]["unit"].attrs["quality"] = 4
    depth = root.create_array(
        "layer_depth", data=np.arange(3, dtype="i4"), dimension_names=["layer"]
    )
    depth.attrs["units"] = "1"
    extra = root["train"].create_group("extra", attributes={"made": "by hand"})
    extra.create_array("weights", data=np.arange(5.0), dimension_names=["weight"])
    (path / LOCK_NAME).unlink()  # zarr would warn of it
    zarr.consolidate_metadata(path)
    return path


def metadata(path):
    return json.loads((path / "zarr.json").read_text())


def assert_all_there(path):
    with actrace.open(path) as run:
        assert run.attrs["later"] == {"x": [1, None]}
        assert run["layer"].attrs["colour"] == "red"
        assert run["layer"].attrs["long_name"]
        assert run["train"].attrs["quality"] == 3
        assert run["train/loss"].attrs["comment"] == "smoothed"
        assert run["train/lr"].attrs["comment"] == "the user's"
        assert run["train/unit"].attrs["quality"] == 4
        assert run["layer_depth"].values.tolist() == [0, 1, 2]
        assert run["train/extra"].attrs["made"] == "by hand"
        assert run["train/extra/weights"].values.tolist() == [0, 1, 2, 3, 4]


def test_it_is_there_when_the_run_is_opened(path):
    assert_all_there(path)


def test_it_is_listed_with_its_loss_although_zarr_has_rewritten_the_document(path):
    expected = np.mean([rec.batch_row("train", i).loss for i in (10, 11)])
    assert actrace.runs(path).loc["a"].train_loss == pytest.approx(expected, rel=1e-12)


def test_it_survives_a_resume(path):
    writer = RunWriter.resume(path)
    for index in range(12, 15):
        writer.append_batch(rec.batch_row("train", index, lr=0.1))
    writer.close()
    assert_all_there(path)
    with actrace.open(path) as run:
        rec.assert_rows(run["train"], "train", list(range(15)))


def test_it_survives_tags_a_note_a_new_name_and_an_export(path, tmp_path):
    before = metadata(path)
    actrace.tag_run(path, add="x")
    actrace.note_run(path, "y")
    moved = actrace.rename_run(path, tmp_path / "moved")
    assert_all_there(moved)
    after = metadata(moved)
    assert after["consolidated_metadata"] == before["consolidated_metadata"]
    assert_all_there(actrace.export_run(moved, tmp_path / "a.zip"))
    writer = RunWriter.resume(actrace.export_run(moved, tmp_path / "copy"))
    writer.close()
    assert_all_there(writer.path)


def test_a_list_that_has_to_grow_with_the_run_cannot_be_kept(path):
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    root["train"].create_array("later", data=np.arange(12, dtype="i8"), dimension_names=["batch"])
    zarr.consolidate_metadata(path)
    before = metadata(path)
    with pytest.raises(NewerSchemaError, match="holds 'train/later', which this actrace does not"):
        RunWriter.resume(path)
    assert metadata(path) == before
    assert actrace.open(path)["train/later"].values.tolist() == list(range(12))
