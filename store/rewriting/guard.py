"""Histograms of a thinned run as a reader sees them: what was kept, or an error.

What was thinned must never be taken for counts, and dask reads whole blocks. So the
blocks of such an array end where a thinned stretch does, and reading one that was
thinned says so. May import xarray.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from actrace.errors import ThinnedError
from actrace.store.levels.ladder import FIRST
from actrace.store.rewriting.marks import Marks

__all__ = ["guarded", "thinned_error"]


def guarded(
    variable: xr.Variable, marks: Marks, phase: str, rows: int
) -> tuple[xr.Variable, tuple[int, ...]]:
    """Return an array that refuses to give what was thinned, and blocks that suit it.

    Parameters
    ----------
    variable : Variable, dims (layer, bin, batch)
        As it is in the store, not read yet.
    marks : Marks
    phase : str
        For messages.
    rows : int
        Most batches in a block.
    """
    n = variable.shape[-1]
    ends = [np.arange(0, n, rows), np.array([n]), *(part.batches.ravel() for part in marks.parts)]
    blocks = np.diff(np.unique(np.concatenate(ends)))
    data = indexing.LazilyIndexedArray(_Guarded(variable, marks, phase))
    guard = xr.Variable(variable.dims, data, variable.attrs, variable.encoding)
    return guard, tuple(blocks.tolist())


def thinned_error(phase: str, start: int, stop: int) -> ThinnedError:
    """Return the error that says which histograms are not there, and what is instead."""
    which = f"batch {start:,}" if stop - start == 1 else f"batches {start:,} to {stop - 1:,}"
    return ThinnedError(
        f"histograms of {which} of phase {phase!r} were thinned: they are there merged by {FIRST} "
        f"alone; ask run.window({phase!r}, {start}, {stop}) or run.at_level({phase!r}, {FIRST}), "
        "or batches that were kept (see run.attrs['thinned'])"
    )


class _Guarded(BackendArray):
    """An array of a store that raises where a thinned cell is asked for."""

    def __init__(self, variable: xr.Variable, marks: Marks, phase: str) -> None:
        self.shape = variable.shape
        self.dtype = variable.dtype
        self._variable = variable
        self._marks = marks
        self._phase = phase

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._take
        )

    def _take(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        layers = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        batches = np.atleast_1d(np.arange(self.shape[-1])[key[-1]])
        if len(batches):
            start, stop = int(batches.min()), int(batches.max()) + 1
            for layer in layers.tolist():
                if self._marks.rows(layer, start, stop)[batches - start].any():
                    raise thinned_error(self._phase, start, stop)
        return np.asarray(self._variable[key].values)
