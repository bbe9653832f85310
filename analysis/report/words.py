"""Numbers and names of a report in words. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from actrace.store.describe import clean

__all__ = ["NONE", "cell", "joined", "many", "number", "percent", "title_of"]

#: What stands where there is no number.
NONE: Final = "-"
#: Runs that a title names.
_NAMED: Final = 4


def number(value: float, digits: int = 3) -> str:
    """Return a number of so many digits.

    Examples
    --------
    >>> number(12.3456), number(float("nan")), number(184.0), number(1.2e-5)
    ('12.3', '-', '184', '1.2e-05')
    """
    if math.isnan(value):
        return NONE
    if math.isfinite(value) and value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def percent(value: float) -> str:
    """Return a share as a percentage.

    Examples
    --------
    >>> percent(0.1234), percent(float("nan"))
    ('12.3 %', '-')
    """
    return NONE if math.isnan(value) else f"{100 * value:.1f} %"


def cell(value: Any) -> str:
    """Return any value of a table: a number, a name, or nothing.

    Examples
    --------
    >>> cell(0.05), cell(None), cell([1, 2]), cell(True)
    ('0.05', '-', '[1, 2]', 'True')
    """
    if value is None or value == "":
        return NONE
    if isinstance(value, float):
        return number(value)
    return clean(value, 120)


def many(n: int, what: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> many(1, "warning"), many(1200, "batch")
    ('1 warning', '1,200 batches')
    """
    if n == 1:
        return f"1 {what}"
    return f"{n:,} {what}{'es' if what.endswith(('ch', 's')) else 's'}"


def joined(names: Iterable[str]) -> str:
    """Return names as one reads them out.

    Examples
    --------
    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else last


def title_of(names: Sequence[str]) -> str:
    """Return what a report of these runs is called.

    Examples
    --------
    >>> title_of(["a", "b"]), title_of(list("abcdefg"))
    ('a and b', 'a, b, c and 4 more runs')
    """
    if len(names) <= _NAMED:
        return joined(names)
    return joined([*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more runs"])
