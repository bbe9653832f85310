"""Batches -> columns of a picture: exact sums over runs of neighbouring batches.

A run of a million batches must not become a picture of a million columns, nor
be read into memory whole. So batches are summed in groups of 2**k, slab by
slab, from the run's own levels where it has any. Imports NumPy and xarray;
knows nothing of value axes or colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.errors import ChartError
from actrace.store.rewriting.marks import is_thinned
from actrace.store.run import Run

__all__ = ["Columns", "at_level", "choose_columns", "sum_counters", "sum_counts", "sum_moments"]

#: Batches read at once. A multiple of every chunk length of the schema, so that
#: no chunk is read twice, and 32 MB of one layer at 512 bins.
SLAB = 16_384
#: A level is fine enough for a picture that is at least so many of its columns wide:
#: what lies after its last whole column cannot be seen to be missing.
FINE = 64


@dataclass(frozen=True, slots=True)
class Columns:
    """How batches share the columns of a picture.

    Attributes
    ----------
    first, stop : int
        The batches shown, ``first <= batch < stop``.
    width : int
        Batches in a column, a power of two; the last column may hold fewer.
    """

    first: int
    stop: int
    width: int

    def __len__(self) -> int:
        return -(-(self.stop - self.first) // self.width)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First batch of each column, shape (n_columns,)."""
        return np.arange(self.first, self.stop, self.width, dtype=np.int64)

    @property
    def batches(self) -> NDArray[np.int64]:
        """Number of batches in each column, shape (n_columns,)."""
        return np.diff(np.append(self.starts, self.stop))

    def over(self, factor: int) -> Columns:
        """Return the same columns counted in groups of `factor` batches."""
        return Columns(self.first // factor, self.stop // factor, self.width // factor)

    def slabs(self) -> Iterator[tuple[slice, slice, NDArray[np.intp]]]:
        """Yield (batches, columns, first batch of each column within the slab)."""
        step = max(SLAB, self.width)
        for first in range(self.first, self.stop, step):
            stop = min(first + step, self.stop)
            at = (first - self.first) // self.width
            offsets = np.arange(0, stop - first, self.width, dtype=np.intp)
            yield slice(first, stop), slice(at, at + len(offsets)), offsets


def choose_columns(
    n_batches: int, max_columns: int, batches: tuple[int, int] | None = None
) -> Columns:
    """Return the columns for `n_batches`, or for a part of them.

    Raises
    ------
    ChartError
        `max_columns` below 1, or `batches` that are not a rising pair of indices.
    """
    if max_columns < 1:
        raise ChartError(f"max_columns must be at least 1, got {max_columns!r}")
    first, stop = (0, n_batches) if batches is None else batches
    if not 0 <= first < stop and batches is not None:
        raise ChartError(
            f"batches must be (first, stop) with 0 <= first < stop, got {batches!r}; "
            f"this phase has {n_batches} batches"
        )
    stop = min(stop, n_batches)
    first = min(first, stop)
    width = 1
    while (stop - first) > width * max_columns:
        width *= 2
    return Columns(first, stop, width)


def at_level(
    run: xr.DataTree, phase: str, columns: Columns, layers: Iterable[int] = ()
) -> tuple[int, Columns]:
    """Return the level that gives the same columns for the least reading, and those.

    Parameters
    ----------
    run : DataTree
    phase : str
    columns : Columns
        Of the phase's batches.
    layers : iterable of int, optional
        Those shown. Where they were thinned, the columns are the finest level's at least.

    Returns
    -------
    factor : int
        Batches in a column of the level; 1 is the batches themselves.
    columns : Columns
        As they were, but that their ends lie between columns of the level.
    """
    levels = run.levels(phase) if isinstance(run, Run) else {}
    for factor, n in sorted(levels.items(), reverse=True):
        # A level has whole columns alone; one that is further behind is not taken.
        stop = min(columns.stop // factor, n) * factor
        fine = columns.width % factor == 0 and columns.stop - columns.first >= FINE * factor
        if fine and columns.stop - stop < factor:
            first = columns.first // factor * factor
            return factor, Columns(first, stop, columns.width)
    if levels and is_thinned(run.attrs, phase, layers, columns.first, columns.stop):
        factor = min(levels)
        first = columns.first // factor * factor
        stop = min(-(-columns.stop // factor), levels[factor]) * factor
        return factor, Columns(first, stop, max(columns.width, factor))
    return 1, columns


def sum_counts(count: xr.DataArray, columns: Columns) -> NDArray[np.uint64]:
    """Return the counts of layers summed by column.

    Parameters
    ----------
    count : DataArray, dims ([layer, ]bin, batch), unsigned
        May be lazy; read slab by slab.
    columns : Columns

    Returns
    -------
    ndarray, shape ([n_layers, ]n_bins, n_columns), uint64
    """
    return _sum(count.transpose(..., "bin", "batch"), columns)


def sum_counters(
    phase: xr.Dataset, names: Sequence[str], columns: Columns
) -> dict[str, NDArray[np.uint64]]:
    """Return (layer, batch) counters summed by column, each (n_layers, n_columns)."""
    return {name: _sum(phase[name].transpose("layer", "batch"), columns) for name in names}


def sum_moments(
    phase: xr.Dataset, counters: Mapping[str, NDArray[np.uint64]], columns: Columns
) -> dict[str, NDArray[np.float64]]:
    """Return mean, std, min and max of the finite elements by column.

    Parameters
    ----------
    phase : Dataset
        Holds the schema's (layer, batch) moments and counters.
    counters : mapping
        What `sum_counters` returned for ``elements, nan, posinf, neginf``.
    columns : Columns

    Returns
    -------
    dict of ndarray, each shape (n_layers, n_columns), float64
        NaN where a column has no finite element.

    References
    ----------
    Chan, Golub, LeVeque 1983: the spread of a union is the mean of the parts'
    variances plus the variance of their means, weighted by their sizes.
    """
    shape = (phase.sizes["layer"], len(columns))
    out = {name: np.full(shape, np.nan) for name in ("mean", "std", "min", "max")}
    total = counters["elements"] - counters["nan"] - counters["posinf"] - counters["neginf"]
    for batches, cols, offsets in columns.slabs():
        slab = phase.isel(batch=batches)
        value = {
            name: slab[name].transpose("layer", "batch").values.astype(np.float64)
            for name in ("elements", "nan", "posinf", "neginf", "mean", "std", "min", "max")
        }
        n = value["elements"] - value["nan"] - value["posinf"] - value["neginf"]
        used = n > 0
        size = total[:, cols].astype(np.float64)

        def average(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.add.reduceat(np.where(used, n * values, 0.0), offsets, axis=1)  # noqa: B023
            return np.divide(sums, size, out=np.full_like(sums, np.nan), where=size > 0)  # noqa: B023

        mean = average(value["mean"])
        lengths = np.diff(np.append(offsets, n.shape[1]))
        apart = value["mean"] - np.repeat(mean, lengths, axis=1)
        out["mean"][:, cols] = mean
        out["std"][:, cols] = np.sqrt(average(value["std"] ** 2 + apart**2))
        low = np.minimum.reduceat(np.where(used, value["min"], np.inf), offsets, axis=1)
        high = np.maximum.reduceat(np.where(used, value["max"], -np.inf), offsets, axis=1)
        out["min"][:, cols] = np.where(size > 0, low, np.nan)
        out["max"][:, cols] = np.where(size > 0, high, np.nan)
    return out


def _sum(values: xr.DataArray, columns: Columns) -> NDArray[np.uint64]:
    out = np.zeros((*values.shape[:-1], len(columns)), np.uint64)
    for batches, cols, offsets in columns.slabs():
        slab = values.isel(batch=batches).values
        out[..., cols] = (
            slab if columns.width == 1 else np.add.reduceat(slab, offsets, axis=-1, dtype=np.uint64)
        )
    return out
