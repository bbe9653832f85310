"""A compaction or thinning that is killed leaves the old run or the new one, nothing else."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.store.rewriting import thinning

import actrace
from actrace.store.catalogue.listing import list_runs

KILLS = 3
ROOT = Path(__file__).parents[2]
REWRITE = """
import os, signal, sys
import actrace.store.levels.ladder
from actrace.store.repair import exchange
from actrace.store.rewriting.compact import compact_run
from actrace.store.rewriting.thin import thin_run

actrace.store.levels.ladder.FEWEST = 1
last, done, exchanged = int(sys.argv[3]), 0, 0

def step():
    global done
    done += 1
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)

def audited(event, arguments):
    # Each step that changes a name on the disk; the exchange is no event.
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
        step()

def in_one_step(*places, real=exchange._in_one_step):
    global exchanged
    step()
    exchanged = done
    found = real(*places)
    step()
    return found

exchange._in_one_step = in_one_step
sys.addaudithook(audited)
print("ready", flush=True)
{"compact": compact_run, "thin": thin_run}[sys.argv[2]](sys.argv[1])
print(done, exchanged, flush=True)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 64)
        return thinning.write_run(tmp_path_factory.mktemp("source") / "a", 100)


def begin(path: Path, word: str, last: int = 0) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", REWRITE, str(path), word, str(last)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def files_of(path: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(path))


def assert_old_or_new(path: Path, source: Path, word: str, counts: dict[str, np.ndarray]) -> bool:
    """Assert that one whole run stands, as it was or as it is to be; return whether it is new."""
    assert actrace.check(path).whole
    assert [run.name for run in list_runs(path.parent)] == ["a"]
    with xr.open_datatree(path, engine="zarr", decode_times=False) as tree:
        new = "thinned" in tree.attrs if word == "thin" else files_of(path) < files_of(source)
        for name, right in counts.items():
            got = tree[name].values
            blank = got == np.iinfo(got.dtype).max if word == "thin" and new else got != got
            assert (blank | (got == right)).all()
    return bool(new)


@pytest.fixture(scope="module")
def counts(source):
    with xr.open_datatree(source, engine="zarr", decode_times=False) as tree:
        names = [
            f"{phase}/{name}" for phase in ("train", "valid") for name in ("count", "elements")
        ]
        return {name: tree[name].values for name in names}


@pytest.mark.parametrize("word", ["compact", "thin"])
def test_a_kill_at_a_random_moment(source, counts, tmp_path, word, repeats, capsys):
    rng = random.Random(word)
    found = {"old": 0, "new": 0}
    for kill in range(KILLS * repeats):
        path = shutil.copytree(source, tmp_path / f"{kill}" / "a.zarr")
        process = begin(path, word)
        time.sleep(rng.uniform(0, 2))
        process.kill()
        process.communicate()
        found["new" if assert_old_or_new(path, source, word, counts) else "old"] += 1
        shutil.rmtree(path.parent)
    with capsys.disabled():
        print(f"\n{KILLS * repeats} kills of actrace {word}: {found}, none lost")


@pytest.mark.parametrize("word", ["compact", "thin"])
def test_a_kill_at_each_step(source, counts, tmp_path, word, repeats, capsys):
    path = shutil.copytree(source, tmp_path / "whole" / "a.zarr")
    out, _ = begin(path, word).communicate()
    steps, exchanged = map(int, out.split())
    assert assert_old_or_new(path, source, word, counts)
    # Those around the exchange, and some of all others.
    chosen = {1, exchanged - 1, exchanged, exchanged + 1, exchanged + 2, steps}
    chosen |= set(random.Random(word).sample(range(1, steps + 1), min(steps, 2 * repeats)))
    found = {"old": 0, "new": 0}
    for step in sorted(chosen):
        path = shutil.copytree(source, tmp_path / f"{step}" / "a.zarr")
        process = begin(path, word, step)
        process.communicate()
        assert process.returncode == -9
        new = assert_old_or_new(path, source, word, counts)
        assert new == (step > exchanged)
        found["new" if new else "old"] += 1
        if step == exchanged:
            # What it left beside the run is gone after the next.
            assert len(list(path.parent.iterdir())) == 2
            begin(path, word).communicate()
            assert [p.name for p in path.parent.iterdir()] == ["a.zarr"]
        shutil.rmtree(path.parent)
    with capsys.disabled():
        print(f"\n{len(chosen)} of {steps} steps of actrace {word}: {found}, none lost")
