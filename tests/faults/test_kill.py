"""A killed writer loses nothing that it acknowledged, and its run goes on."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import xarray as xr
from tests.faults.writing import WriterServer, check_tree

from actrace.store.paths import TEMPORARY
from actrace.store.reader import open_run

KILLS = 100


@pytest.mark.parametrize("threaded", [False, True], ids=["RunWriter", "WriterThread"])
def test_100_kills_lose_no_acknowledged_batch(tmp_path, threaded, repeats, capsys):
    """Each time plain xarray opens the run, every row is right and the same run is resumed.

    Half of the kills hit a `RunWriter`, half a `WriterThread`; --long makes it 1,000.
    """
    rng = random.Random(7 + threaded)
    kills = KILLS * repeats // 2
    acknowledged: dict[str, int] = {}
    commits_seen = rows = opened = 0
    path = tmp_path / "0.zarr"
    with WriterServer() as server:
        for kill in range(kills):
            if kill % 10 == 0:
                # A new run now and then keeps the check of every row short.
                path, acknowledged = tmp_path / f"{kill}.zarr", {}
            child = server.start(path, threaded=threaded, seed=kill)
            # After none, one or more commits, and then anywhere in the next.
            server.await_commits(rng.choice([0, 0, 1, 1, 2, 3]))
            time.sleep(rng.choice([0, rng.uniform(0, 0.03), rng.uniform(0, 0.15)]))
            os.kill(child, signal.SIGKILL)
            said, status = server.wait()
            assert status == signal.SIGKILL
            commits_seen += bool(said)
            acknowledged |= said
            with xr.open_datatree(path) as tree:
                lengths = check_tree(tree)
            opened += 1
            for phase, n in acknowledged.items():
                assert lengths.get(phase, 0) >= n
            acknowledged = lengths
            rows += sum(lengths.values())
            if kill % 10 == 9:
                run = open_run(path)
                assert run.status == "interrupted"
                assert check_tree(run) == lengths
                run.close()
        assert not list(tmp_path.glob(f"*/**/*{TEMPORARY}")) or path.exists()
    with capsys.disabled():
        print(
            f"\n{kills} kills: {opened} opened, 0 acknowledged batches lost, "
            f"{rows} rows checked, {commits_seen} with a commit since resuming"
        )
    assert opened == kills
    assert commits_seen > kills // 3
