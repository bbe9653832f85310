"""Every example runs as its first line says, and leaves a run that answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import actrace

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*_*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(tmp_path: Path, example: Path) -> None:
    done = subprocess.run(
        [sys.executable, example, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "understanding" in done.stdout
    run = actrace.open(tmp_path / "run")
    assert run.status == "finished"
    assert {"train", "valid"} <= set(run.phases)
    assert {"output", "unit"} <= set(run["valid"].children)
    peaks = actrace.twin_peaks(run).sel(phase="valid").understanding.values
    assert peaks[-1] > peaks[0]
