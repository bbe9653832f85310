"""Models and variants by the names that the command line has for them. Standard library alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

__all__ = ["matching"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


def matching(kind: str, those: Sequence[_T], patterns: Iterable[str]) -> tuple[_T, ...]:
    """Return those whose names match one of the patterns, in their own order.

    Parameters
    ----------
    kind : str
        What they are, for the error.

    Raises
    ------
    ValueError
        A pattern matches none.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(one.name, pattern) for one in those):
            raise ValueError(
                f"no {kind} is called {pattern!r}; there are {', '.join(one.name for one in those)}"
            )
    return tuple(one for one in those if any(fnmatchcase(one.name, p) for p in patterns))
