"""The values that capture hands to the store: layers, batches, windows.

Plain NumPy values without behaviour, the whole contract between the two parts,
with those of `actrace.store.gradients`. Imports NumPy, that and the schema alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.store.gradients import GradientRow
from actrace.store.schema import COUNTERS, MOMENTS

__all__ = ["BatchRow", "BatchRows", "LayerInfo", "OutputInfo", "WindowRow", "WindowRows"]


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One row of the layer dimension.

    Attributes
    ----------
    name, type : str
        Name in the model (``conv1``, ``lstm[0]``) and class of the module.
    shape : tuple of int
        Output shape without the batch dimension, empty if never called.
    order : int
        Place in the first forward, -1 if the layer was not called there.
    units : int
        Channels or neurons, 0 if unknown.
    """

    name: str
    type: str
    shape: tuple[int, ...] = ()
    order: int = -1
    units: int = 0


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """What the labelled group of a run is about.

    Attributes
    ----------
    layer : str
        Name of the output layer's row.
    task : str
        One of `schema.TASKS`.
    classes : tuple of str
        Names of the true classes, empty for regression.
    units : tuple of str
        Names of the output units.
    threshold : float
        Output above which a binary or multi-label unit says yes; NaN otherwise.
    """

    layer: str
    task: str
    classes: tuple[str, ...]
    units: tuple[str, ...]
    threshold: float = float("nan")

    @property
    def roles(self) -> tuple[str, str]:
        """Names along the role dimension."""
        return ("prediction", "target") if self.task == "regression" else ("yes", "no")


@dataclass(slots=True)
class BatchRow:
    """The statistics of every layer for one batch of one phase.

    Attributes
    ----------
    count : ndarray, shape (n_layers, n_bins), uint64
    counters : ndarray, shape (len(schema.COUNTERS), n_layers), uint64
    moments : ndarray, shape (len(schema.MOMENTS), n_layers), float64
        NaN where a layer has no finite element, and for rates without units.
    phase : str
    step, epoch, samples : int
    time : float
        Seconds since 1970.
    loss : float
        NaN where none was seen.
    logged : dict of str to float
        What the user logged.
    gradient, output_gradient : GradientRow or None
        By parameter and by layer, where they are recorded.
    """

    count: NDArray[np.uint64]
    counters: NDArray[np.uint64]
    moments: NDArray[np.float64]
    phase: str = ""
    step: int = 0
    epoch: int = 0
    samples: int = 0
    time: float = float("nan")
    loss: float = float("nan")
    logged: dict[str, float] = field(default_factory=dict)
    gradient: GradientRow | None = None
    output_gradient: GradientRow | None = None

    @classmethod
    def empty(cls, n_layers: int, n_bins: int) -> BatchRow:
        """Return a row with 0 elements in every layer."""
        return cls(
            count=np.zeros((n_layers, n_bins), np.uint64),
            counters=np.zeros((len(COUNTERS), n_layers), np.uint64),
            moments=np.full((len(MOMENTS), n_layers), np.nan),
        )


@dataclass(slots=True)
class BatchRows:
    """The statistics of every layer for some batches of one phase, in their order.

    Attributes
    ----------
    phase : str
    count : ndarray, shape (n, n_layers, n_bins), integers
    counters : ndarray, shape (len(schema.COUNTERS), n, n_layers), integers
    moments : ndarray, shape (len(schema.MOMENTS), n, n_layers), float64
        As in `BatchRow`.
    step, epoch, samples : sequence of int, length n
    time, loss : sequence of float, length n
    logged : sequence of dict of str to float, length n
    gradient, output_gradient : sequence of GradientRow or None, length n; or empty
    sampled : ndarray, shape (n, n_layers), integers, or None
        Elements that were read for the histogram, in a run that is sampled.
    """

    phase: str
    count: NDArray[Any]
    counters: NDArray[Any]
    moments: NDArray[np.float64]
    step: Sequence[int]
    epoch: Sequence[int]
    samples: Sequence[int]
    time: Sequence[float]
    loss: Sequence[float]
    logged: Sequence[Mapping[str, float]]
    gradient: Sequence[GradientRow | None] = ()
    output_gradient: Sequence[GradientRow | None] = ()
    sampled: NDArray[Any] | None = None

    @classmethod
    def of(cls, row: BatchRow) -> BatchRows:
        """Return a single batch as batches; it shares the row's memory."""
        return cls(
            phase=row.phase,
            count=row.count[np.newaxis],
            counters=row.counters[:, np.newaxis],
            moments=row.moments[:, np.newaxis],
            step=[row.step],
            epoch=[row.epoch],
            samples=[row.samples],
            time=[row.time],
            loss=[row.loss],
            logged=[row.logged],
            gradient=[row.gradient],
            output_gradient=[row.output_gradient],
        )

    def __len__(self) -> int:
        return len(self.step)

    def only(self, at: int) -> BatchRows:
        """Return one of the batches as batches; it shares their memory."""
        one = slice(at, at + 1)
        return BatchRows(
            self.phase,
            self.count[one],
            self.counters[:, one],
            self.moments[:, one],
            self.step[one],
            self.epoch[one],
            self.samples[one],
            self.time[one],
            self.loss[one],
            self.logged[one],
            self.gradient[one],
            self.output_gradient[one],
            None if self.sampled is None else self.sampled[one],
        )


@dataclass(slots=True)
class WindowRow:
    """Sums over `batches` batches of a phase that follow each other.

    A window is handed over after its batches, so its first batch is the phase's
    length less `later` and `batches`.

    Attributes
    ----------
    phase : str
    group : str
        ``"output"`` or ``"unit"``.
    batches, epoch : int
    values : dict of str to ndarray
        One array for each (…, window) variable of the group, the window
        dimension left out.
    later : int
        Batches of the phase that were handed over since the window's last.
    """

    phase: str
    group: str
    batches: int
    epoch: int
    values: dict[str, NDArray[Any]]
    later: int = 0


@dataclass(slots=True)
class WindowRows:
    """Some windows of one group of a phase, in their order.

    Attributes
    ----------
    phase, group : str
    batches, epoch, later : sequence of int, length n
    values : dict of str to ndarray, shape (n, ...)
        As in `WindowRow`.
    """

    phase: str
    group: str
    batches: Sequence[int]
    epoch: Sequence[int]
    values: dict[str, NDArray[Any]]
    later: Sequence[int]

    @classmethod
    def of(cls, rows: Sequence[WindowRow]) -> WindowRows:
        """Return single windows of one group together."""
        return cls(
            rows[0].phase,
            rows[0].group,
            [row.batches for row in rows],
            [row.epoch for row in rows],
            {name: np.stack([row.values[name] for row in rows]) for name in rows[0].values},
            [row.later for row in rows],
        )

    def __len__(self) -> int:
        return len(self.batches)

    def but(self, first: int) -> WindowRows:
        """Return the windows without the first few; they share their memory."""
        return WindowRows(
            self.phase,
            self.group,
            self.batches[first:],
            self.epoch[first:],
            {name: value[first:] for name, value in self.values.items()},
            self.later[first:],
        )
