"""Run the quick start of a README, to the letter, with the Python that runs this.

Usage: quickstart.py README.md

The first Python block under "## Quick start" is executed in the current
folder, where it leaves its run and pictures.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def quick_start(readme: str) -> str:
    """Return the code of the first Python block under "## Quick start"."""
    section = readme.split("## Quick start", 1)[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    if block is None:
        raise SystemExit("README.md has no Python block under '## Quick start'")
    return block.group(1)


if __name__ == "__main__":
    code = quick_start(Path(sys.argv[1]).read_text(encoding="utf-8"))
    exec(compile(code, "README quick start", "exec"), {"__name__": "__main__"})
