"""One run summed over positions of a scale, so that runs stand beside each other.

A run's levels are read where they give the same sums for less reading. Imports
NumPy, xarray and dask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.comparison.positions import Positions
from actrace.analysis.kernels.stretches import merge_stretches, sum_stretches
from actrace.store.levels.rules import weight_of
from actrace.store.run import Run

__all__ = ["Columns", "choose_level", "positioned"]

#: Columns of a level that a position has at least, where some lie across its ends.
FINE: Final = 16
#: Batches read at once, a multiple of every chunk length of the schema; and bytes of
#: their counts, of as many layers as fit.
SLAB: Final = 16_384
SLAB_BYTES: Final = 32 * 2**20
_OUTSIDE: Final = ("underflow", "overflow")
_NOT_FINITE: Final = ("nan", "posinf", "neginf")
_MOMENTS: Final = ("mean", "std", "activation_rate", "death_rate")


@dataclass(frozen=True, slots=True)
class Columns:
    """What of a run is read, and where in time each column of it stands.

    Attributes
    ----------
    factor : int
        Batches in a column of the level that is read, 1 for the batches themselves.
        What comes after the level's last column is read batch by batch.
    n_columns : int
        Of the level.
    position : ndarray of int64
        Position of each column and then of each batch after them, never decreasing.
    moved : int
        Batches that are counted in a neighbour of their own position, because their
        column begins there.
    """

    factor: int
    n_columns: int
    position: NDArray[np.int64]
    moved: int = 0

    @property
    def parts(self) -> dict[int, slice]:
        """Position -> its columns, for the positions that have any."""
        values, starts = np.unique(self.position, return_index=True)
        stops = [*starts[1:].tolist(), len(self.position)]
        return {
            int(value): slice(int(start), stop)
            for value, start, stop in zip(values, starts, stops, strict=True)
        }


def choose_level(run: xr.DataTree, phase: str, position: NDArray[np.int64]) -> Columns:
    """Return the least that has to be read of a run.

    That is its coarsest level whose columns all lie within one position, or whose
    columns are `FINE` or more to each position; the batches themselves where none is.

    Parameters
    ----------
    run : DataTree
    phase : str
    position : ndarray of int64, shape (n_batches,)
        Of each batch, never decreasing.
    """
    levels = run.levels(phase) if isinstance(run, Run) else {}
    n = len(position)
    per_position = np.unique(position, return_counts=True)[1]
    for factor, there in sorted(levels.items(), reverse=True):
        columns = min(there, n // factor)
        if not columns or n - columns * factor >= factor:
            continue
        inside = position[: columns * factor].reshape(columns, factor)
        moved = int((inside != inside[:, :1]).sum())
        if moved == 0 or per_position[:-1].min(initial=n) >= FINE * factor:
            at = np.concatenate([inside[:, 0], position[columns * factor :]])
            return Columns(factor, columns, at, moved)
    return Columns(1, n, position)


def positioned(
    run: xr.DataTree,
    phase: str,
    layers: Sequence[str],
    positions: Positions,
    columns: Columns,
    joins: NDArray[np.int64] | None = None,
) -> xr.Dataset:
    """Return a run's layers summed over each position, read now, slab by slab.

    Parameters
    ----------
    run : DataTree
    phase : str
    layers : sequence of str
        Those that the run lacks are left at 0 elements.
    positions : Positions
    columns : Columns
        As `choose_level` returns them for these positions.
    joins : ndarray of int64, optional
        First cell of each common one, see `common_bins`.

    Returns
    -------
    Dataset
        Dims (layer, position): ``histogram`` (with ``cell``, uint64, under- and
        overflow first and last), ``mean``, ``std``, ``activation_rate`` and
        ``death_rate``, NaN where the run has no such elements; the last is the
        smallest of the batches', an upper bound. Dims (position): ``loss``, the mean
        weighted with samples, and ``batches``.
    """
    have = select.layer_names(run)
    known = set(have)
    to = np.array([i for i, name in enumerate(layers) if name in known], np.int64)
    at = np.array([have.index(layers[i]) for i in to], np.int64)
    pieces, parts, n = _pieces(run, phase, columns), columns.parts, len(positions)
    filled = np.fromiter(parts, np.int64, len(parts))
    starts = np.array([part.start for part in parts.values()], np.int64)
    cells = np.zeros((len(layers), n, pieces[0].sizes["bin"] + 2), np.uint64)
    moments = {name: np.full((len(layers), n), np.nan) for name in _MOMENTS}
    below, above, nan, posinf, neginf, weight, *values = _small(run, pieces, at)
    cells[to[:, None], filled, 0] = sum_stretches(below, starts=starts)
    cells[to[:, None], filled, -1] = sum_stretches(above, starts=starts)
    finite = weight - nan - posinf - neginf
    for name, merged in zip(
        _MOMENTS, merge_stretches(finite, weight, *values, starts=starts), strict=True
    ):
        moments[name][to[:, None], filled] = merged
    begin = 0
    for piece in pieces:
        _add_counts(cells, piece["count"], at, to, columns.position[begin:])
        begin += piece.sizes["batch"]
    if joins is not None:
        cells = np.add.reduceat(cells, joins, axis=-1)
    loss, batches = _of_batches(run, phase, positions, columns)
    return xr.Dataset(
        {
            "histogram": (("layer", "position", "cell"), cells),
            **{name: (("layer", "position"), array) for name, array in moments.items()},
            "loss": ("position", loss),
            "batches": ("position", batches),
        },
        coords={"layer": np.array(layers, dtype=str), "position": np.arange(n)},
    )


def _weight(run: xr.DataTree) -> str:
    """Return the name of the count of elements that the run's moments are of."""
    return weight_of({str(name): value for name, value in run.attrs.items()})


def _pieces(run: xr.DataTree, phase: str, columns: Columns) -> list[xr.Dataset]:
    """Return the level and the batches after it, or all batches, of what is needed."""
    names = ["count", *_OUTSIDE, *_NOT_FINITE, *_MOMENTS, _weight(run)]
    whole = run.children[phase].to_dataset(inherit=False)[list(dict.fromkeys(names))]
    if columns.factor == 1 or not isinstance(run, Run):
        return [whole]
    level = run.at_level(phase, columns.factor)[list(dict.fromkeys(names))]
    level = level.isel(batch=slice(0, columns.n_columns))
    rest = whole.isel(batch=slice(columns.n_columns * columns.factor, None))
    return [level, rest] if rest.sizes["batch"] else [level]


def _small(
    run: xr.DataTree, pieces: Sequence[xr.Dataset], at: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Return what is by layer and column, each (n_layers, n_columns), in one reading."""
    names = (*_OUTSIDE, *_NOT_FINITE, _weight(run), *_MOMENTS)
    arrays = [[piece[name].transpose("layer", "batch").data for name in names] for piece in pieces]
    # In the thread that asks: threads each read a run of their own.
    (read,) = compute(arrays, scheduler="synchronous")  # type: ignore[no-untyped-call]
    return [
        np.concatenate([np.asarray(values)[at].astype(np.float64) for values in column], axis=-1)
        for column in zip(*read, strict=True)
    ]


def _add_counts(
    cells: NDArray[np.uint64],
    count: xr.DataArray,
    at: NDArray[np.int64],
    to: NDArray[np.int64],
    position: NDArray[np.int64],
) -> None:
    """Add a piece's counts, dims (layer, bin, batch), to its cells, a slab at a time."""
    array = count.transpose("layer", "bin", "batch")
    n_batches = array.sizes["batch"]
    length = min(n_batches, SLAB)
    some = max(1, SLAB_BYTES // (array.dtype.itemsize * array.sizes["bin"] * length))
    for first in range(0, len(at), some):
        layers = slice(first, first + some)
        for begin in range(0, n_batches, length):
            stop = min(begin + length, n_batches)
            slab = array.isel(layer=_plain(at[layers]), batch=slice(begin, stop))
            values = slab.compute(scheduler="synchronous").to_numpy()
            here, starts = np.unique(position[begin:stop], return_index=True)
            sums = np.add.reduceat(values, starts, axis=-1, dtype=np.uint64)
            for layer, of_layer in zip(to[layers], sums, strict=True):
                cells[layer, here, 1:-1] += of_layer.T


def _plain(at: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return indices as a slice where they follow each other: a graph of dask is then small."""
    first, last = int(at[0]), int(at[-1])
    whole = np.array_equal(at, np.arange(first, last + 1))
    return slice(first, last + 1) if whole else at


def _of_batches(
    run: xr.DataTree, phase: str, positions: Positions, columns: Columns
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return loss and number of batches of each position."""
    node, n = run.children[phase].dataset, len(positions)
    factor, whole = columns.factor, columns.n_columns
    position = np.concatenate(
        [np.repeat(columns.position[:whole], factor), columns.position[whole:]]
    )
    samples = node["samples"].to_numpy().astype(np.float64)
    loss = node["loss"].to_numpy() if "loss" in node else np.full(len(samples), np.nan)
    known = ~np.isnan(loss)
    weight = np.bincount(position[known], samples[known], n)
    total = np.bincount(position[known], loss[known] * samples[known], n)
    mean = np.divide(total, weight, out=np.full(n, np.nan), where=weight > 0)
    return mean, np.bincount(position, minlength=n).astype(np.int64)
