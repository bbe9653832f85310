"""The commands that list and change runs: what they print, what they ask, how they fail."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from tests.store import recording as rec

import actrace
from actrace.cli import build_parser, main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, lr, loss_of in (("a", 0.1, 3), ("b", 0.01, 9), ("sub/c", 1, 12)):
        told = {"config": {"lr": lr, "name": name}, "tags": [f"tag-{name}"]}
        rec.write_run(tmp_path / name, loss_of, attributes=told)
    (rec.write_run(tmp_path / "bad", 2) / "zarr.json").write_text("{")
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the names that ``actrace ls`` prints, in its order."""
    assert main(["ls", *arguments]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    return [line.split()[0] for line in lines[2:] if ": " not in line]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["--tag", "tag-a"], ["a"]),
        (["--status", "finished", "--name", "[ab]"], ["a", "b"]),
        (["--status", "damaged"], ["bad"]),
        (["--config", "lr=0.01"], ["b"]),
        (["--config", "lr=1.0"], ["sub/c"]),
        (["--config", "name=a", "--config", "lr=0.1"], ["a"]),
        (["--sort", "batches", "--reverse"], ["sub/c", "b", "a", "bad"]),
        (["--sort", "name", "--reverse"], ["sub/c", "bad", "b", "a"]),
    ],
)
def test_ls_chooses_and_sorts(
    folder: Path, capsys: pytest.CaptureFixture[str], asked: list[str], found: list[str]
) -> None:
    assert listed(capsys, str(folder), *asked) == found


@pytest.mark.parametrize("reverse", [False, True])
def test_ls_puts_runs_without_a_loss_last(
    folder: Path, capsys: pytest.CaptureFixture[str], reverse: bool
) -> None:
    losses = actrace.runs(folder)["train_loss"]
    expected = losses.dropna().sort_values(ascending=not reverse).index.tolist()
    order = listed(capsys, str(folder), "--sort", "loss", *(["--reverse"] if reverse else []))
    assert order == [*expected, "bad"]


def test_ls_says_what_is_wrong_and_when_nothing_fits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", str(folder), "--status", "damaged"]) == 0
    assert "not whole JSON" in " ".join(capsys.readouterr().out.split())
    assert main(["ls", str(folder), "--tag", "nobody"]) == 0
    assert "are as asked, of 4" in capsys.readouterr().out


def test_tags_and_notes_by_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder / "a")
    assert main(["tag", run, "+good", "-tag-a", "+new\x1b[2J"]) == 0
    assert capsys.readouterr().out == "good, new\\x1b[2J\n"
    assert main(["tag", run]) == 0
    assert capsys.readouterr().out == "good, new\\x1b[2J\n"
    assert main(["note", run]) == 0
    assert capsys.readouterr().out == "no note\n"
    assert main(["note", run, "seed\x1b bug\nsecond line"]) == 0
    assert main(["note", run]) == 0
    assert capsys.readouterr().out == "seed\\x1b bug\nsecond line\n"


def test_a_run_is_moved_by_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mv", str(folder / "a"), str(folder / "new" / "a")]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "new" / "a.zarr")
    assert main(["mv", str(folder / "new" / "a"), str(folder / "b")]) == 1
    assert "choose another name" in capsys.readouterr().err


def test_a_run_is_exported_and_read_from_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped = str(folder / "a.zip")
    assert main(["export", str(folder / "a"), zipped]) == 0
    assert capsys.readouterr().out.strip() == zipped
    assert main(["info", zipped]) == 0
    assert "train 3 batches" in capsys.readouterr().out
    assert main(["export", str(folder / "a"), zipped]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(folder / "b"), zipped, "--overwrite"]) == 0
    assert main(["export", str(folder / "a"), "s4://bucket/a"]) == 1
    assert "expected s3://BUCKET/PATH" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "there"), [("y\n", False), ("n\n", True), ("\n", True)])
def test_rm_asks(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    there: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["rm", str(folder / "a")]) == 0
    printed = capsys.readouterr().out
    assert "a.zarr (finished, 3 batches, " in printed
    assert "[y/N]" in printed
    assert (folder / "a.zarr").exists() is there


def test_rm_never_deletes_unasked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["rm", str(folder / "a")]) == 1
    assert "pass --yes" in capsys.readouterr().err
    assert main(["rm", "--yes", str(folder / "a"), str(folder / "b")]) == 0
    assert [p.name for p in sorted(folder.iterdir())] == ["bad.zarr", "sub"]
    assert main(["rm", "--yes", str(folder)]) == 1
    assert (folder / "sub" / "c.zarr").exists()


@pytest.mark.parametrize("command", ["tag", "note", "mv", "rm", "export"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  actrace {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["tag", "a", "good"], ["tag", "a", "--x"], ["tag", "a", "+ "], ["mv", "a"], ["rm"],
     ["ls", "--config", "lr"], ["ls", "--status", "done"]],
)  # fmt: skip
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
