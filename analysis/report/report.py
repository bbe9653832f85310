"""`report`: runs in one file to hand on. Draws through HoloViews, run by run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import xarray as xr

from actrace.analysis.comparison.opening import Runs, open_runs
from actrace.analysis.report.beside import gather_beside
from actrace.analysis.report.beside_figures import beside_figures
from actrace.analysis.report.content import RunContent, gather
from actrace.analysis.report.figures import FIGURES
from actrace.analysis.report.markdown import as_markdown
from actrace.analysis.report.page import Drawn, RunPage, as_page
from actrace.analysis.report.pictures import Picture, take
from actrace.errors import (
    ChartError,
    LayerNotFoundError,
    NotRecordedError,
    PhaseNotFoundError,
    ReportError,
)
from actrace.store.describe import clean
from actrace.store.progress import counting

__all__ = ["report"]

#: What says that a run lacks what a chart shows.
_UNDRAWN: Final = (ChartError, LayerNotFoundError, NotRecordedError, PhaseNotFoundError)
_HTML: Final = (".html", ".htm")
_MARKDOWN: Final = (".md", ".markdown")
#: Bytes of pictures that a page may hold: as text they take four thirds of it.
_ROOM: Final = 6_000_000
#: Bytes that a picture beside a Markdown report may have.
_BESIDE: Final = 1_000_000


def report(
    runs: xr.DataTree | str | os.PathLike[str] | Runs,
    output: str | os.PathLike[str],
    *,
    pictures: str | os.PathLike[str] | None = None,
    by: str = "step",
    progress: bool | None = None,
) -> Path:
    """Return the path of a report on runs: what they are, what was found, pictures, numbers.

    Parameters
    ----------
    runs : a run or path, or several, or the table of `actrace.runs`
        The others of several are held against the first, as `actrace.compare` does it.
    output : str or path
        Ends in ``.html``, a page that holds all it shows, loads nothing and runs no
        script, below 10 MB; or in ``.md``, a summary for a pull request. The file is
        replaced whole or not at all; missing folders are made.
    pictures : str or path, optional
        Folder for the pictures of a Markdown report, which has none without it.
    by : {"step", "epoch", "samples", "fraction"}, default "step"
        What several runs are aligned by.
    progress : bool, optional
        True for a progress bar at once, False for none; by default one after two
        seconds on a terminal.

    Returns
    -------
    Path

    Raises
    ------
    ReportError
        Another suffix, no run, or `pictures` with a page.
    DamagedRunError
        A run holds less than it promises; `actrace check` says what.

    Examples
    --------
    >>> report(run, "report.html").name
    'report.html'
    """
    target = Path(output)
    suffix = target.suffix.lower()
    if suffix not in (*_HTML, *_MARKDOWN):
        raise ReportError(
            f"cannot write a report as {target.name!r}; give a path that ends in .html (a page "
            "that needs nothing else) or .md (a summary for a pull request)"
        )
    if pictures is not None and suffix in _HTML:
        raise ReportError(
            f"pictures={os.fspath(pictures)!r} is for a Markdown report; a page holds its own"
        )
    with ExitStack() as stack:
        opened = _opened(runs, stack)
        if suffix in _HTML:
            text = _page(opened, by, progress)
        else:
            folder = None if pictures is None else Path(pictures)
            text = _markdown(opened, by, progress, folder, target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _opened(
    runs: xr.DataTree | str | os.PathLike[str] | Runs, stack: ExitStack
) -> dict[str, xr.DataTree]:
    several = [runs] if isinstance(runs, (str, os.PathLike, xr.DataTree)) else runs
    opened, ours = open_runs(several, "runs")
    for run in ours:
        stack.callback(run.close)
    if not opened:
        raise ReportError("a report needs a run, got none; name one or more")
    return opened


def _page(runs: Mapping[str, xr.DataTree], by: str, progress: bool | None) -> str:
    beside = gather_beside(runs, by=by, progress=progress) if len(runs) > 1 else None
    side = beside_figures(beside.found, runs) if beside is not None and beside.found else []
    weight = sum(figure.weight for figure in FIGURES) * len(runs) + len(side)
    beside_drawn = [
        Drawn(title, reading, alt, _taken(chart, _ROOM / weight, True))
        for title, reading, chart, alt in side
    ]
    pages = []
    with counting(len(runs) * (len(FIGURES) + 1), "writing the report", progress=progress) as done:
        for name, run in runs.items():
            content = gather(run, name, progress=False)
            done()
            drawn, undrawn = [], []
            for figure in FIGURES:
                try:
                    chart, alt = figure.make(run, content.rows)
                    room = _ROOM * figure.weight / weight
                    picture = _taken(chart, room, figure.night)
                    drawn.append(Drawn(figure.title, figure.reading, alt, picture))
                except _UNDRAWN as why:
                    undrawn.append((figure.title, clean(why, 300)))
                done()
            pages.append(RunPage(content, tuple(drawn), tuple(undrawn)))
    return as_page(pages, beside, datetime.now(UTC), beside_drawn)


def _taken(chart: Any, room: float, night: bool) -> Picture:
    """Return a chart for a page: on dark paper alone where it is dark in itself."""
    if night:
        # It is made of images, which no drawing makes smaller.
        return take(chart, room, drawings=False, paper="dark")
    return take(chart, room, paper="both")


def _markdown(
    runs: Mapping[str, xr.DataTree],
    by: str,
    progress: bool | None,
    folder: Path | None,
    home: Path,
) -> str:
    beside = gather_beside(runs, by=by, progress=progress) if len(runs) > 1 else None
    contents: list[RunContent] = []
    shown: list[list[tuple[str, str, str]]] = []
    with counting(len(runs), "writing the report", progress=progress) as done:
        for at, (name, run) in enumerate(runs.items()):
            contents.append(gather(run, name, progress=False))
            shown.append([] if folder is None else _saved(run, contents[-1], at, folder, home))
            done()
    return as_markdown(contents, beside, shown)


def _saved(
    run: xr.DataTree, content: RunContent, at: int, folder: Path, home: Path
) -> list[tuple[str, str, str]]:
    """Return title, alternative text and path of each picture, which now stands in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for figure in FIGURES:
        try:
            chart, alt = figure.make(run, content.rows)
            picture = take(chart, _BESIDE, drawings=False)
        except _UNDRAWN:
            continue
        # By number: a name from a store is never part of a path.
        path = folder / f"run-{at + 1}-{figure.name}.png"
        path.write_bytes(picture.data)
        found.append((figure.title, alt, Path(os.path.relpath(path, home)).as_posix()))
    return found
