"""Text for a terminal: tables, sizes, and names that cannot play tricks.

Names of runs, layers and classes come out of stores that others may have
written; here their control characters are escaped. May import rich alone.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["console", "fraction", "number", "printable", "size", "table"]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""Return `text` with control and direction characters escaped.

    Examples
    --------
    >>> printable("fc\x1b[31m1")
    'fc\\x1b[31m1'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )


def number(value: float, digits: int = 2) -> str:
    """Return a number for a table cell, ``-`` where there is none.

    Examples
    --------
    >>> number(1.234), number(float("nan")), number(123456.0)
    ('1.23', '-', '1.23e+05')
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value and not 10**-digits / 2 <= abs(value) < 100_000:
        return f"{value:.{digits}e}"
    return f"{value:.{digits}f}"


def fraction(value: float) -> str:
    """Return a share as a percentage, ``-`` where there is none.

    Examples
    --------
    >>> fraction(0.1234)
    '12.3 %'
    """
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def size(n_bytes: float) -> str:
    """Return a size on disk in the unit that reads best.

    Examples
    --------
    >>> size(512), size(3_250_000)
    ('512 B', '3.2 MB')
    """
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def console() -> Console:
    """Return the console that output goes to; piped output is never cut to 80 columns."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=max(plain.width, 160))


def table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], title: str = ""
) -> Table:
    """Return a table whose cells are shown as they are, markup and all.

    Parameters
    ----------
    columns : sequence of (str, str)
        Heading and ``"left"`` or ``"right"`` of each.
    rows : iterable of sequence of str
    title : str
    """
    made = Table(
        box=box.SIMPLE, title=Text(title) if title else None, title_justify="left", pad_edge=False
    )
    for heading, justify in columns:
        made.add_column(Text(heading), justify="right" if justify == "right" else "left")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made
