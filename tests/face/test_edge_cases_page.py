"""Every test that the page of edge cases names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "edge-cases.md"


def test_each_row_names_a_test_that_exists() -> None:
    rows = [
        line
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| case")
    ]
    assert len(rows) > 60
    for row in rows:
        named = re.search(r"`([\w./]+)::(\w+)` \|$", row)
        assert named, row
        file = (ROOT / "tests" / "capture" / named[1]).resolve()
        functions = {
            node.name
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        assert named[2] in functions, row
