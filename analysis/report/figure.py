"""What a figure of a report is: a chart, how to read it, and its words in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from actrace.analysis import select
from actrace.analysis.table import EpochRow
from actrace.errors import NotRecordedError

__all__ = ["Figure", "Rows", "main_phase"]

Rows = Sequence[EpochRow]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart of a report.

    Attributes
    ----------
    name : str
        Of its file, where it gets one.
    title : str
    reading : str
        How to read it.
    make : callable
        (run, rows of the table by epoch) -> a HoloViews object, and what is seen in it, in
        numbers. Raises NotRecordedError where the run lacks what it shows.
    weight : float
        Its part of the room that pictures may take.
    night : bool
        Whether the picture is dark in itself, and stands on dark paper by day too.
    """

    name: str
    title: str
    reading: str
    make: Callable[[xr.DataTree, Rows], tuple[Any, str]]
    weight: float
    night: bool = False


def main_phase(run: xr.DataTree) -> str:
    """Return the phase that is drawn batch by batch: ``train``, or the first there is.

    Raises
    ------
    NotRecordedError
        The run has no batch yet.
    """
    phases = [name for name in select.phase_names(run) if run.children[name].sizes.get("batch", 0)]
    if not phases:
        raise NotRecordedError("no batch has been recorded yet")
    return "train" if "train" in phases else phases[0]
