"""The slow, plain kernel that defines what every other one must count.

NumPy on float64 throughout, nothing clever. Imports NumPy, and torch for the
tensor it is given.
"""

from __future__ import annotations

import numpy as np
import torch

from actrace.capture.kernels.plain_plans import PlainPlan
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import (
    CALLS,
    ELEMENTS,
    NAN,
    NEGINF,
    NORM,
    OVERFLOW,
    POSINF,
    SAMPLED,
    SAMPLES,
    UNDERFLOW,
    ZERO,
    Shape,
    Slot,
    merge_moments,
)
from actrace.capture.kernels.widen import widened
from actrace.store.axis import Axis

__all__ = ["ReferenceKernel"]


class ReferenceKernel:
    """The NumPy kernel, bound to an axis and a threshold.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    """

    name = "reference"

    def __init__(self, axis: Axis, threshold: float) -> None:
        self._edges = axis.edges
        self._threshold = threshold
        self.sampling = Sampling()

    def add(self, tensor: torch.Tensor, shape: Shape, slot: Slot) -> None:
        """Add a flat CPU tensor in memory order, of any countable dtype, to `slot`."""
        samples, _, units, _ = shape
        values = tensor.to(widened(tensor.dtype)).to(torch.float64).numpy()
        edges, n_bins = self._edges, len(self._edges) - 1
        finite = values[np.isfinite(values)]
        place = np.searchsorted(edges, finite, side="right")
        place[finite == edges[-1]] = n_bins
        counts = np.bincount(place, minlength=n_bins + 2)
        slot.count += counts[1 : n_bins + 1]
        slot.tally[UNDERFLOW] += counts[0]
        slot.tally[OVERFLOW] += counts[n_bins + 1]
        slot.tally[NAN] += np.isnan(values).sum()
        slot.tally[POSINF] += (values == np.inf).sum()
        slot.tally[NEGINF] += (values == -np.inf).sum()
        slot.tally[ZERO] += (values == 0).sum()
        slot.tally[ELEMENTS] += values.size
        slot.tally[SAMPLED] += values.size
        slot.tally[CALLS] += 1
        if values.size == 0:
            return
        if finite.size:
            with np.errstate(over="ignore"):
                mean = float(finite.mean())
                m2 = float(((finite - mean) ** 2).sum())
            merge_moments(
                slot.sums, finite.size, mean, m2, float(finite.min()), float(finite.max())
            )
        tame = np.where(np.isfinite(values), values, 0.0).reshape(samples, -1)
        with np.errstate(over="ignore"):
            slot.sums[NORM] += float(np.sqrt((tame**2).sum(axis=1)).sum())
        slot.sums[SAMPLES] += samples
        active = np.abs(values) > self._threshold
        slot.active[:units] += active.reshape(shape).sum(axis=(0, 1, 3))

    def bind(
        self, dtype: torch.dtype, shape: Shape, slot: Slot, sampling: Sampling | None = None
    ) -> PlainPlan:
        """Return how tensors of one dtype and shape are added to one slot."""
        return PlainPlan(self.add, dtype, shape, slot, self._threshold, sampling or self.sampling)

    def warm_up(self, *dtypes: torch.dtype) -> None:
        """Nothing to compile."""
