"""Plans for the kernels that are not compiled: the same interface, in plain Python.

A tensor is found again at its address, and sampling picks its elements out before
the kernel sees them. May import NumPy and torch.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_char

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.kernels.sampling import Sampling, block_length, chosen_elements
from actrace.capture.kernels.slots import (
    CALLS,
    ELEMENTS,
    N_TALLIES,
    NORM,
    OVERFLOW,
    SAMPLED,
    SAMPLES,
    UNDERFLOW,
    Shape,
    Slot,
    merge_moments,
)

__all__ = ["PlainPlan"]


class PlainPlan:
    """How a tensor of one dtype and shape is added to one slot by a kernel's `add`.

    Parameters
    ----------
    add : callable of (Tensor, shape, Slot)
    dtype : torch.dtype
    shape : tuple of int
        (samples, outer, units, inner).
    slot : Slot
        With or without a row dimension.
    threshold : float
        An element is active above it.
    sampling : Sampling
    """

    address = 0

    def __init__(
        self,
        add: Callable[[torch.Tensor, Shape, Slot], None],
        dtype: torch.dtype,
        shape: Shape,
        slot: Slot,
        threshold: float,
        sampling: Sampling,
    ) -> None:
        self._add = add
        self._dtype = dtype
        self._shape = shape
        self._slot = slot
        self._threshold = threshold
        self._sampling = sampling
        self.n = int(np.prod(shape))

    def run(self, data: int, address: int, row: int) -> None:  # noqa: ARG002  # as compiled plans
        """Add the tensor at `data` to row `row` of the slot."""
        flat = torch.empty(0, dtype=self._dtype)
        if self.n:
            room = (c_char * (self.n * self._dtype.itemsize)).from_address(data)
            flat = torch.frombuffer(room, dtype=self._dtype)
        self.add(flat, self._row(row))

    def add(self, flat: torch.Tensor, slot: Slot) -> None:
        """Add a flat tensor to a slot without rows."""
        mode, stride, phase = self._sampling.of(self.n)
        if mode == 0 or not self.n:
            self._add(flat, self._shape, slot)
        elif mode == 1:
            self._histogram(flat, slot, chosen_elements(self.n, block_length(0), stride, phase))
        else:
            length = block_length(self.n // max(1, self._shape[0]))
            self._all(flat, slot, chosen_elements(self.n, length, stride, phase))

    def _row(self, row: int) -> Slot:
        slot = self._slot
        if slot.count.ndim == 1:
            return slot
        return Slot(slot.count[row], slot.tally[row], slot.sums[row], slot.active[row])

    def _histogram(self, flat: torch.Tensor, slot: Slot, places: NDArray[np.int64]) -> None:
        """Add everything, but the histogram of what was chosen."""
        n_bins = slot.count.size
        whole = Slot(
            np.zeros(n_bins, np.int64), np.zeros(N_TALLIES, np.int64), slot.sums, slot.active
        )
        self._add(flat, self._shape, whole)
        part = self._part(flat[torch.from_numpy(places)], slot.count.size)
        slot.count += part.count
        whole.tally[[UNDERFLOW, OVERFLOW, SAMPLED]] = part.tally[[UNDERFLOW, OVERFLOW, SAMPLED]]
        slot.tally += whole.tally

    def _all(self, flat: torch.Tensor, slot: Slot, places: NDArray[np.int64]) -> None:
        """Add what was chosen; a sample's norm as if the rest of it were like that."""
        samples, _, units, inner = self._shape
        row = self.n // samples
        unit_of, sample_of = places // inner % units, places // row
        picked = flat[torch.from_numpy(places)]
        part = self._part(picked, slot.count.size)
        slot.count += part.count
        part.tally[ELEMENTS], part.tally[CALLS] = self.n, 1
        slot.tally += part.tally
        merge_moments(slot.sums, *part.sums[:5].tolist())
        values = picked.to(torch.float64).numpy()
        active = np.abs(values) > self._threshold
        slot.active += np.bincount(unit_of[active], minlength=units).astype(np.int64)
        with np.errstate(over="ignore"):
            squares = np.where(np.isfinite(values), values, 0.0) ** 2
            raw = np.bincount(sample_of, squares, samples)
        seen = np.bincount(sample_of, minlength=samples)
        some = seen > 0
        slot.sums[NORM] += np.sqrt(raw[some] * (row / seen[some])).sum()
        slot.sums[SAMPLES] += np.count_nonzero(some)

    def _part(self, picked: torch.Tensor, n_bins: int) -> Slot:
        slot = Slot.empty(n_bins, 1)
        self._add(picked, (1, 1, 1, picked.numel()), slot)
        return slot
