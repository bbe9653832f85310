"""Readers of a run that is being written see one consistent prefix, every time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tests.faults.writing import WriterServer, check_tree, counts

from actrace.store.reader import open_run

ROOT = Path(__file__).parents[2]
READERS = 4
SECONDS = 6


def test_four_readers_see_a_prefix_that_never_gets_shorter(tmp_path, repeats, capsys):
    """For six seconds, or with --long for sixty, while a writer commits as fast as it can.

    Each opens the run by plain xarray and by ours in turn, and reads all of it.
    """
    path = tmp_path / "a.zarr"
    with WriterServer() as server:
        child = server.start(path, seed=1, pause=0.005)
        readers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.reading", path, str(SECONDS * repeats)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(READERS)
        ]
        ended = [reader.communicate() for reader in readers]
        os.kill(child, signal.SIGKILL)
        server.wait()
    for reader, (_, said) in zip(readers, ended, strict=True):
        assert reader.returncode == 0, said[-3000:]
    seen = [json.loads(printed) for printed, _ in ended]
    assert all(one["statuses"] == ["recording"] for one in seen)
    with capsys.disabled():
        openings = sum(one["openings"] for one in seen)
        longest = max(sum(one["batches"].values()) for one in seen)
        print(
            f"\n{READERS} readers for {SECONDS * repeats} s: {openings} openings, all consistent, "
            f"none shorter than the one before, up to {longest} batches"
        )


def test_a_run_opened_early_reads_the_same_long_after(tmp_path):
    """One layer at a time, so zarr reads index and chunk apart, while the shard is replaced."""
    path = tmp_path / "a.zarr"
    with WriterServer() as server:
        child = server.start(path, seed=2)
        while not (path / "train").exists():
            time.sleep(0.01)
        run = open_run(path)
        while "train" not in run.phases or not run.n_batches("train"):
            run = open_run(path)
        steps = np.arange(run.n_batches("train"))
        for turn in range(60):
            layer = turn % 8
            got = run["train"]["count"].isel(layer=layer).values
            np.testing.assert_array_equal(got, counts(steps)[layer])
        assert open_run(path).n_batches("train") > len(steps)
        os.kill(child, signal.SIGKILL)
        server.wait()
    check_tree(run)
