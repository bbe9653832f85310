"""The build script: which environment a notebook gets, and what becomes of its evidence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import build

ROOT = Path(__file__).parents[2]
CLAIM = {"claim": "a | b", "who": "X", "measured": "3", "data": "digits", "verdict": "in part: no"}


def settings(*words: str) -> dict[str, str]:
    return build.environment(build.parser().parse_args(words))


def test_full_settings_are_the_default_and_data_is_only_what_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACTRACE_QUICK", "1")
    monkeypatch.setenv("ACTRACE_DATA", "/elsewhere")
    found = settings()
    assert found["ACTRACE_QUICK"] == "0"
    assert "ACTRACE_DATA" not in found
    found = settings("--quick", "--data", str(tmp_path), "--scale", "2")
    assert (found["ACTRACE_QUICK"], found["ACTRACE_SCALE"]) == ("1", "2.0")
    assert found["ACTRACE_DATA"] == str(tmp_path)


def test_a_row_has_the_command_that_repeats_it_and_bars_are_escaped() -> None:
    head, line, row = build.evidence_lines([CLAIM], build.command("name", 2.0))
    assert head.count("|") == line.count("|") == row.replace(r"\|", "").count("|") == 6
    assert r"a \| b (X)" in row
    assert "`python -m notebooks.build name --data DIR --scale 2`" in row


def test_figures_of_quick_settings_are_never_put_into_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        build.main(["--quick", "--page", "docs/evidence.md"])
    assert "no evidence" in capsys.readouterr().err


def test_a_notebook_is_executed_rendered_and_its_evidence_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    cell = (
        "from common.evidence import Claim, evidence\n"
        f"evidence(Claim(**{json.dumps(CLAIM)}))  # tells <b>all</b>"
    )
    nbformat.write(new_notebook(cells=[new_code_cell(cell)]), tmp_path / "small.ipynb")
    (tmp_path / "common").symlink_to(build.HERE / "common")
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- small -->\n\n<!-- end -->\n")
    monkeypatch.setattr(build, "HERE", tmp_path)
    out = tmp_path / "out"
    assert build.main(["small", "--out", str(out), "--page", str(page)]) == 0
    assert json.loads((out / "small.json").read_text()) == [CLAIM]
    assert "| a \\| b (X) | 3 | digits |" in page.read_text()
    shown = (out / "small.html").read_text()
    assert "in part: no" in shown
    assert "&lt;b&gt;all" in shown
    assert not re.search(r"<(script|img|iframe)[^>]*src=.https?:|<link[^>]*href=.https?:", shown)


def test_a_failing_cell_is_named_and_the_exit_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "wrong.ipynb")
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.main(["wrong", "--out", str(tmp_path / "out")]) == 1
    assert "wrong: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "wrong.html").exists()


@pytest.mark.parametrize(
    "path",
    [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if "Claim(" in path.read_text()],
    ids=lambda path: path.stem,
)
def test_a_notebook_with_claims_has_its_table_in_the_page(path: Path) -> None:
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    _, mark, rest = page.partition(f"<!-- {path.stem} -->")
    assert mark
    table = rest.partition("<!-- end -->")[0]
    assert f"python -m notebooks.build {path.stem} " in table
    assert re.search(r"\| (confirmed|in part|refuted)", table)
