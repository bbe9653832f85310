"""The app over a folder of runs, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """Start ``actrace serve`` on a free port and give its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "actrace", "serve", str(runs), "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield re.search(r"http://\S+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
