"""The README keeps its word: its code runs, its links and pictures exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "docs/peaks.md", "docs/runs.md", "docs/schema-1.md"]


def test_the_quick_start_runs_to_the_letter(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-W", "error", ROOT / ".ci/quickstart.py", ROOT / "README.md"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    assert list(tmp_path.rglob("*.zarr"))
    assert list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_repository_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    missing = [target for target in targets if not ((ROOT / page).parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_path_of_one_machine(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.search(r"(/home/|/root/|/Users/|C:\\)", text)
