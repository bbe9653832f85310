"""The kernel in plain PyTorch, for machines without Numba.

Works piece by piece, so that its temporaries stay small whatever the tensor.
May import torch and NumPy.
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
from actrace.store.axis import Axis

__all__ = ["TorchKernel"]

_PIECE = 1 << 18


class TorchKernel:
    """The PyTorch kernel, bound to an axis and a threshold.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    """

    name = "torch"

    def __init__(self, axis: Axis, threshold: float) -> None:
        self._edges = torch.from_numpy(axis.edges.copy())
        self._last = float(axis.edges[-1])
        self._n_bins = axis.n_bins
        self._threshold = threshold
        self.sampling = Sampling()

    def add(self, tensor: torch.Tensor, shape: Shape, slot: Slot) -> None:
        """Add a flat CPU tensor in memory order, of any countable dtype, to `slot`."""
        samples, outer, units, inner = shape
        slot.tally[CALLS] += 1
        if tensor.numel() == 0:
            return
        size = outer * units * inner
        at_once = max(1, _PIECE // size)
        for start in range(0, samples, at_once):
            stop = min(start + at_once, samples)
            piece = tensor[start * size : stop * size].to(torch.float64)
            self._add(piece, (stop - start, outer, units, inner), slot)

    def bind(
        self, dtype: torch.dtype, shape: Shape, slot: Slot, sampling: Sampling | None = None
    ) -> PlainPlan:
        """Return how tensors of one dtype and shape are added to one slot."""
        return PlainPlan(self.add, dtype, shape, slot, self._threshold, sampling or self.sampling)

    def warm_up(self, *dtypes: torch.dtype) -> None:
        """Nothing to compile."""

    def _add(self, values: torch.Tensor, shape: Shape, slot: Slot) -> None:
        samples, _, units, _ = shape
        n_bins = self._n_bins
        is_finite = torch.isfinite(values)
        finite = values[is_finite]
        place = torch.bucketize(finite, self._edges, right=True)
        place[finite == self._last] = n_bins
        counts = torch.bincount(place, minlength=n_bins + 2).numpy()
        slot.count += counts[1 : n_bins + 1]
        tally = slot.tally
        tally[UNDERFLOW] += counts[0]
        tally[OVERFLOW] += counts[n_bins + 1]
        tally[ELEMENTS] += values.numel()
        tally[SAMPLED] += values.numel()
        tally[ZERO] += int((values == 0).sum())
        if finite.numel() < values.numel():
            tally[NAN] += int(torch.isnan(values).sum())
            tally[POSINF] += int((values == np.inf).sum())
            tally[NEGINF] += int((values == -np.inf).sum())
        if finite.numel():
            mean = finite.mean()
            merge_moments(
                slot.sums,
                finite.numel(),
                float(mean),
                float((finite - mean).square_().sum()),
                float(finite.min()),
                float(finite.max()),
            )
        active = values.abs() > self._threshold
        slot.active[:units] += active.view(shape).sum(dim=(0, 1, 3)).numpy()
        tame = values.where(is_finite, 0.0).view(samples, -1)
        slot.sums[NORM] += float(tame.square().sum(dim=1).sqrt().sum())
        slot.sums[SAMPLES] += samples
