"""``actrace report``: what it writes, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.analysis.storing import write
from tests.synthetic import synthetic_run

from actrace.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("a", "b")):
        write(synthetic_run(n_layers=2, n_batches=4, rng=seed), folder / f"{name}.zarr")
    return folder


def test_two_runs_make_one_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "out" / "two.md"
    assert main(["report", str(folder / "a"), str(folder / "b.zarr"), "-o", str(output)]) == 0
    assert f"report: {output}" in capsys.readouterr().out
    text = output.read_text("utf-8")
    assert text.startswith("## actrace: a and b\n")
    assert "| last epoch | a | b |" in text


def test_one_run_makes_a_page(folder: Path) -> None:
    assert main(["report", str(folder / "a"), "-o", str(folder / "a.html")]) == 0
    assert "<h1>a</h1>" in (folder / "a.html").read_text("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [["nowhere", "-o", "a.html"], ["a", "-o", "a.pdf"], ["a", "-o", "a.html", "--pictures", "p"]],
)
def test_an_error_is_one_line_and_leaves_nothing(
    folder: Path,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder / arguments[0]), *arguments[1:]]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
