"""A report as one HTML page that needs neither script nor network.

Jinja2 escapes every word (autoescape); a content security policy in the page forbids
scripts besides, so that no name from a store can become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from actrace import __version__
from actrace.analysis.report.beside import Beside
from actrace.analysis.report.content import RunContent
from actrace.analysis.report.pictures import Picture
from actrace.analysis.report.words import title_of

__all__ = ["Drawn", "RunPage", "as_page"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture in its place: its title, how to read it, and what is seen in numbers."""

    title: str
    reading: str
    alt: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class RunPage:
    """What a page says of one run.

    Attributes
    ----------
    content : RunContent
    drawn : tuple of Drawn
    undrawn : tuple of (str, str)
        Title of a chart that could not be drawn, and why.
    """

    content: RunContent
    drawn: tuple[Drawn, ...] = ()
    undrawn: tuple[tuple[str, str], ...] = ()


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("actrace.analysis.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def as_page(
    runs: list[RunPage], beside: Beside | None, made: datetime, beside_drawn: Sequence[Drawn] = ()
) -> str:
    """Return the page.

    Parameters
    ----------
    runs : list of RunPage
        At least one.
    beside : Beside, optional
        Where there are several.
    made : datetime
        When, UTC.
    beside_drawn : sequence of Drawn
        Pictures of several runs beside each other.
    """
    return _template().render(
        title=title_of([run.content.name for run in runs]),
        runs=runs,
        beside=beside,
        beside_drawn=beside_drawn,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        version=__version__,
    )
