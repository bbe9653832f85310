"""Every notebook runs from top to bottom, in a real kernel, on its small settings."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

import actrace

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: What a user may set, and a test does not.
SETTINGS = (
    "ACTRACE_BIG_RUN",
    "ACTRACE_DATA",
    "ACTRACE_EVIDENCE",
    "ACTRACE_RUNS",
    "ACTRACE_SCALE",
)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the recorder's kernels, which it says where it is the first time."""
    model = torch.nn.Linear(2, 2)
    path = tmp_path_factory.mktemp("kernels") / "a"
    with actrace.record(model, path, criterion=(loss_fn := torch.nn.CrossEntropyLoss())):
        loss_fn(model(torch.zeros(3, 2)), torch.zeros(3, dtype=torch.long))


@pytest.fixture
def executed(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernels: None,
):
    """Run a notebook as on a fresh machine: without the real data."""
    monkeypatch.setenv("ACTRACE_QUICK", "1")
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.fspath(FOLDER), prepend=os.pathsep)
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # says which folders, or jupyter_core warns
    monkeypatch.setenv("TMPDIR", os.fspath(tmp_path))
    notebook = nbformat.read(request.param, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    return client.execute()


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """Return every output of a MIME type."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out["data"][kind] for out in outputs if kind in out.get("data", {})]


@pytest.mark.parametrize("executed", NOTEBOOKS, ids=lambda path: path.stem, indirect=True)
def test_a_notebook_runs_and_draws_without_a_network(executed: nbformat.NotebookNode) -> None:
    pages = shown(executed, "text/html")
    assert any("actrace run" in page for page in pages)
    assert any("bk-" in page or "Bokeh" in page for page in pages)
    for page in pages:
        assert not re.search(r"<(script|img|iframe)[^>]*src=.https?:|<link[^>]*href=.https?:", page)
    for cell in executed.cells:
        for out in cell.get("outputs", []):
            assert out["output_type"] != "stream", f"printed on {out.get('name')}: {out['text']}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
