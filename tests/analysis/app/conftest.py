"""A folder of small runs, as the app serves it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.analysis.app.served import make_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs, one of them hostile in every name, one damaged."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    make_runs(folder)
    return folder
