"""Readers of a run that is being written see one consistent prefix, every time."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import xarray as xr
from tests.faults.writing import WriterServer, check_tree, counts

from actrace.store.reader import open_run

OPENINGS = 40


def test_every_opening_of_a_live_run_is_consistent_and_never_shorter(tmp_path, repeats, capsys):
    """By plain xarray and by ours in turn, while a writer commits as fast as it can."""
    path = tmp_path / "a.zarr"
    last = {"train": 0, "valid": 0}
    statuses = set()
    with WriterServer() as server:
        child = server.start(path, seed=1, pause=0.005)
        opening, begun = 0, time.monotonic()
        # On a busy machine all openings may come before the first commit: go on until it has grown.
        while opening < OPENINGS * repeats or sum(last.values()) <= 100:
            assert time.monotonic() - begun < 600, f"{opening} openings, and only {last} batches"
            opening += 1
            if opening % 2:
                with xr.open_datatree(path) as tree:
                    lengths = check_tree(tree)
            else:
                run = open_run(path)
                statuses.add(run.status)
                lengths = check_tree(run)
                run.close()
            for phase, n in lengths.items():
                assert n >= last[phase]
                last[phase] = n
        os.kill(child, signal.SIGKILL)
        server.wait()
    assert statuses == {"recording"}
    with capsys.disabled():
        print(f"\n{opening} live openings, all consistent, up to {last} batches")


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
