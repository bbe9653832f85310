"""The command line: what it prints, where it writes, how it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actrace.cli import build_parser, main
from actrace.cli.text import number, printable, size


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of a short demo and what it printed."""
    folder = tmp_path_factory.mktemp("cli") / "demo"
    out = subprocess.run(
        [sys.executable, "-m", "actrace", "demo", "--directory", str(folder), "--epochs", "2"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    assert out.stderr == ""
    return folder, out.stdout


def test_the_demo_leaves_two_runs_and_their_pictures(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    for run in ("good", "too-high"):
        assert (folder / f"{run}.zarr" / "zarr.json").is_file()
        for chart in ("colorful", "colorful-fc", "twin-peaks"):
            assert (folder / f"{run}-{chart}.png").read_bytes().startswith(b"\x89PNG")
            assert "<html" in (folder / f"{run}-{chart}.html").read_text(encoding="utf-8").lower()


def test_the_demo_prints_a_row_an_epoch_and_what_to_try_next(demo: tuple[Path, str]) -> None:
    _, printed = demo
    for word in ("understanding", "d'", "overlap", "divergence", "highest death", "Try next"):
        assert word in printed
    assert "good.zarr" in printed
    assert printed.count("actrace ") >= 2


def test_the_two_runs_of_the_demo_differ(demo: tuple[Path, str]) -> None:
    import actrace

    folder, _ = demo
    good, bad = (
        actrace.twin_peaks(actrace.open(folder / name)).sel(phase="valid").isel(epoch=-1).compute()
        for name in ("good", "too-high")
    )
    assert float(good["accuracy"]) > 0.9
    assert float(bad["accuracy"]) < 0.5
    assert float(good["d_prime"]) > 2 * float(bad["d_prime"])


def test_a_demo_is_never_overwritten_unless_asked(
    demo: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = demo
    before = (folder / "good.zarr" / "zarr.json").read_bytes()
    assert main(["demo", "--directory", str(folder), "--epochs", "1"]) == 1
    assert "good.zarr" in capsys.readouterr().err
    assert (folder / "good.zarr" / "zarr.json").read_bytes() == before


def test_ls_lists_every_run(demo: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = demo
    assert main(["ls", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "good" in printed
    assert "too-high" in printed
    assert "finished" in printed


def test_ls_says_when_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(tmp_path)]) == 0
    assert "No runs below" in capsys.readouterr().out


def test_ls_of_a_missing_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_info_says_what_a_run_recorded(
    demo: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = demo
    assert main(["info", str(folder / "good"), "--layers", "--epochs"]) == 0
    printed = capsys.readouterr().out
    for word in ("train", "valid", "finished", "block1.conv1", "Conv2d", "16x8x8", "d'"):
        assert word in printed


@pytest.mark.parametrize("suffix", [".png", ".html", ".svg"])
def test_chart_writes_the_file_asked_for(
    demo: tuple[Path, str], tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = demo
    picture = tmp_path / f"layer{suffix}"
    run = str(folder / "good.zarr")
    assert main(["chart", run, "colorful", "--layer", "fc", "-o", str(picture)]) == 0
    assert picture.stat().st_size > 1000
    assert picture.name in capsys.readouterr().out


@pytest.mark.parametrize(
    "asked",
    [
        ["separation", "--by", "class"],
        ["class-peaks"],
        ["divergence", "--layers", "fc"],
        ["rates", "--layers", "*relu*", "--phase", "valid"],
        ["warning", "--by", "epoch"],
        ["units"],
        ["units", "--layer", "relu"],
        ["colorful", "--findings"],
        ["colorful", "--by", "class", "--scale", "asinh"],
        ["twin-peaks", "--view", "stacked", "--theme", "dark"],
    ],
)
def test_every_chart_is_drawn(demo: tuple[Path, str], tmp_path: Path, asked: list[str]) -> None:
    folder, _ = demo
    picture = tmp_path / "chart.svg"
    assert main(["chart", str(folder / "good.zarr"), *asked, "-o", str(picture)]) == 0
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chart", "{run}", "gradients", "-o", "x.png"], "gradients=True"),
        (["info", "{none}"], "no-such-run"),
        (["info", "{folder}"], "good"),
        (["chart", "{run}", "colorful", "--layer", "fc9"], "fc9"),
        (["chart", "{run}", "colorful", "--phase", "holdout"], "holdout"),
        (["chart", "{run}", "-o", "x.png"], "say which chart"),
        (["chart", "{run}", "units", "--by", "class"], "--by says nothing to units"),
        (["chart", "{run}", "divergence", "--by", "batch"], "'layer' or 'class'"),
        (["chart", "{run}", "rates", "--by", "unit"], "'batch' or 'epoch'"),
        (["chart", "{run}", "colorful", "-o", "x.docx"], ".docx"),
    ],
)
def test_an_error_is_one_plain_line(
    demo: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, _ = demo
    places = {"none": tmp_path / "no-such-run", "folder": folder, "run": folder / "good.zarr"}
    assert main([argument.format(**places) for argument in arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("actrace: ")
    assert err.count("\n") == 1
    assert said in err


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "none"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "demo", "ls", "info", "chart", "diagnose", "peaks", "divergence", "levels", "compact",
        "thin", "check", "repair", "tag", "note", "mv", "rm", "export",
    ],
)  # fmt: skip
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  actrace {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["paint"], ["demo", "--epochs", "0"], ["chart"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_control_characters_of_names_are_escaped() -> None:
    assert printable("a\x1b[2Jb\u202ec\n") == r"a\x1b[2Jb\u202ec\n"
    assert printable("Größe 層") == "Größe 層"


def test_numbers_and_sizes_read_well() -> None:
    assert number(float("-inf")) == "-inf"
    assert number(0.001, 3) == "0.001"
    assert number(0.0) == "0.00"
    assert size(999) == "999 B"
    assert size(2.5e12) == "2.5 TB"
