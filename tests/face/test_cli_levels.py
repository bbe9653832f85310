"""``actrace levels``: what it builds, says and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store import recording as rec

from actrace.cli import main
from actrace.store.reader import open_run
from actrace.store.writer import RunWriter


def write(path: Path, n: int) -> RunWriter:
    """Write `n` batches without levels and leave the writer open."""
    writer = rec.new_writer(path, levels=False)
    row = rec.batch_row("train", 0)
    for _ in range(0, n, 32):
        writer.append_batches(rec.batch_rows([row] * 32))
    writer.commit()
    return writer


def test_levels_builds_what_a_run_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", 4096).close()
    assert main(["levels", str(tmp_path / "a")]) == 0
    assert "train: 320 columns built" in capsys.readouterr().out
    with open_run(tmp_path / "a") as run:
        assert run.levels("train") == {16: 256, 64: 64}
    assert main(["levels", str(tmp_path / "a")]) == 0
    assert "nothing is missing" in capsys.readouterr().out


def test_levels_takes_the_ranks_of_a_run_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in (0, 1):
        write(tmp_path / "a" / f"rank-{rank}", 4096).close()
    assert main(["levels", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "rank-0: train: 320 columns built" in said
    assert "rank-1: train: 320 columns built" in said


def test_levels_refuses_a_run_that_is_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = write(tmp_path / "a", 64)
    assert main(["levels", str(tmp_path / "a")]) == 1
    assert "is being written" in capsys.readouterr().err
    writer.close()


def test_levels_of_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["levels", str(tmp_path / "none")]) == 1
    assert "there is no run" in capsys.readouterr().err
