"""Puts tables into a page of the documentation. Standard library alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["command", "put_into"]

#: Options that say where tables go, and not what is measured.
_OUTPUTS = ("--json", "--markdown", "--page")


def command(words: Sequence[str]) -> str:
    """Return a command as it stands beside its table, without where the table goes.

    Examples
    --------
    >>> command(["python", "benchmarks/overhead", "--models", "gpt*", "--json", "x.json"])
    "python benchmarks/overhead --models 'gpt*'"
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _OUTPUTS:
            skip = True
        elif not word.startswith(tuple(f"{name}=" for name in _OUTPUTS)):
            kept.append(word)
    return shlex.join(kept)


def put_into(page: str, lines: Iterable[str]) -> None:
    """Put lines into a page in place of those that stand between its marks.

    Parameters
    ----------
    page : str
        ``FILE#NAME``: between ``<!-- NAME -->`` and the next ``<!-- end -->``.
    lines : iterable of str

    Raises
    ------
    ValueError
        The page has no such marks.
    """
    file, _, name = page.partition("#")
    text = Path(file).read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not begin or not end:
        raise ValueError(f"{file} has no place '<!-- {name} -->' ... '<!-- end -->' for a table")
    inside = "\n".join(lines).strip("\n")
    Path(file).write_text(f"{before}{begin}\n{inside}\n\n{end}{after}", encoding="utf-8")
