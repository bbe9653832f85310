"""``actrace compact`` and ``actrace thin``: what they print, ask and refuse."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
from tests.store.rewriting import thinning
from tests.store.rewriting.thinning import FREE, blanks, columns

from actrace.cli import main
from actrace.store.writer import RunWriter


@pytest.fixture(scope="module", autouse=True)
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 64)
        return thinning.write_run(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture
def path(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "a.zarr")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_compact_prints_what_there_was_and_is(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compact", str(path)]) == 0
    said = capsys.readouterr().out
    assert "needs up to" in said
    assert "files" in said
    assert " -> " in said
    assert main(["compact", str(path)]) == 0
    assert "no file can be joined to another" in capsys.readouterr().out


def test_thin_asks_before_anything_is_gone(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert main(["thin", str(path)]) == 0
    assert "kept" in capsys.readouterr().out
    assert not blanks(path).any()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert main(["thin", str(path), "--keep-epochs", "0,-1", "--keep-layers", "layer0", "*2"]) == 0
    assert "thinned run a.zarr" in capsys.readouterr().out
    assert [columns(layer) for layer in blanks(path)] == [[4, 7], FREE, [4, 7]]


def test_thin_where_nobody_can_be_asked_needs_a_yes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["thin", str(path)]) == 1
    assert "pass --yes" in capsys.readouterr().err
    assert main(["thin", str(path), "-o", str(path.with_name("b")), "--keep-steps", "70:71"]) == 0
    assert not blanks(path).any()
    assert columns(blanks(path.with_name("b.zarr"))[0]) == [0, 1, 7, 10]
    assert main(["thin", str(path), "--yes"]) == 0
    assert columns(blanks(path)[0]) == FREE
    assert main(["ls", str(path.parent)]) == 0
    assert "finished, thinned" in capsys.readouterr().out


@pytest.mark.parametrize(
    "asked",
    [
        ["compact", "--shard-mib", "0"],
        ["compact", "--shard-mib", "x"],
        ["thin", "--keep-steps", "5"],
        ["thin", "--keep-steps", "9:3"],
        ["thin", "--keep-epochs", "last"],
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(path: Path, asked: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*asked, str(path)])
    assert caught.value.code == 2


@pytest.mark.parametrize("command", [["compact"], ["thin", "--yes"]])
def test_a_run_that_is_being_written_is_refused(
    path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    writer = RunWriter.resume(path)
    assert main([*command, str(path)]) == 1
    assert "being written" in capsys.readouterr().err
    writer.close()
