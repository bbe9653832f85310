"""A phase's statistics column by column, short enough to be held in memory. May import xarray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.kernels.fold import fold, weighted_mean

__all__ = ["Columns", "read_columns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows times columns that are held at most: 8 MB a variable.
_CELLS: Final = 1_000_000
_FEWEST: Final = 1024
#: Batches read at once where a run is longer than that.
_BLOCK: Final = 1 << 15
_MOMENTS: Final = ("mean", "std", "min", "max", "norm", "activation_rate", "death_rate")
_ODD: Final = ("nan", "posinf", "neginf")
_TIMES: Final = (
    "first_batch",
    "batches",
    "step",
    "last_step",
    "epoch",
    "last_epoch",
    "samples",
    "loss",
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Statistics of rows (layers, or parameters) in columns of one or more batches.

    Attributes
    ----------
    first_batch, batches : ndarray of int64, shape (n,)
        Which batches of the phase each column holds.
    step, last_step, epoch, last_epoch : ndarray of int64, shape (n,)
        Of its first and last batch.
    samples, loss : ndarray of float64, shape (n,)
        Sum, and mean weighted with samples, NaN where no loss was seen.
    values : dict of str to ndarray, shape (n_rows, n), float64
        ``elements``, ``finite``, ``nonfinite``, ``zero``; ``outside`` of the bins,
        among those ``read`` for the histogram; ``mean``, ``std``, ``min``, ``max``,
        ``norm``, ``activation_rate``, ``death_rate``.
    """

    first_batch: Ints
    batches: Ints
    step: Ints
    last_step: Ints
    epoch: Ints
    last_epoch: Ints
    samples: Floats
    loss: Floats
    values: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.first_batch)

    def __getitem__(self, name: str) -> Floats:
        return self.values[name]

    @property
    def largest(self) -> Floats:
        """Largest size of an element, shape (n_rows, n), NaN where there is none."""
        return np.fmax(np.abs(self.values["min"]), np.abs(self.values["max"]))

    def steps(self, first: int = 0, last: int = -1) -> tuple[int, int]:
        """Return the first and last step of a stretch of columns."""
        return int(self.step[first]), int(self.last_step[last])

    def span(self, first: int = 0, last: int = -1) -> tuple[int, int]:
        """Return the first and last epoch of a stretch of columns."""
        return int(self.epoch[first]), int(self.last_epoch[last])

    def where(self, chosen: slice) -> Columns:
        """Return some of the columns."""
        values = {name: array[:, chosen] for name, array in self.values.items()}
        times = {name: getattr(self, name)[chosen] for name in _TIMES}
        return Columns(**times, values=values)

    def folded(self, starts: Ints) -> Columns:
        """Return stretches of columns, each as one."""
        if not len(self):
            return self
        stops = np.append(starts[1:], len(self)) - 1
        return Columns(
            first_batch=self.first_batch[starts],
            batches=np.add.reduceat(self.batches, starts),
            step=self.step[starts],
            last_step=self.last_step[stops],
            epoch=self.epoch[starts],
            last_epoch=self.last_epoch[stops],
            samples=np.add.reduceat(self.samples, starts),
            loss=weighted_mean(self.loss, np.maximum(self.samples, 1.0), starts),
            values=fold(self.values, starts),
        )

    def by_epoch(self) -> Columns:
        """Return a column for each stretch of one epoch."""
        return self.folded(np.flatnonzero(np.diff(self.epoch, prepend=self.epoch[:1] - 1)))

    def by_time(self, fewest: int = 4) -> Columns:
        """Return a column for each epoch, or `fewest` even ones where there are fewer epochs."""
        whole = self.by_epoch()
        if len(whole) >= fewest:
            return whole
        return self.folded(np.unique(np.arange(fewest) * len(self) // fewest))


def read_columns(node: xr.Dataset, about: xr.Dataset, dim: str) -> Columns:
    """Return a group's statistics, several batches a column where it is long.

    Parameters
    ----------
    node : Dataset, dims (`dim`, batch)
        A phase, or its gradients.
    about : Dataset, dims (batch)
        The phase: ``step``, ``epoch``, ``samples``, ``loss``.
    dim : {"layer", "parameter"}
    """
    n, rows = node.sizes.get("batch", 0), max(node.sizes.get(dim, 1), 1)
    most = max(_CELLS // rows, _FEWEST)
    width = -(-n // most) or 1
    step = about["step"].to_numpy().astype(np.int64)
    epoch = about["epoch"].to_numpy().astype(np.int64)
    starts = np.arange(0, n, width, dtype=np.int64)
    stops = np.append(starts[1:], n) - 1
    samples = about["samples"].to_numpy().astype(np.float64)
    loss = about["loss"].to_numpy().astype(np.float64)
    block = max(_BLOCK // width, 1) * width
    parts = [_read(node, slice(at, at + block), width) for at in range(0, n, block)]
    names = parts[0] if parts else ()
    values = {name: np.concatenate([part[name] for part in parts], axis=1) for name in names}
    if not n:
        nothing: dict[str, Any] = dict.fromkeys(_TIMES, np.zeros(0, np.int64))
        return Columns(**nothing, values={})
    return Columns(
        first_batch=starts,
        batches=np.diff(np.append(starts, n)),
        step=step[starts],
        last_step=step[stops],
        epoch=epoch[starts],
        last_epoch=epoch[stops],
        samples=np.add.reduceat(samples, starts),
        loss=weighted_mean(loss, np.maximum(samples, 1.0), starts),
        values=values,
    )


def _read(node: xr.Dataset, batches: slice, width: int) -> dict[str, Floats]:
    some = node.isel(batch=batches)

    def load(name: str) -> Floats:
        array: Any = some[name].transpose(..., "batch").to_numpy()
        return np.asarray(array, dtype=np.float64)

    found = {name: load(name) for name in _MOMENTS if name in some}
    elements = load("elements")
    found["elements"] = elements
    found["read"] = load("sampled") if "sampled" in some else elements
    found["nonfinite"] = sum((load(name) for name in _ODD), np.zeros_like(elements))
    found["finite"] = elements - found["nonfinite"]
    found["outside"] = load("underflow") + load("overflow")
    found["zero"] = load("zero")
    if width == 1:
        return found
    return fold(found, np.arange(0, elements.shape[1], width, dtype=np.int64))
