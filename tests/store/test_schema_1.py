"""A run recorded when schema 1 was new opens for ever, and holds what it held."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
import xarray as xr
from tests.store.data.make_schema_1 import EXPECTED, PACKED, contents

import actrace
from actrace.errors import NewerSchemaError
from actrace.store.writer import RunWriter

WANTED = json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.fixture
def path(tmp_path):
    with tarfile.open(PACKED) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run.zarr"


def assert_holds(tree, *, but=()):
    """Assert that a tree has every variable and attribute of then, with the values of then."""
    found = json.loads(json.dumps(contents(tree)))
    for group, then in WANTED["contents"].items():
        now = found[group]
        for name, value in then["attributes"].items():
            assert name in but or now["attributes"][name] == value, (group, name)
        for name, value in then["variables"].items():
            assert now["variables"][name] == value, (group, name)


def test_it_covers_every_part_of_the_schema():
    assert set(WANTED["contents"]) == {
        "", "train", "valid", "train/output", "train/unit", "train/gradient",
        "train/output_gradient", "valid/output", "valid/unit",
    }  # fmt: skip


def test_it_opens_with_the_values_of_then(path):
    with actrace.open(path) as run:
        assert_holds(run)
        np.testing.assert_array_equal(run["train/count"].values[:, :, 0], WANTED["first_counts"])
        np.testing.assert_array_equal(run["train/loss"].values, WANTED["train_loss"])
        peaks = actrace.twin_peaks(run).sel(phase="train", epoch=3)
        assert float(peaks["understanding"]) == pytest.approx(WANTED["understanding"], rel=1e-9)
        total = run["train/count"].values.astype("u8").sum(axis=1)
        for name in ("underflow", "overflow", "nan", "posinf", "neginf"):
            total += run[f"train/{name}"].values
        np.testing.assert_array_equal(total, run["train/elements"].values)


def test_plain_xarray_opens_it(path):
    with xr.open_datatree(path, engine="zarr", decode_times=False) as tree:
        found = contents(tree)
    for group, then in WANTED["contents"].items():
        for name, value in then["variables"].items():
            if name != "time":  # decoded to datetimes by our opener
                assert found[group]["variables"][name]["sha256"] == value["sha256"], (group, name)


def test_it_opens_from_a_zip(path, tmp_path):
    with actrace.open(actrace.export_run(path, tmp_path / "run.zip")) as run:
        assert_holds(run)


def test_it_is_listed_and_changed(path):
    row = actrace.runs(path.parent).loc["run"]
    assert (row.status, row.batches, row.epochs, row.layers) == ("finished", 44, 4, 4)
    assert row["config.nested.depth"] == 2
    assert row.train_loss == pytest.approx(np.mean(WANTED["train_loss"][-9:]), rel=1e-12)
    actrace.tag_run(path, add="more", remove="kept")
    with actrace.open(path) as run:
        assert_holds(run, but=("tags",))


def test_it_is_resumed(path):
    writer = RunWriter.resume(path)
    writer.close()
    with actrace.open(path) as run:
        assert_holds(run, but=("ended",))


def test_a_newer_schema_is_refused_and_says_what_to_do(path):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["actrace_schema"] = 2
    (path / "zarr.json").write_text(json.dumps(document))
    for refused in (actrace.open, RunWriter.resume, lambda p: actrace.export_run(p, "never")):
        with pytest.raises(NewerSchemaError, match=r"has schema 2.*reads up to 1; upgrade it: pip"):
            refused(path)
    assert actrace.runs(path.parent).loc["run"].status == "newer"
