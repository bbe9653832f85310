"""The first page: all runs as a table, to search, filter, open and compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import pandas as pd
import panel as pn

from actrace.analysis.app.controls import button, choice, field
from actrace.analysis.app.look import TABLE
from actrace.analysis.app.markup import block, escaped, heading
from actrace.analysis.app.slot import Slot
from actrace.analysis.app.tab import Tab
from actrace.analysis.app.view import MOST_RUNS, SORTS, View
from actrace.store.catalogue.listing import STATUSES
from actrace.store.catalogue.summary import RunSummary
from actrace.store.describe import clean

__all__ = ["CataloguePage", "rows_of", "selected", "sorted_runs"]

_PAGE_SIZE: Final = 25
_ANY: Final = "any"
_DOING: Final = "reading the runs"
#: Pixels; the others share what a page of 1,280 or more leaves.
_WIDTHS: Final = {
    "run": 235,
    "status": 85,
    "tags": 85,
    "loss": 75,
    "understanding": 160,
    "batches": None,
    "MB": 75,
    "started": 140,
    "note": None,
}
_NUMBERS: Final = ("loss", "understanding", "MB")


def selected(
    runs: Iterable[RunSummary], *, search: str = "", status: str = "", tag: str = ""
) -> list[RunSummary]:
    """Return the runs that hold every word searched for, with a status and a tag.

    A word may stand in a run's name, tags, note, host or settings, in any case.
    """
    sought = search.casefold().split()

    def holds(run: RunSummary) -> bool:
        settings = [f"{key}={value}" for key, value in run.config.items()] if sought else []
        text = "\n".join([run.name, run.note, run.host, *run.tags, *settings]).casefold()
        return all(word in text for word in sought)

    return [
        run
        for run in runs
        if (not status or run.status == status) and (not tag or tag in run.tags) and holds(run)
    ]


def sorted_runs(runs: Iterable[RunSummary], by: str) -> list[RunSummary]:
    """Return the runs sorted by a column of the table, those that lack it at the end.

    Parameters
    ----------
    runs : iterable of RunSummary
    by : str
        One of `SORTS`, after a ``-`` from the highest down.
    """
    name, down = by.removeprefix("-"), by.startswith("-")
    keys: dict[str, Callable[[RunSummary], Any]] = {
        "run": lambda run: run.name,
        "status": lambda run: run.status,
        "loss": lambda run: run.loss,
        "understanding": lambda run: run.understanding,
        "batches": lambda run: sum(run.batches.values()),
        "MB": lambda run: run.size,
        "started": lambda run: run.started,
    }
    values = [(keys[name](run), run) for run in runs]
    # NaN is a loss that was not recorded, "" a beginning that is not known.
    has = [held for held in values if held[0] == held[0] and held[0] != ""]
    rest = [run for value, run in values if not (value == value and value != "")]
    return [run for _, run in sorted(has, key=lambda held: held[0], reverse=down)] + rest


def rows_of(runs: Iterable[RunSummary]) -> pd.DataFrame:
    """Return a row a run, as it is shown; a damaged run's note says what is wrong."""
    rows = [
        {
            "run": clean(f"{run.name} ({run.ranks} ranks)" if run.ranks else run.name, 120),
            "status": run.status,
            "tags": clean(", ".join(run.tags), 120),
            "loss": _rounded(run.loss),
            "understanding": _rounded(run.understanding),
            "batches": ", ".join(f"{clean(k, 20)} {n:,}" for k, n in run.batches.items()),
            "MB": _rounded(round(run.size / 1e6, 3)),
            "started": clean(run.started[:16].replace("T", " "), 20),
            "note": clean(_problem(run) or run.note, 200),
        }
        for run in runs
    ]
    # As objects, so that what is missing is an empty cell and no NaN.
    frame = pd.DataFrame(rows, columns=list(_WIDTHS), dtype=object)
    return frame.where(frame.notna(), None)


def _problem(run: RunSummary) -> str:
    """Return what is wrong with a run, without its path, which its name is the end of."""
    return run.problem.removeprefix(f"run {str(run.path)!r} is damaged: ")


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


class CataloguePage:
    """The table of runs.

    Parameters
    ----------
    tab : Tab
    view : View
        Of page ``"runs"``.
    """

    def __init__(self, tab: Tab, view: View) -> None:
        self._tab, self.view = tab, view
        self._runs: list[RunSummary] = []
        self._shown: list[RunSummary] = []
        self.search = field("Search names, tags, notes, settings", value=view.search, width=300)
        status = view.status if view.status in STATUSES else _ANY
        self.status = choice("Status", options=[_ANY, *STATUSES], value=status, width=130)
        self.tag = choice("Tag", options={_ANY: ""}, value="", width=180)
        sorts = {name: name for name in SORTS} | {
            f"{name}, from the top": f"-{name}" for name in SORTS
        }
        self.sort = choice("Sorted by", options=sorts, value=view.sort, width=210)
        self.open = button("Open", color="primary", disabled=True, width=90)
        self.compare = button("Compare", disabled=True, width=110)
        self.again = button("Read again", width=110)
        self.count = block("")
        self.table = pn.widgets.Tabulator(
            rows_of([]),
            show_index=False,
            selectable="checkbox",
            pagination="remote",
            page_size=_PAGE_SIZE,
            disabled=True,
            stylesheets=[TABLE],
            sizing_mode="stretch_width",
            layout="fit_columns",
            # Cells that could be edited take the keyboard and keep it.
            editors=dict.fromkeys(_WIDTHS),
            widths={name: width for name, width in _WIDTHS.items() if width},
            # Plain text: the other formatters take a cell for HTML.
            formatters={name: {"type": "plaintext"} for name in _WIDTHS},
            text_align=dict.fromkeys(_NUMBERS, "right"),
            header_tooltips={"understanding": "distance of the YES and NO peaks' means"},
        )
        self.slot = Slot(tab.workers)
        self.slot.wait(_DOING)
        for widget in (self.search, self.status, self.tag, self.sort):
            widget.param.watch(lambda _: self._filter(), "value")
        self.table.param.watch(lambda _: self._enable(), "selection")
        self.table.on_click(lambda event: self._open(event.row) if event.column == "run" else None)
        self.open.on_click(lambda _: self._open(self.table.selection[0]))
        self.compare.on_click(lambda _: self._compare())
        self.again.on_click(self._read_again)
        self.body = pn.Column(
            heading(f"Runs in {tab.folder.root}"),
            pn.FlexBox(self.search, self.status, self.tag, self.sort, align_items="end"),
            pn.Row(self.open, self.compare, self.again, self.count, sizing_mode="stretch_width"),
            self.slot.area,
            sizing_mode="stretch_width",
        )

    async def start(self) -> None:
        """Read what runs there are, and show them."""
        await self.slot.show(self._take, doing=_DOING, read=self._tab.folder.runs)

    async def redraw(self) -> None:
        """Do nothing: the style sheet has all of the page's colours."""

    async def _read_again(self, _event: Any) -> None:
        await self.start()

    def _take(self, runs: list[RunSummary]) -> Any:
        self._runs = runs
        tags = sorted({tag for run in runs for tag in run.tags})
        wanted = self.tag.value or self.view.tag
        self.tag.options = {_ANY: ""} | {clean(tag, 60): tag for tag in tags}
        self.tag.value = wanted if wanted in tags else ""
        self._filter()
        return self.table

    def _filter(self) -> None:
        status = "" if self.status.value == _ANY else self.status.value
        chosen = {"search": self.search.value, "status": status, "tag": self.tag.value}
        self.view = replace(self.view, **chosen, sort=self.sort.value)
        self._shown = sorted_runs(selected(self._runs, **chosen), self.sort.value)
        self.table.selection = []
        self.table.value = rows_of(self._shown)
        damaged = sum(run.status == "damaged" for run in self._shown)
        said = f"{len(self._shown):,} of {len(self._runs):,} runs"
        said += f", {damaged} damaged" if damaged else ""
        self.count.object = f"<p role='status'>{escaped(said)}</p>"
        self._enable()
        self._tab.noted(self.view)

    def _enable(self) -> None:
        n = len(self.table.selection)
        self.open.disabled = n != 1
        self.compare.disabled = not 2 <= n <= MOST_RUNS

    def _open(self, row: int) -> None:
        self._tab.go(View("run", run=self._shown[row].name))

    def _compare(self) -> None:
        names = tuple(self._shown[row].name for row in sorted(self.table.selection))
        self._tab.go(View("compare", runs=names))
