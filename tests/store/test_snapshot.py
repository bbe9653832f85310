"""Reading never gives a wrong value in silence: it is right, or it is an error."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import threading

import numpy as np
import pytest
import zarr
from numcodecs.blosc import Blosc
from tests.store import recording as rec
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.chunk_checks import zstd_size
from actrace.store.layout import crc32c, decode_chunk
from actrace.store.manifest import read_manifest
from actrace.store.reader import open_run
from actrace.store.snapshot import SnapshotStore

FLIPS = 200


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return rec.write_run(tmp_path_factory.mktemp("source") / "a", 40)


@pytest.fixture
def path(source, tmp_path):
    return shutil.copytree(source, tmp_path / "a.zarr")


def read_all(path):
    """Return path -> values of every variable."""
    run = open_run(path)
    try:
        return {
            f"{group.path}/{name}": variable.values.copy()
            for group in run.subtree
            for name, variable in group.to_dataset(inherit=False).variables.items()
        }
    finally:
        run.close()


def chunk_files(path):
    return sorted(p for p in path.rglob("*") if p.is_file() and "c" in p.parts)


def test_every_missing_chunk_is_an_error_that_names_it(path):
    for file in chunk_files(path):
        data = file.read_bytes()
        file.unlink()
        key = file.relative_to(path).as_posix()
        with pytest.raises(DamagedRunError, match="missing, though it was committed") as caught:
            read_all(path)
        assert key in str(caught.value)
        file.write_bytes(data)
    assert "batch 0 to 39" in str(missing(path, "train/count/c/0/0/0"))


def missing(path, key):
    (path / key).unlink()
    with pytest.raises(DamagedRunError) as caught:
        read_all(path)
    return caught.value


def test_no_flipped_bit_gives_a_wrong_value(path, repeats, capsys):
    """Each flip in a chunk file is an error or changes nothing."""
    rng = random.Random(3)
    right = read_all(path)
    files = chunk_files(path)
    found = {"error": 0, "harmless": 0}
    for _ in range(FLIPS * repeats):
        file = rng.choice(files)
        data = bytearray(file.read_bytes())
        bit = rng.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        whole = file.read_bytes()
        file.write_bytes(data)
        try:
            values = read_all(path)
        except DamagedRunError as error:
            found["error"] += file.relative_to(path).as_posix() in str(error)
        else:
            for name, want in right.items():
                np.testing.assert_array_equal(values[name], want)
            found["harmless"] += 1
        file.write_bytes(whole)
    assert sum(found.values()) == FLIPS * repeats
    with capsys.disabled():
        print(f"\n{FLIPS * repeats} bit flips: {found}, 0 silent wrong values")


def test_no_flipped_bit_in_the_root_document_gives_a_wrong_count(path):
    """Names and settings may change with their letters; numbers may not."""
    rng = random.Random(4)
    right = read_all(path)
    whole = (path / "zarr.json").read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        bit = rng.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        (path / "zarr.json").write_bytes(data)
        try:
            run = open_run(path)
        except (DamagedRunError, NewerSchemaError, NotARunError):
            continue
        run.close()
        try:
            values = read_all(path)
        except (DamagedRunError, ValueError):
            continue
        for name, got in values.items():
            if name in right and got.shape == right[name].shape:
                np.testing.assert_array_equal(got, right[name], err_msg=name)
    (path / "zarr.json").write_bytes(whole)


def test_a_cut_chunk_is_an_error(path):
    rng = random.Random(5)
    for file in chunk_files(path)[::3]:
        data = file.read_bytes()
        file.write_bytes(data[: rng.randrange(len(data))])
        with pytest.raises(DamagedRunError):
            read_all(path)
        file.write_bytes(data)


def test_an_inner_chunk_that_a_shard_lacks_is_an_error(path):
    """zarr would fill it with zeros."""
    file = path / "train/count/c/0/0/0"
    data = file.read_bytes()
    table = bytearray(data[-16 * 3 - 4 : -4])
    table[16:32] = b"\xff" * 16
    file.write_bytes(data[: -16 * 3 - 4] + bytes(table) + crc32c(table))
    with zarr.open_array(path / "train/count", mode="r").store as _:
        assert not zarr.open_array(path / "train/count", mode="r")[1].any()
    run = open_run(path)
    with pytest.raises(DamagedRunError, match="lacks 1 of its 3 inner chunks, the first at 1"):
        run["train"]["count"].sel(layer="layer1").values.sum()


@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_forged_index_with_chunks_too_short_for_a_checksum_is_an_error(path, offset, length):
    """What lies before such a chunk's end may lie before the file."""
    file = path / "train/count/c/0/0/0"
    data = file.read_bytes()
    table = bytearray(data[-16 * 3 - 4 : -4])
    for layer in range(3):
        struct.pack_into("<2Q", table, 16 * layer, offset, length)
    file.write_bytes(data[: -16 * 3 - 4] + bytes(table) + crc32c(table))
    with pytest.raises(DamagedRunError, match="too few for a checksum"):
        open_run(path)["train"]["count"].values.sum()


@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_link_is_not_followed(path, tmp_path, of):
    target = path / ("train/mean/c/0/0" if of == "file" else "train/mean")
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedRunError, match="holds no links"):
        open_run(path)["train"]["mean"].values.sum()


def test_a_pipe_does_not_hang(path):
    target = path / "train/mean/c/0/0"
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(DamagedRunError, match="not a plain file"):
        open_run(path)["train"]["mean"].values.sum()


@pytest.mark.parametrize("key", ["train/mean/c/0/0", "train/count/c/0/0/0", "layer/c/0"])
def test_a_bomb_is_refused_before_it_unpacks(path, key):
    """8 kB that unpack to 256 MiB, with a right checksum."""
    packed = Blosc(cname="zstd", clevel=9).encode(np.zeros(2**28, np.uint8))
    assert len(packed) < 2**17
    data = packed[:8192] + crc32c(packed[:8192])
    if "count" in key:
        table = struct.pack("<6Q", 0, len(data), 0, len(data), 0, len(data))
        data += table + crc32c(table)
    (path / key).write_bytes(data)
    with pytest.raises(DamagedRunError, match="unpacks to 268435456 bytes, expected"):
        read_all(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: b"\xff\xff\xff\xbb" + raw[4:], "declares 3154116607 strings"),
        (lambda raw: b"\x01\0\0\0" + raw[4:], "declares 1 strings"),
        (lambda raw: raw[:4] + b"\xff\xff" + raw[6:], "runs past its end"),
        (lambda raw: raw[:-1], "runs past its end"),
        (lambda raw: raw[:-1] + b"\xff", "no list of names"),
    ],
)
def test_a_forged_list_of_names_is_refused_before_zarr_believes_it(path, change, said):
    """Its checksum is right: zarr makes room for as many names as it declares."""
    (file,) = (path / "layer").rglob("0")
    raw = change(bytes(Blosc().decode(file.read_bytes()[:-4])))
    packed = bytes(Blosc(cname="zstd", typesize=1).encode(raw))
    file.write_bytes(packed + crc32c(packed))
    with pytest.raises(DamagedRunError, match=said) as caught:
        open_run(path)
    assert "layer/c/0" in str(caught.value)


def test_a_huge_file_is_refused_before_it_is_read(path):
    with open(path / "train/step/c/0", "r+b") as file:
        file.truncate(2**33)
    with pytest.raises(DamagedRunError, match="more than it can hold"):
        open_run(path)["train"]["step"].values.sum()


def test_a_run_saved_again_with_zstd_opens(path):
    """zarr's default codec is known too, its declared size checked."""
    document = json.loads((path / "zarr.json").read_text())
    node = document["consolidated_metadata"]["metadata"]["train/mean"]
    right = open_run(path)["train"]["mean"].values
    shutil.rmtree(path / "train/mean")
    array = zarr.create_array(
        path / "train/mean",
        shape=right.shape,
        chunks=(3, 16),
        dtype="f4",
        dimension_names=node["dimension_names"],
        fill_value=0,
    )
    array[:] = right
    document["consolidated_metadata"]["metadata"]["train/mean"] = json.loads(
        (path / "train/mean/zarr.json").read_text()
    )
    (path / "zarr.json").write_text(json.dumps(document))
    np.testing.assert_array_equal(open_run(path)["train"]["mean"].values, right)
    (path / "train/mean/c/0/1").write_bytes(b"\x28\xb5\x2f\xfd" + b"\xc0" + b"\xff" * 40)
    with pytest.raises(DamagedRunError, match="expected 192"):
        open_run(path)["train"]["mean"].values.sum()


@pytest.mark.parametrize("size", [1, 200, 255, 256, 300, 70_000, 2**20])
def test_the_size_a_zstd_frame_declares_is_read(size):
    from numcodecs.zstd import Zstd

    assert zstd_size(Zstd().encode(os.urandom(size)) + bytes(20)) == size


def test_a_shard_that_is_replaced_between_index_and_chunk_still_fits(tmp_path):
    """zarr reads a shard's index, then a chunk; a live writer may replace the file between."""
    writer = rec.new_writer(tmp_path / "a")
    for index in range(5):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    run = open_run(writer.path)
    store = SnapshotStore(read_manifest(writer.path))
    key, buffers = "train/count/c/0/0/0", default_buffer_prototype()
    index = sync(store.get(key, buffers, SuffixByteRequest(16 * 3 + 4))).to_bytes()
    first = run["train"]["count"].isel(layer=0).values
    for more in range(5, 300):
        writer.append_batch(rec.batch_row("train", more))
    writer.close()
    offset, length = struct.unpack_from("<2Q", index, 32)
    chunk = sync(store.get(key, buffers, RangeByteRequest(offset, offset + length))).to_bytes()
    assert crc32c(chunk[:-4]) == chunk[-4:]
    assert sync(store.get(key, buffers, OffsetByteRequest(offset))).to_bytes()[:length] == chunk
    np.testing.assert_array_equal(run["train"]["count"].isel(layer=0).values, first)
    rec.assert_rows(run["train"], "train", list(range(5)))


def test_open_files_stay_bounded_and_are_closed_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.snapshot.MOST_OPEN", 4)
    path = rec.write_run(tmp_path / "a", 16 * 20 + 3)
    before = len(os.listdir("/proc/self/fd"))
    run = open_run(path)
    run["train"]["count"].load(scheduler="sync")
    rec.assert_rows(run["train"], "train", list(range(16 * 20 + 3)))
    during = len(os.listdir("/proc/self/fd"))
    run.close()
    after = len(os.listdir("/proc/self/fd"))
    assert before < during <= before + 4 + 3 + 1
    assert after <= before


def test_many_threads_read_right(path):
    run = open_run(path)
    errors = []

    def read(layer):
        try:
            for _ in range(5):
                got = run["train"]["count"].isel(layer=layer).values
                want = [rec.batch_row("train", i).count[layer] for i in range(40)]
                np.testing.assert_array_equal(got, np.stack(want, axis=-1))
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(layer % 3,)) for layer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_the_store_cannot_be_written(path):
    store = SnapshotStore(read_manifest(path))
    group = zarr.open_group(store, mode="r")
    assert sorted(group) == sorted(
        [
            "bin_left",
            "bin_right",
            "layer",
            "layer_order",
            "layer_shape",
            "layer_type",
            "layer_units",
            "train",
        ]
    )
    with pytest.raises(ValueError, match="read-only"):
        group.create_group("x")
    with pytest.raises(ValueError, match="cannot be written"):
        store.with_read_only(read_only=False)
    assert store == SnapshotStore(read_manifest(path))
    assert sync(store.exists("train/zarr.json"))
    assert not sync(store.exists("train/count/c/0/0/9"))


def test_a_chunk_file_older_than_its_commit_is_an_error(path):
    """A copy of a live run may hold old chunk files and a new root: no zeros then."""
    older = rec.write_run(path.parent / "older", 39)
    for file in chunk_files(path / "train"):
        whole = file.read_bytes()
        key = file.relative_to(path)
        if not {"unit", "output"} & set(key.parts):
            file.write_bytes((older / key).read_bytes())
            with pytest.raises(DamagedRunError, match="older than the commit: it lacks rows"):
                read_all(path)
            with pytest.raises(DamagedRunError, match="older than the last commit"):
                rec.RunWriter.resume(path)
            file.write_bytes(whole)
    rec.assert_rows(open_run(path)["train"].to_dataset().drop_vars("lr"), "train", list(range(40)))


@pytest.mark.parametrize(("near", "unpacked"), [(True, 15), (False, 5)])
def test_a_file_that_is_opened_again_tells_its_age_once(tmp_path, monkeypatch, near, unpacked):
    """Read here, each chunk tells it of its file as it is unpacked; zarr unpacks its own."""
    monkeypatch.setattr("actrace.store.sources.directory.DirectorySource.near", near)
    monkeypatch.setattr("actrace.store.group.LONGEST_SHARD", 16)
    monkeypatch.setattr("actrace.store.snapshot.MOST_OPEN", 1)
    path = rec.write_run(tmp_path / "a", 16 * 5)
    asked = []

    def counted(data, dtype, shape, what):
        asked.append(what)
        return decode_chunk(data, dtype, shape, what)

    monkeypatch.setattr("actrace.store.snapshot.decode_chunk", counted)
    monkeypatch.setattr("actrace.store.chunk_checks.decode_chunk", counted)
    with open_run(path) as run:
        count = run["train"]["count"]
        asked.clear()
        for layer in (0, 1, 2):
            assert (count.isel(layer=layer).values > 0).any()
        assert len(asked) == len(set(asked)) == unpacked
        # An older file in its place is still noticed.
        older = rec.write_run(tmp_path / "older", 16 + 5)
        file = path / "train/count/c/0/0/1"
        file.write_bytes((older / "train/count/c/0/0/1").read_bytes())
        with pytest.raises(DamagedRunError, match="older than the commit"):
            count.isel(layer=0).values  # noqa: B018


def test_what_marks_an_unwritten_row_cannot_be_recorded(tmp_path):
    writer = rec.new_writer(tmp_path / "a")
    row = rec.batch_row("train", 0)
    row.count[0, 0] = 2**32 - 1
    with pytest.raises(OverflowError, match="2\\*\\*32"):
        writer.append_batch(row)
    row = rec.batch_row("train", 0)
    row.step = -1
    with pytest.raises(ValueError, match="train/step: got -1, expected 0 or more"):
        writer.append_batch(row)
    row = rec.batch_row("train", 0)
    row.moments[:], row.loss, row.time = np.nan, np.nan, np.nan
    writer.append_batch(row)
    writer.close()
    run = open_run(writer.path)
    assert np.isnan(run["train"]["mean"].values).all()
    assert np.isnan(run["train"]["loss"].values).all()
