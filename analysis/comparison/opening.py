"""Runs as a user gives them -> opened runs by name. Imports xarray."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import xarray as xr

from actrace.analysis import select
from actrace.errors import ComparisonError
from actrace.store.reader import open_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Path", "Runs", "open_runs"]

Path: TypeAlias = str | os.PathLike[str]
Runs: TypeAlias = "Mapping[str, xr.DataTree | Path] | Sequence[xr.DataTree | Path] | pd.DataFrame"


def open_runs(runs: Runs, what: str) -> tuple[dict[str, xr.DataTree], list[xr.DataTree]]:
    """Return name -> run, and those of them that were opened here.

    Parameters
    ----------
    runs : sequence or mapping of runs or paths, or the table of `actrace.runs`
    what : str
        What to call them in an error.

    Raises
    ------
    ComparisonError
        Something else, or one run alone.
    """
    ours: list[xr.DataTree] = []

    def opened(run: xr.DataTree | Path) -> xr.DataTree:
        if isinstance(run, xr.DataTree):
            return select.root(run)
        ours.append(open_run(run))
        return ours[-1]

    if isinstance(runs, (str, os.PathLike, xr.DataTree)):
        raise ComparisonError(f"{what} must be several, as [a, b] or {{'a': a, 'b': b}}, got one")
    if isinstance(runs, Mapping):
        return {str(name): opened(run) for name, run in runs.items()}, ours
    if not isinstance(runs, Sequence):
        if "path" not in getattr(runs, "columns", ()):
            raise ComparisonError(
                f"{what} must be a list, a dict or a table with a column 'path', as "
                f"actrace.runs(folder) returns it; got {type(runs).__name__}"
            )
        named = zip(runs.index, runs["path"], strict=True)
        return {str(name): opened(path) for name, path in named}, ours
    found: dict[str, xr.DataTree] = {}
    for run in runs:
        tree = opened(run)
        name = str(tree.name or f"run {len(found)}")
        again = 2
        while name in found:
            name, again = f"{tree.name or 'run'} ({again})", again + 1
        found[name] = tree
    return found, ours
