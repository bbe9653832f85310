"""A reader of a run that is being written, in a process of its own.

Run as ``python -m tests.faults.reading RUN SECONDS``; opens the run by plain xarray and by
ours in turn, reads and checks all of it, and prints one JSON line of what it saw.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import xarray as xr
from tests.faults.writing import check_tree

from actrace.store.reader import open_run

#: Batches that a reader waits for, so that the run has grown under it.
GROWN = 100
#: Seconds after which one that saw no growth gives up.
PATIENCE = 600


def read_for(path: Path, seconds: float) -> dict[str, object]:
    """Return how often the run was opened, and what lengths and statuses it had in the end."""
    last: dict[str, int] = {}
    statuses: set[str] = set()
    openings, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds or sum(last.values()) <= GROWN:
        assert time.monotonic() - begun < seconds + PATIENCE, f"{openings} openings, only {last}"
        if openings % 2:
            with xr.open_datatree(path) as tree:
                lengths = check_tree(tree)
        else:
            run = open_run(path)
            statuses.add(run.status)
            lengths = check_tree(run)
            run.close()
        for phase, n in lengths.items():
            assert n >= last.get(phase, 0), (phase, n, last)
        assert lengths.keys() >= last.keys()
        last, openings = lengths, openings + 1
    return {"openings": openings, "batches": last, "statuses": sorted(statuses)}


if __name__ == "__main__":
    print(json.dumps(read_for(Path(sys.argv[1]), float(sys.argv[2]))))
