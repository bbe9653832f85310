"""What the app shows, as it stands in the URL: to be shared, and come back to.

A URL is a stranger's text: whatever makes no sense in it is left out, and whether
its runs are there is for `folder` to say. Imports nothing beyond the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlencode

__all__ = ["EACH", "MOST_RUNS", "PAGES", "SECTIONS", "SORTS", "THEMES", "Ends", "View"]

PAGES: Final = ("runs", "run", "compare")
#: Parts of a run's page, with what their buttons say.
SECTIONS: Final = {
    "overview": "Overview",
    "layer": "One layer",
    "peaks": "Twin peaks",
    "classes": "Classes",
    "rates": "Rates",
    "divergence": "Train and valid",
    "gradients": "Gradients",
    "findings": "Findings",
}
#: What pictures of the output are of.
EACH: Final = {"": "all of it", "class": "each class", "unit": "each output unit"}
#: What the table of runs may be sorted by.
SORTS: Final = ("run", "status", "loss", "understanding", "batches", "MB", "started")
#: First and last of what is in view of an axis.
Ends: TypeAlias = tuple[float, float]
#: Colours of the page, with what their switch says; "" is what the browser asks for.
THEMES: Final = {"": "as the browser", "light": "light", "dark": "dark"}
#: Runs that a comparison takes; more make neither a table nor a picture that can be read.
MOST_RUNS: Final = 12
#: Letters of a URL's query that are read.
_MOST_QUERY: Final = 20_000


@dataclass(frozen=True, slots=True)
class View:
    """A page of the app and what is chosen on it.

    Attributes
    ----------
    page : {"runs", "run", "compare"}
    run : str
        Name of the run that page ``"run"`` shows.
    section : str
        Part of that page, one of `SECTIONS`.
    phase, layer, parameter : str
        Empty for what the page takes by default.
    epoch : int or None
        None for the last one.
    by : {"batch", "epoch"}
        What a column of the rates is.
    each : {"", "class", "unit"}
        Whether the colorful dimension and the twin peaks are those of each class or unit.
    along : {"", "time"}
        Whether the twin peaks of all epochs stand along time, or those of one are seen.
    batches, values : (float, float) or None
        What is in view of a layer drawn large, None for all of it.
    mark : str
        Which findings are marked on charts: a rule's name, ``"all"``, or empty for none.
    runs : tuple of str
        Names of the runs that page ``"compare"`` holds against the first of them.
    search, status, tag : str
        Which runs page ``"runs"`` lists, empty for all.
    sort : str
        What they are sorted by, one of `SORTS`; ``"-loss"`` is from the highest down.
    theme : str
        One of `THEMES`; every page has it.
    """

    page: str = "runs"
    run: str = ""
    section: str = "overview"
    phase: str = ""
    layer: str = ""
    parameter: str = ""
    epoch: int | None = None
    by: str = "batch"
    each: str = ""
    along: str = ""
    batches: Ends | None = None
    values: Ends | None = None
    mark: str = ""
    runs: tuple[str, ...] = ()
    search: str = ""
    status: str = ""
    tag: str = ""
    sort: str = "run"
    theme: str = ""

    @classmethod
    def from_query(cls, query: str) -> View:
        """Return the view that a URL's query asks for, as near as it makes sense.

        Examples
        --------
        >>> view = View.from_query("?page=run&run=mnist%2Fa&section=peaks&epoch=3")
        >>> view.run, view.section, view.epoch
        ('mnist/a', 'peaks', 3)
        >>> View.from_query("?page=nothing&epoch=x") == View()
        True
        """
        found = parse_qs(query[:_MOST_QUERY].removeprefix("?"), errors="replace")

        def last(name: str) -> str:
            return found.get(name, [""])[-1]

        def one_of(name: str, known: Iterable[str], default: str) -> str:
            return last(name) if last(name) in known else default

        epoch, sort = last("epoch"), last("sort")
        return cls(
            page=one_of("page", PAGES, "runs"),
            run=last("run"),
            section=one_of("section", SECTIONS, "overview"),
            phase=last("phase"),
            layer=last("layer"),
            parameter=last("parameter"),
            epoch=int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) < 10 else None,
            by=one_of("by", ("batch", "epoch"), "batch"),
            each=one_of("each", EACH, ""),
            along=one_of("along", ("", "time"), ""),
            batches=_ends(last("batches")),
            values=_ends(last("values")),
            mark=last("mark"),
            runs=tuple(dict.fromkeys(found.get("runs", [])))[:MOST_RUNS],
            search=last("search"),
            status=last("status"),
            tag=last("tag"),
            sort=sort if sort.removeprefix("-") in SORTS else "run",
            theme=one_of("theme", THEMES, ""),
        )

    def query(self) -> str:
        """Return the query of the URL that shows this view; "" for the plain first page.

        Examples
        --------
        >>> View("compare", runs=("a", "b c")).query()
        '?page=compare&runs=a&runs=b+c'
        """
        told: list[tuple[str, str]] = []
        if self.page == "runs":
            told = [("search", self.search), ("status", self.status), ("tag", self.tag)]
            told += [("sort", self.sort if self.sort != "run" else "")]
        elif self.page == "compare":
            told = [("runs", run) for run in self.runs]
            told += [("phase", self.phase), ("layer", self.layer)]
        else:
            told = [("run", self.run), ("section", self.section), ("phase", self.phase)]
            told += [("layer", self.layer), ("parameter", self.parameter)]
            told += [("by", self.by if self.by != "batch" else ""), ("each", self.each)]
            told += [("along", self.along), ("mark", self.mark)]
            told += [("batches", _written(self.batches)), ("values", _written(self.values))]
            told += [] if self.epoch is None else [("epoch", str(self.epoch))]
        told += [("theme", self.theme)]
        pairs = [("page", self.page)] if self.page != "runs" else []
        pairs += [(name, value) for name, value in told if value]
        return f"?{urlencode(pairs, errors='replace')}" if pairs else ""


def _ends(text: str) -> Ends | None:
    """Return what `_written` wrote, None where it is nothing of the kind."""
    first, _, last = text.partition("..")
    try:
        ends = float(first), float(last)
    except ValueError:
        return None
    return ends if math.isfinite(ends[1] - ends[0]) and ends[0] < ends[1] else None


def _written(ends: Ends | None) -> str:
    return "" if ends is None else f"{ends[0]:.7g}..{ends[1]:.7g}"
