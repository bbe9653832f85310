"""A repair in place that is killed leaves the old run or the new one, never anything else."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.store.checking import sound

import actrace

KILLS = 8
ROOT = Path(__file__).parents[2]
REPAIR = """
import sys
from actrace.store.repair.mend import repair_run
print("ready", flush=True)
repair_run(sys.argv[1], in_place=True)
"""


def test_a_killed_repair_leaves_the_old_run_or_the_new(tmp_path, repeats, capsys):
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        source = sound.write_run(tmp_path / "source", 60, phases=("train",))
    right = sound.read_all(source)["train/count"]
    shutil.rmtree(source / "train/mean/c")
    rng = random.Random(2)
    found = {"old": 0, "new": 0}
    for kill in range(KILLS * repeats):
        path = shutil.copytree(source, tmp_path / f"{kill}" / "a.zarr")
        process = subprocess.Popen(
            [sys.executable, "-c", REPAIR, str(path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.8))
        process.kill()
        process.wait()
        process.stdout.close()
        new = actrace.check(path).whole
        found["new" if new else "old"] += 1
        run = actrace.open(path)
        assert (run["train"]["count"].values == right).all()
        assert ("damaged" in run.attrs) == new
        run.close()
        # What it left beside the run is gone after the next.
        actrace.repair(path, in_place=True)
        assert sorted(p.name for p in path.parent.iterdir()) == ["a.zarr"]
        shutil.rmtree(path.parent)
    with capsys.disabled():
        print(f"\n{KILLS * repeats} killed repairs in place: {found}, none lost")
