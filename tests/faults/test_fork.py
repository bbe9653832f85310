"""Forked children neither hang nor touch the run, and never keep it locked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.faults.forking import KINDS

import actrace

ROOT = Path(__file__).parents[2]
FORKS = 40


def python(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_forks_hang_none_and_cost_no_batch(
    tmp_path: Path, repeats: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Children of a recorded training whose writer is busy; --long makes it 1,000."""
    forks = FORKS if repeats == 1 else 1000
    done = python(
        "-m", "tests.faults.forking", str(tmp_path / "run"), str(forks), timeout=60 + 5 * forks
    )
    found = json.loads(done.stdout.splitlines()[-1])
    in_torch = sum(found["hung in torch"].values())
    with capsys.disabled():
        print(
            f"\n{forks} forks: {sum(found['hung'].values())} hung, {in_torch} in torch alone, the "
            f"slowest child took {found['slowest']} s; {found['batches']} batches trained "
            "meanwhile, all recorded"
        )
    assert found["hung"] == {}, done.stderr
    # Two of 1,200 did, each with no call of ours on its stack.
    assert in_torch <= 1 + forks // 200, done.stderr
    assert found["wrong"] == []
    assert set(found["ended"]) == set(KINDS)
    assert sum(found["ended"].values()) + in_torch == forks
    assert found["remarks"] == []
    assert found["recorded"] == {"train": found["batches"]}
    run = actrace.open(tmp_path / "run")
    assert (run.status, run.lost_batches) == ("finished", {})
    train = run["train"]
    assert run.n_batches("train") == found["batches"]
    assert (train["calls"] == 1).all()
    np.testing.assert_array_equal(train["step"], np.arange(found["batches"]))
    np.testing.assert_array_equal(train["count"].sum("bin"), train["elements"])
