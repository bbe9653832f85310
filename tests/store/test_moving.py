"""A run directory is moved and copied with ordinary tools, also while it is recorded."""

from __future__ import annotations

import subprocess
import threading

import numpy as np
import pytest
from tests.store import recording as rec

import actrace
from actrace.errors import DamagedRunError, StoreWriteError


def tool(*words):
    subprocess.run([str(word) for word in words], check=True, timeout=60)


def assert_prefix(path):
    """Assert that a run holds a first part of what was written, and return its length."""
    with actrace.open(path) as run:
        n = run.n_batches("train")
        rec.assert_rows(run["train"], "train", list(range(n)))
        return n


@pytest.mark.parametrize("command", [("cp", "-r"), ("cp", "-a"), ("mv",)])
def test_a_finished_run(tmp_path, command):
    path = rec.write_run(tmp_path / "a", 40)
    (tmp_path / "elsewhere").mkdir()
    tool(*command, path, tmp_path / "elsewhere" / "b.zarr")
    assert assert_prefix(tmp_path / "elsewhere" / "b") == 40
    assert actrace.runs(tmp_path / "elsewhere").loc["b"].status == "finished"


def test_a_folder_of_ranks(tmp_path):
    for rank in range(2):
        told = {"rank": rank, "world_size": 2}
        rec.write_run(tmp_path / "several" / f"rank-{rank}", 8, attributes=told)
    expected = actrace.open(tmp_path / "several")["train"]["count"].values
    tool("cp", "-r", tmp_path / "several", tmp_path / "copy")
    tool("mv", tmp_path / "copy", tmp_path / "moved")
    np.testing.assert_array_equal(
        actrace.open(tmp_path / "moved")["train"]["count"].values, expected
    )


def test_a_run_that_waits_between_commits(tmp_path):
    writer = rec.new_writer(tmp_path / "live")
    for index in range(20):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    writer.append_batch(rec.batch_row("train", 20))
    tool("cp", "-r", writer.path, tmp_path / "copy.zarr")
    assert assert_prefix(tmp_path / "copy") == 20
    assert actrace.open(tmp_path / "copy").status == "interrupted"
    assert actrace.open(writer.path).status == "recording"
    writer.close()


def test_a_copy_torn_by_commits_is_right_or_says_that_it_is_not(tmp_path, repeats, capsys):
    """Never a wrong value: cp may take the root document after chunks that are older."""
    writer = rec.new_writer(tmp_path / "live")
    writer.append_batch(rec.batch_row("train", 0))
    writer.commit()
    stop = threading.Event()

    def write():
        index = 1
        while not stop.is_set():
            writer.append_batch(rec.batch_row("train", index))
            writer.commit()
            index += 1

    thread = threading.Thread(target=write)
    thread.start()
    right = torn = exported = 0
    try:
        for i in range(10 * repeats):
            copy = tmp_path / f"copy-{i}.zarr"
            subprocess.run(
                ["cp", "-r", writer.path, copy], check=False, timeout=60, stderr=subprocess.DEVNULL
            )  # fmt: skip - a file may be renamed away
            try:
                assert_prefix(copy)
                right += 1
            except DamagedRunError:
                torn += 1
            assert assert_prefix(actrace.export_run(writer.path, tmp_path / f"{i}.zip")) > 0
            exported += 1
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert right + torn == exported
    with capsys.disabled():
        print(f"\n{exported} copies of a run that commits all the time: cp -r {right} right, "
              f"{torn} refused, 0 wrong; export {exported} right")  # fmt: skip


def test_a_live_run_that_is_moved_away_and_back(tmp_path):
    writer = rec.new_writer(tmp_path / "live")
    for index in range(5):
        writer.append_batch(rec.batch_row("train", index))
    writer.commit()
    writer.append_batch(rec.batch_row("train", 5))
    tool("mv", writer.path, tmp_path / "moved.zarr")
    with pytest.raises(StoreWriteError):
        writer.commit()
    assert assert_prefix(tmp_path / "moved") == 5
    assert not writer.path.exists()
    tool("mv", tmp_path / "moved.zarr", writer.path)
    writer.commit()
    assert assert_prefix(writer.path) == 6
    writer.close()
