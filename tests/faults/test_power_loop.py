"""A power cut of a real file system: ext4 on a loop device, shut down without flushing its journal.

Needs root and a loop device, and says so where they are missing. The shutdown call is never made
on anything but the loop device that was mounted here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.writing import WriterServer, check_tree

from actrace.errors import NotARunError
from actrace.store.reader import open_run

CUTS = 3
LONG = 200
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NO_LOG_FLUSH = 2
_LOOP = 7  # major number of loop devices


def mount(image: Path, place: Path) -> bool:
    """Mount an image by a loop device; return whether that can be done here."""
    done = subprocess.run(
        ["mount", "-o", "loop,commit=1", str(image), str(place)], capture_output=True, check=False
    )
    return done.returncode == 0


def cut_power(place: Path) -> None:
    """Shut the mounted file system down; only what was flushed is kept."""
    mine, above = os.stat(place).st_dev, os.stat(place.parent).st_dev
    assert os.path.ismount(place)
    assert os.major(mine) == _LOOP
    assert mine not in (above, os.stat("/").st_dev)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert os.fstat(descriptor).st_dev == mine
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return an image with an empty ext4 and the place where it is mounted."""
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * 2**20)
    if os.getuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if not mount(image, place):
        pytest.skip("needs a loop device to mount")
    try:
        yield image, place
    finally:
        subprocess.run(["umount", str(place)], check=False, capture_output=True)


def test_a_real_power_cut_loses_no_commit_with_power(device, repeats, capsys):
    image, place = device
    rng = random.Random(1)
    cuts = CUTS if repeats == 1 else LONG
    rows = acknowledged_rows = 0
    for cut in range(cuts):
        path = place / f"{cut}.zarr"
        with WriterServer() as server:
            child = server.start(path, seed=cut, durability="power")
            server.await_commits(rng.choice((1, 2, 4)))
            time.sleep(rng.uniform(0, 0.2))
            cut_power(place)
            # It may have ended by itself: its next write failed.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            said, _ = server.wait()
        subprocess.run(["umount", str(place)], check=True)
        assert mount(image, place)
        try:
            run = open_run(path)
        except NotARunError:
            raise AssertionError(f"the run is gone, and {said} were acknowledged") from None
        lengths = check_tree(run)
        run.close()
        assert all(lengths.get(phase, 0) >= n for phase, n in said.items()), (said, lengths)
        rows += sum(lengths.values())
        acknowledged_rows += sum(said.values())
        shutil.rmtree(path)
        subprocess.run(["sync", "-f", str(place)], check=True)
    with capsys.disabled():
        print(
            f"\n{cuts} power cuts of ext4 on a loop device: {acknowledged_rows} "
            f"acknowledged batches, 0 lost; {rows} rows checked and right"
        )
    assert acknowledged_rows > 0
