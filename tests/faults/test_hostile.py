"""A run from a stranger: a clear error or a right answer, and nothing else happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.store.checking import sound

CASES = 150
LONG = 10_000
ROOT = Path(__file__).parents[2]


def test_no_hostile_run_does_harm(tmp_path, repeats, capsys):
    """150 of them, or with --long 10,000: opened, read, checked, repaired, listed, described.

    No code is run, no file outside is opened, memory stays within 1 GiB.
    """
    with pytest.MonkeyPatch.context() as patch:
        sound.small_chunks(patch)
        sound.early_levels(patch)
        source = sound.write_run(tmp_path / "source", 20, phases=("train",))
    assert (source / "levels").is_dir()
    cases = CASES if repeats == 1 else LONG
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.hostile", str(tmp_path), str(cases), "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["wrong"], "\n".join(found["wrong"][:30])
    assert found["seen"]["a clear error"] > cases
    with capsys.disabled():
        print(
            f"\n{cases} hostile runs: {found['seen']}; no code run, no file outside opened, "
            f"at most {found['peak'] / 1e6:.0f} MB"
        )
