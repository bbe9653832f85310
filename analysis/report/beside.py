"""What a report says of several runs beside each other. May import xarray and pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr

from actrace.analysis.comparison.compare import compare
from actrace.analysis.comparison.comparison import Comparison
from actrace.analysis.report.content import NO_TABLE, Table
from actrace.analysis.report.words import NONE, cell, number
from actrace.errors import (
    AxisError,
    ComparisonError,
    LayerNotFoundError,
    NotRecordedError,
    PhaseNotFoundError,
)
from actrace.store.describe import clean

__all__ = ["Beside", "gather_beside"]

#: With more runs than this a run is a row of the table of differences, else a column.
_ABREAST: Final = 6
#: Layers that are listed for each run.
_MOST_LAYERS: Final = 20


@dataclass(frozen=True, slots=True)
class Beside:
    """Several runs held against the first of them.

    Attributes
    ----------
    sentences : tuple of str
        Where each run parts from the first; or why they cannot be compared.
    remarks : tuple of str
        What to know before believing it.
    differences : Table
        Settings in which they differ, and outcomes.
    layers : Table
        Where each layer of each run parts.
    found : Comparison, optional
        Where they can be compared.
    """

    sentences: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    differences: Table = NO_TABLE
    layers: Table = NO_TABLE
    found: Comparison | None = None


def gather_beside(
    runs: Mapping[str, xr.DataTree], *, by: str = "step", progress: bool | None = None
) -> Beside:
    """Return what a report says of runs beside the first of them.

    Parameters
    ----------
    runs : mapping of str to DataTree
        Two or more.
    by : {"step", "epoch", "samples", "fraction"}
        As for `actrace.compare`.
    progress : bool, optional

    Raises
    ------
    ComparisonError
        Another `by`.

    Examples
    --------
    >>> gather_beside({"a": run, "b": run}).sentences
    ('b keeps to a',)
    """
    if by not in ("step", "epoch", "samples", "fraction"):
        raise ComparisonError(f"by must be 'step', 'epoch', 'samples' or 'fraction', got {by!r}")
    try:
        found = compare(runs, by=by)
        found.load(progress=progress)
    except (
        AxisError, ComparisonError, LayerNotFoundError, NotRecordedError, PhaseNotFoundError,
    ) as why:  # fmt: skip
        return Beside((f"These runs cannot be compared: {clean(why, 300)}",))
    return Beside(
        sentences=tuple(part.sentence(found.baseline) for part in found.parts),
        remarks=found.remarks,
        differences=_differences(found),
        layers=_layers(found, by),
        found=found,
    )


def _differences(found: Comparison) -> Table:
    table = found.differences
    headings = [clean(str(name).removeprefix("outcome."), 80) for name in table.columns]
    body = [
        (clean(name, 80), *map(cell, values))
        for name, values in zip(table.index, table.itertuples(index=False), strict=True)
    ]
    rows = [("run", *headings), *body]
    if len(body) <= _ABREAST:
        rows = list(zip(*rows, strict=True))
    first, *rest = rows
    return Table(tuple(first), tuple(tuple(row) for row in rest))


def _layers(found: Comparison, by: str) -> Table:
    """Return the layers that part, the earliest first, then those that come nearest to it."""
    data, rows, left = found.data, [], 0
    for name in found.runs:
        if name == found.baseline:
            continue
        one = data.sel(run=name)
        far, noise = one["jensen_shannon"].to_numpy(), one["noise"].to_numpy()
        starts = one["parts_at"].to_numpy()
        peak = np.where(np.isnan(far), -np.inf, far).max(axis=1, initial=-np.inf)
        order = np.lexsort((-peak, np.where(np.isnan(starts), np.inf, starts)))
        left += max(len(order) - _MOST_LAYERS, 0)
        for at in order[:_MOST_LAYERS]:
            known = np.isfinite(peak[at])
            where = int(np.argmax(far[at] == peak[at])) if known else 0
            rows.append(
                (
                    clean(name, 80),
                    clean(data["layer"].values[at], 80),
                    "keeps" if math.isnan(starts[at]) else number(float(starts[at])),
                    number(float(peak[at])) if known else NONE,
                    number(float(noise[at, where])) if known else NONE,
                )
            )
    note = f"and {left:,} layers more: actrace compare --layers lists all of them" if left else ""
    headings = ("run", "layer", f"parts at {by}", "largest divergence (bits)", "noise there (bits)")
    return Table(headings, tuple(rows), note)
