"""A killed recorder of a run in a bucket loses nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import xarray as xr
import zarr
from tests.faults.writing import WriterServer, check_tree

import actrace
from actrace.store.sources.bucket import connect

KILLS = 10


@pytest.mark.parametrize("threaded", [False, True], ids=["RunWriter", "WriterThread"])
def test_10_kills_lose_no_acknowledged_batch(bucket, threaded, repeats, capsys):
    """Each time plain xarray opens the run, every row is right and the same run is resumed.

    Half of the kills hit a `RunWriter`, half a `WriterThread`; --long makes it 100.
    """
    rng = random.Random(17 + threaded)
    url, acknowledged, rows, said_something = f"{bucket}/0.zarr", {}, 0, 0
    kills = KILLS * repeats // 2
    with WriterServer() as server:
        for kill in range(kills):
            if kill % 10 == 0:
                url, acknowledged = f"{bucket}/{kill}.zarr", {}
            child = server.start(url, threaded=threaded, seed=kill)
            server.await_commits(rng.choice([0, 1, 1, 2]))
            time.sleep(rng.choice([0, rng.uniform(0, 0.1), rng.uniform(0, 1)]))
            os.kill(child, signal.SIGKILL)
            said, status = server.wait()
            assert status == signal.SIGKILL
            said_something += bool(said)
            acknowledged |= said
            store = zarr.storage.ObjectStore(connect(url), read_only=True)
            with xr.open_datatree(store, engine="zarr", chunks={}) as tree:
                lengths = check_tree(tree)
            for phase, n in acknowledged.items():
                assert lengths.get(phase, 0) >= n
            acknowledged = lengths
            rows += sum(lengths.values())
            with actrace.open(url) as run:
                assert run.status == "interrupted"
    with capsys.disabled():
        print(
            f"\n{kills} kills: 0 acknowledged batches lost, {rows} rows checked, "
            f"{said_something} with a commit since resuming"
        )
    assert said_something
