"""The page of the peaks keeps its word: its code runs, and every number is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from actrace.analysis import classes, peaks, twin_peaks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/peaks.md").read_text(encoding="utf-8")

#: Plain words, or said of a number beside them.
PLAIN = {
    "mean_yes", "mean_no", "std_yes", "std_no", "elements_yes", "elements_no", "elements",
    "share_yes", "samples", "position", "height", "prominence", "mass",
}  # fmt: skip


def test_the_example_runs_to_the_letter(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    for word in ("understanding", "is behind by", "of NO above YES", "separation"):
        assert word in out.stdout


@pytest.mark.parametrize("module", [classes, peaks, twin_peaks])
def test_every_number_is_explained(module) -> None:
    missing = [name for name in module._TABLE if name not in PLAIN and f"**{name}**" not in PAGE]
    assert missing == []
