"""How large a notebook's trainings are, and where its data and runs lie.

Read from the environment, since a notebook has no command line. Standard library alone.

``ACTRACE_QUICK=1``
    Trainings of seconds, for a first look and for the tests; their figures mean nothing.
``ACTRACE_SCALE``
    Factor on the full settings' numbers of samples, 1 unless told: for who has more time.
``ACTRACE_DATA``
    Folder of ``mnist.npz``, ``cifar10.npz`` and the film reviews.
``ACTRACE_RUNS``
    Folder that keeps the runs; a temporary one if left out.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["DATA", "QUICK", "SCALE", "SEEDS", "runs_folder", "sized"]

QUICK: Final = os.environ.get("ACTRACE_QUICK") == "1"
SCALE: Final = float(os.environ.get("ACTRACE_SCALE") or 1)
DATA: Final = Path(os.environ["ACTRACE_DATA"]) if os.environ.get("ACTRACE_DATA") else None

#: Every training that a claim rests on is done once a seed.
SEEDS: Final = (0,) if QUICK else (0, 1, 2)


def sized(full: int, quick: int) -> int:
    """Return a number of samples: `quick`, or `full` times the scale."""
    return quick if QUICK else round(full * SCALE)


def runs_folder(name: str) -> Path:
    """Return an empty folder for a notebook's runs, or the one that keeps them."""
    kept = os.environ.get("ACTRACE_RUNS")
    folder = Path(kept) / name if kept else Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
