"""A run in a zip is the run, and a zip that is not one is refused."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.store import recording as rec

import actrace
from actrace.errors import DamagedRunError, NotARunError, RunExistsError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return rec.write_run(tmp_path_factory.mktemp("zip") / "a", 40)


@pytest.fixture
def zipped(path, tmp_path):
    return actrace.export_run(path, tmp_path / "a.zip")


def assert_same(one, other):
    """Assert that two opened runs hold the same, every variable and attribute."""
    assert [node.path for node in one.subtree] == [node.path for node in other.subtree]
    for a, b in zip(one.subtree, other.subtree, strict=True):
        xr.testing.assert_identical(a.to_dataset(inherit=False), b.to_dataset(inherit=False))


def repack(zipped, to, change):
    """Write the members of a zip anew, as `change(name, data)` says."""
    with zipfile.ZipFile(zipped) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            for name, data, kind in change(info.filename, old.read(info)):
                new.writestr(name, data, kind)
    return to


def test_a_zip_opens_in_place_as_the_run(path, zipped):
    with actrace.open(zipped) as run, actrace.open(path) as original:
        assert_same(run, original)
        assert (run.status, run.name) == ("finished", "a")
        assert "a.zip" in repr(run)
        rec.assert_rows(run["train"], "train", list(range(40)))


def test_plain_xarray_opens_it_too(path, zipped):
    with (
        zarr.storage.ZipStore(zipped, mode="r") as store,
        xr.open_datatree(store, engine="zarr", chunks={}) as tree,
    ):
        rec.assert_rows(tree["train"], "train", list(range(40)))


def test_the_same_run_gives_the_same_bytes(path, zipped, tmp_path):
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    again = actrace.export_run(copy, tmp_path / "again.zip")
    with open(zipped, "rb") as one, open(again, "rb") as two:
        assert one.read() == two.read()
    names = zipfile.ZipFile(zipped).namelist()
    assert names[-1] == "zarr.json"
    assert not any(name.startswith(".") for name in names)


def test_a_zip_by_other_tools_opens_if_it_is_not_compressed(path, tmp_path):
    """With the run in a folder, with entries for folders and other files beside it."""
    made = tmp_path / "b.zip"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("__MACOSX/zarr.json", "x")
        for file in sorted(path.parent.rglob("*")):
            archive.write(file, file.relative_to(path.parent))
    with actrace.open(made) as run:
        rec.assert_rows(run["train"], "train", list(range(40)))
    deflated = tmp_path / "c.zip"
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            archive.write(file, file.relative_to(path))
    with pytest.raises(DamagedRunError, match="compressed or encrypted in the zip"):
        actrace.open(deflated)


def test_a_pickled_run_reads_on_from_its_zip(zipped, tmp_path):
    run = pickle.loads(pickle.dumps(actrace.open(zipped)["train"].to_dataset()))
    rec.assert_rows(run, "train", list(range(40)))


def test_ranks_go_into_one_zip(tmp_path):
    folder = tmp_path / "several"
    for rank in range(2):
        rec.write_run(folder / f"rank-{rank}", 8, attributes={"rank": rank, "world_size": 2})
    zipped = actrace.export_run(folder, tmp_path / "several.zip")
    with actrace.open(zipped) as run, actrace.open(folder) as original:
        assert len(run.ranks) == 2
        assert_same(run, original)
        assert "2 ranks" in repr(run)


def test_no_flipped_bit_of_a_zip_gives_a_wrong_value(zipped, tmp_path, repeats):
    rng = random.Random(5)
    right = {n: v.values for n, v in actrace.open(zipped)["train"].to_dataset().variables.items()}
    data = Path(zipped).read_bytes()
    wrong = silent = 0
    for _ in range(150 * repeats):
        spoilt = bytearray(data)
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "spoilt.zip").write_bytes(spoilt)
        try:
            run = actrace.open(tmp_path / "spoilt.zip")
            found = {n: v.values for n, v in run["train"].to_dataset().variables.items()}
        except (DamagedRunError, NotARunError):
            wrong += 1
            continue
        silent += any(not np.array_equal(found[n], right[n], equal_nan=v.dtype.kind == "f")
                      for n, v in right.items())  # fmt: skip
    assert wrong
    assert silent == 0


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_member_that_leads_out_is_refused(zipped, tmp_path, name):
    bad = repack(zipped, tmp_path / "bad.zip", lambda n, d: [(n, d, 0)])
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(DamagedRunError, match="could lead out of the run"):
        actrace.open(bad)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_refused(zipped, tmp_path):
    bad = repack(zipped, tmp_path / "bad.zip", lambda n, d: [(n, d, 0)] * 2)
    with pytest.raises(DamagedRunError, match="two members named"):
        actrace.open(bad)


def test_a_bomb_is_refused_unread(zipped, tmp_path):
    """A member that deflate has made small is not unpacked, whatever its name."""

    def bomb(name, data):
        if name == "train/loss/c/0":
            return [(name, bytes(2**26), zipfile.ZIP_DEFLATED)]
        return [(name, data, 0)]

    run = actrace.open(repack(zipped, tmp_path / "bad.zip", bomb))
    with pytest.raises(DamagedRunError, match=r"'train/loss'.*compressed or encrypted"):
        run["train"]["loss"].values  # noqa: B018


def test_a_missing_member_is_named(zipped, tmp_path):
    bad = repack(
        zipped, tmp_path / "bad.zip", lambda n, d: [] if n == "train/loss/c/0" else [(n, d, 0)]
    )
    with pytest.raises(DamagedRunError, match=r"'train/loss/c/0'.* is missing"):
        actrace.open(bad)["train"]["loss"].values  # noqa: B018


def test_what_is_no_run_says_what_it_is(zipped, tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("photo.jpg", b"x")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a/zarr.json", b"x")
        archive.writestr("b/zarr.json", b"x")
    for name, said in (
        ("text.zip", "no zip that can be read"),
        ("other.zip", "it holds none"),
        ("two.zip", r"holds several: 'a', 'b'"),
    ):
        with pytest.raises(NotARunError, match=said):
            actrace.open(tmp_path / name)


def test_a_file_is_replaced_only_if_asked(path, zipped, tmp_path):
    with pytest.raises(RunExistsError, match="overwrite=True"):
        actrace.export_run(path, zipped)
    assert actrace.export_run(path, zipped, overwrite=True) == zipped
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(RunExistsError):
        actrace.export_run(path, tmp_path / "folder.zip", overwrite=True)


def test_a_damaged_run_is_not_exported(path, tmp_path):
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    chunk = copy / "train/count/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    with pytest.raises(DamagedRunError, match="'train/count'"):
        actrace.export_run(copy, tmp_path / "copy.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.zarr"]


def test_a_live_run_is_exported_as_committed(tmp_path):
    writer = rec.new_writer(tmp_path / "live")
    for index in range(12):
        if index == 10:
            writer.commit()
        writer.append_batch(rec.batch_row("train", index))
    zipped = actrace.export_run(writer.path, tmp_path / "live.zip")
    copied = actrace.export_run(writer.path, tmp_path / "copied")
    writer.commit()
    for copy in (zipped, copied):
        with actrace.open(copy) as run:
            assert run.status == "interrupted"
            rec.assert_rows(run["train"], "train", list(range(10)))
    writer.close()
    document = json.loads((tmp_path / "copied.zarr/train/zarr.json").read_text())
    assert document["attributes"]["last_step"] == 9


def test_a_copy_is_a_run_to_resume(path, tmp_path):
    from actrace.store.writer import RunWriter

    copied = actrace.export_run(path, tmp_path / "copied.zarr")
    with pytest.raises(RunExistsError):
        actrace.export_run(path, copied)
    actrace.export_run(path, copied, overwrite=True)
    writer = RunWriter.resume(copied)
    writer.append_batch(rec.batch_row("train", 40, lr=0.1))
    writer.close()
    rec.assert_rows(actrace.open(copied)["train"], "train", list(range(41)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copied.zarr"]


def test_nothing_but_a_run_is_replaced(path, tmp_path):
    mine = tmp_path / "mine.zarr"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(NotARunError):
        actrace.export_run(path, mine, overwrite=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine.zarr", "thesis.txt"]
