"""What the examples in docstrings may name: a recorded run, and a folder to write to."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import pytest
from tests.synthetic import synthetic_run

# Keras reads its backend when it is imported; no test needs the network.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["HF_HUB_OFFLINE"] = "1"


@cache
def _run() -> Any:
    return synthetic_run(n_layers=3, n_batches=8)


@pytest.fixture(autouse=True)
def _examples(
    request: pytest.FixtureRequest,
    doctest_namespace: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Give an example of `actrace.analysis` the name ``run`` and an empty folder."""
    if isinstance(request.node, pytest.DoctestItem) and ".analysis." in request.node.name:
        doctest_namespace["run"] = _run()
        monkeypatch.chdir(tmp_path_factory.mktemp("example"))
