"""Windows of one phase against windows of the same: what differs without a reason.

The last quarter of an epoch against stretches before it, each with about as many
samples as the other phase has, so that chance and the training's own way within an
epoch are in it. Imports NumPy and xarray.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.reduce import parallel
from actrace.store.levels.ladder import FIRST

__all__ = [
    "LEAST",
    "EpochSplit",
    "check_quantile",
    "quantile_by_epoch",
    "quantiles_of",
    "split_epochs",
    "stretches",
    "tails",
    "windows_by_epoch",
]

#: Fewer stretches than this give no band.
LEAST: Final = 3
#: More are not read: those next to the last quarter tell the most.
_MOST: Final = 12
#: Stretches of this many batches and more begin and end between columns of the finest
#: level, so that it has them; rounding their length changes it by a sixteenth at most.
_LONG: Final = 8 * FIRST


@dataclass(frozen=True, slots=True)
class EpochSplit:
    """An epoch of a phase cut into its last quarter and stretches before it.

    Attributes
    ----------
    epoch : int
    tail : ndarray of int64
        Indices along the growing dimension: the last quarter, at least one.
    before : tuple of ndarray of int64
        As many indices each; from the last backwards, none overlapping.
    """

    epoch: int
    tail: NDArray[np.int64]
    before: tuple[NDArray[np.int64], ...]


def split_epochs(
    run: xr.DataTree,
    phase: str,
    other: str,
    group: str | None = None,
    *,
    window: select.Window = "epoch",
) -> list[EpochSplit]:
    """Return the splits of the epochs of a phase, or of its windows of steps.

    Parameters
    ----------
    run : DataTree
    phase, other : str
        A stretch of `phase` gets about as many samples as `other` has in the epoch (in
        its largest, where it lacks the epoch), or fewer if there would be less than
        `LEAST` of them. Stretches of 128 batches and more begin and end at multiples of
        16, whether or not the run has levels.
    group : str, optional
        The group whose windows are split; the phase's batches when left out.
    window : optional
        Windows of steps; by any name whole epochs are split.
    """
    cut: select.Window = "epoch" if isinstance(window, str) else window
    parts = _parts(run, phase, group, cut)
    sizes = _samples(run, phase, group)
    theirs = _samples(run, other, group)
    wanted = {epoch: int(theirs[at].sum()) for epoch, at in _parts(run, other, group, cut).items()}
    largest = max(wanted.values(), default=1)
    step = FIRST if group is None else 1
    return [
        _split(epoch, at, sizes[at], wanted.get(epoch, largest), step)
        for epoch, at in parts.items()
    ]


def stretches(splits: Sequence[EpochSplit]) -> dict[int, NDArray[np.int64]]:
    """Return the stretches of all epochs, those of an epoch in a row, by their number."""
    return dict(enumerate(at for split in splits for at in split.before))


def tails(splits: Sequence[EpochSplit]) -> dict[int, NDArray[np.int64]]:
    """Return the last quarter of each epoch, by the number of its split."""
    return dict(enumerate(split.tail for split in splits))


def quantile_by_epoch(
    values: xr.DataArray, splits: Sequence[EpochSplit], quantile: float
) -> xr.DataArray:
    """Return the quantile of the blocks of each epoch.

    Parameters
    ----------
    values : DataArray, dims (..., block), float64

    Returns
    -------
    DataArray, dims (..., epoch), float64, lazy; NaN of fewer than `LEAST` blocks
    """
    lengths = [len(split.before) for split in splits]
    banded: xr.DataArray = parallel(
        lambda block: quantiles_of(block, lengths, quantile),
        values.chunk({"block": -1}) if values.chunks is not None else values,
        core=[["block"]],
        out=[["epoch"]],
        sizes={"epoch": len(splits)},
    )
    return banded.assign_coords(epoch=[split.epoch for split in splits])


def quantiles_of(
    values: NDArray[np.float64], lengths: Sequence[int], quantile: float
) -> NDArray[np.float64]:
    """Return the quantile of each stretch of the last axis.

    Parameters
    ----------
    values : ndarray, shape (..., n), float64
    lengths : sequence of int
        Values in each stretch, n in all.
    quantile : float

    Returns
    -------
    ndarray, shape (..., len(lengths)), float64; NaN of fewer than `LEAST` values

    Examples
    --------
    >>> quantiles_of(np.array([1.0, 2.0, 3.0, 9.0]), [3, 1], 0.5)
    array([ 2., nan])
    """
    many = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(many) - many
    found = np.full((*values.shape[:-1], len(many)), np.nan)
    # Those of one length together: a call for each would take longer than all else.
    for length in np.unique(many[many >= LEAST]):
        at = np.flatnonzero(many == length)
        some = values[..., starts[at, None] + np.arange(length)]
        found[..., at] = np.quantile(some, quantile, axis=-1)
    return found


def windows_by_epoch(splits: Sequence[EpochSplit]) -> xr.DataArray:
    """Return how many stretches each epoch has, dims (epoch), lazy."""
    return xr.DataArray(
        [len(split.before) for split in splits],
        dims="epoch",
        coords={"epoch": [split.epoch for split in splits]},
    ).chunk()


def check_quantile(quantile: float) -> None:
    """Raise ValueError for what is no quantile."""
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must lie above 0 and not above 1, got {quantile!r}")


def _split(
    epoch: int, at: NDArray[np.int64], samples: NDArray[np.int64], wanted: int, step: int
) -> EpochSplit:
    """Return the split of an epoch; long stretches begin and end at multiples of `step`."""
    cut = 3 * len(at) // 4
    tail, rest = at[cut:], at[:cut]
    if not len(rest):
        return EpochSplit(epoch, tail, ())
    each = max(1.0, float(samples[:cut].mean()))
    length = int(np.clip(round(wanted / each), 1, max(1, len(rest) // LEAST)))
    last = len(rest)
    if length >= _LONG and rest[-1] - rest[0] + 1 == len(rest):
        last -= int(rest[-1] + 1) % step
        length = min(round(length / step), last // LEAST // step) * step
    stops = range(last, length - 1, -length)
    before: Iterable[NDArray[np.int64]] = (rest[stop - length : stop] for stop in stops)
    return EpochSplit(epoch, tail, tuple(before)[:_MOST])


def _parts(
    run: xr.DataTree, phase: str, group: str | None, window: select.Window
) -> Mapping[int, NDArray[np.int64]]:
    if group is None:
        return {p.epoch: p.batches for p in select.epoch_batches(run, phase, window=window)}
    return select.window_indices(run, phase, group, window=window)


def _samples(run: xr.DataTree, phase: str, group: str | None) -> NDArray[Any]:
    """Return the samples of each batch, or of each window of a group."""
    samples: NDArray[Any] = run.children[phase].dataset["samples"].to_numpy()
    if group is None:
        return samples
    node = run.children[phase].children[group].dataset
    so_far = np.concatenate([[0], np.cumsum(samples)])
    first = node["first_batch"].to_numpy()
    stops = np.minimum(first + node["batches"].to_numpy(), len(samples))
    return np.asarray(so_far[stops] - so_far[first])
