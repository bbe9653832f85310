"""The kernel in plain PyTorch, for machines without Numba.

Works piece by piece, so that what it writes in between stays in the cache, into
buffers made once. May import torch and NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

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
from actrace.capture.kernels.tables import bin_table, narrow_threshold
from actrace.capture.kernels.widen import widened
from actrace.store.axis import Axis

__all__ = ["TorchKernel", "cuts"]

#: Elements read together: their buffers fit the second-level cache.
_PIECE: Final = 1 << 15
#: A piece whose squares sum to less may have lost some to float32 underflow.
_TINY: Final = 1e-28


def cuts(shape: Shape, most: int = _PIECE) -> Iterator[tuple[int, Shape, int]]:
    """Yield (start, shape, first unit) of the pieces a flat tensor is read in.

    A piece holds whole samples, where one fits into `most` elements; otherwise
    whole periods (units x inner) of one sample; otherwise whole runs of units;
    otherwise part of one unit's run.

    Examples
    --------
    >>> list(cuts((3, 1, 2, 4), 16))
    [(0, (2, 1, 2, 4), 0), (16, (1, 1, 2, 4), 0)]
    >>> list(cuts((1, 1, 3, 4), 8))
    [(0, (1, 1, 2, 4), 0), (8, (1, 1, 1, 4), 2)]
    """
    samples, outer, units, inner = shape
    row = outer * units * inner
    if row <= most:
        at_once = max(1, most // max(row, 1))
        for first in range(0, samples, at_once):
            yield first * row, (min(at_once, samples - first), outer, units, inner), 0
        return
    period = units * inner
    if period <= most:
        at_once = most // period
        for sample in range(samples):
            for first in range(0, outer, at_once):
                start = sample * row + first * period
                yield start, (1, min(at_once, outer - first), units, inner), 0
        return
    length = min(inner, most)
    runs = max(1, most // inner)
    for nth in range(samples * outer):
        for unit in range(0, units, runs):
            n_runs = min(runs, units - unit)
            for at in range(0, inner, length):
                start = nth * period + unit * inner + at
                yield start, (1, 1, n_runs, min(length, inner - at)), unit


class TorchKernel:
    """The PyTorch kernel, bound to an axis and a threshold.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.

    Attributes
    ----------
    sampling : Sampling
        What plans read that were bound without a sampling of their own; exact.
    """

    name = "torch"

    def __init__(self, axis: Axis, threshold: float) -> None:
        self._edges = torch.from_numpy(axis.edges.copy())
        self._last = float(axis.edges[-1])
        self._n_bins = axis.n_bins
        self._threshold = threshold
        self._threshold32 = float(narrow_threshold(threshold))
        table = bin_table(axis.edges)
        # Shifted cells must not reach the sign of an int32.
        self._fast = table.plain and 2 * axis.n_bins + 6 < 1 << 15
        self._packed = torch.from_numpy(table.packed.view(np.int32))
        self.sampling = Sampling()

    def add(self, tensor: torch.Tensor, shape: Shape, slot: Slot) -> None:
        """Add a flat CPU tensor in memory order, of any countable dtype, to `slot`."""
        slot.tally[CALLS] += 1
        n = tensor.numel()
        if n == 0:
            return
        slot.tally[ELEMENTS] += n
        slot.tally[SAMPLED] += n
        slot.sums[SAMPLES] += shape[0]
        row = n // shape[0]
        fast = self._fast and widened(tensor.dtype) is torch.float32
        buffers = _Buffers(min(n, _PIECE)) if fast else None
        raw = 0.0
        for start, part, unit in cuts(shape):
            stop = start + part[0] * part[1] * part[2] * part[3]
            piece = tensor[start:stop]
            squares = None
            if buffers is not None:
                if piece.dtype is not torch.float32:
                    piece = buffers.wide[: stop - start].copy_(piece)
                squares = self._add_fast(piece, part, unit, slot, buffers)
            if squares is None:
                squares = self._add_carefully(piece.to(torch.float64), part, unit, slot)
            if row > _PIECE:
                raw += float(squares[0])
                if stop % row == 0:
                    slot.sums[NORM] += raw**0.5
                    raw = 0.0
            else:
                slot.sums[NORM] += float(squares.sqrt().sum(dtype=torch.float64))

    def bind(
        self, dtype: torch.dtype, shape: Shape, slot: Slot, sampling: Sampling | None = None
    ) -> PlainPlan:
        """Return how tensors of one dtype and shape are added to one slot."""
        return PlainPlan(self.add, dtype, shape, slot, self._threshold, sampling or self.sampling)

    def warm_up(self, *dtypes: torch.dtype) -> None:
        """Nothing to compile."""

    def _add_fast(
        self, x: torch.Tensor, shape: Shape, unit: int, slot: Slot, buffers: _Buffers
    ) -> torch.Tensor | None:
        """Add float32; return the samples' squares, None if nothing could be added."""
        n = x.numel()
        spare = buffers.floats[:n]
        # The sum of squares of a sample; not a norm, which could overflow on its way.
        by_sample = torch.mul(x, x, out=spare).view(shape[0], -1).sum(dim=1)
        raw = float(by_sample.sum(dtype=torch.float64))
        low, high = (float(v) for v in torch.aminmax(x))
        if not (raw < np.inf and (raw >= _TINY or low == high == 0)):
            return None
        total = float(x.sum())
        mean, m2 = total / n, raw - total * total / n
        if m2 * 16 < raw:
            # Far from zero against its spread: once more, about the mean.
            shift = float(np.float32(mean))
            torch.sub(x, shift, out=spare)
            total, m2 = float(spare.sum()), float(torch.dot(spare, spare))
            if m2 < _TINY and low != high:
                return None
            mean, m2 = shift + total / n, max(m2 - total * total / n, 0.0)
        merge_moments(slot.sums, n, mean, m2, low, high)

        bits, index, cell = x.view(torch.int32), buffers.index[:n], buffers.cell[:n]
        torch.bitwise_right_shift(bits, 16, out=index).bitwise_and_(0xFFFF)
        torch.index_select(self._packed, 0, index, out=cell).add_(bits).bitwise_right_shift_(16)
        n_bins = self._n_bins
        h = torch.bincount(cell, minlength=2 * n_bins + 6).numpy()
        # Negative values are counted backwards in the second half (see `BinTable.packed`).
        both = h[: n_bins + 3] + h[2 * n_bins + 4 : n_bins + 1 : -1]
        # Cell n_bins + 2 is of what is not finite in both halves, and nothing here is.
        slot.count += both[1 : n_bins + 1]
        slot.tally[UNDERFLOW] += both[0]
        slot.tally[OVERFLOW] += both[n_bins + 1]

        # Comparisons in place stay float32, which is several times as fast as bool.
        slot.tally[ZERO] += int(spare.copy_(x).eq_(0).sum())
        hits = torch.abs(x, out=spare).gt_(self._threshold32).view(shape).sum(dim=(0, 1, 3))
        slot.active[unit : unit + shape[2]] += hits.numpy().astype(np.int64)
        return by_sample

    def _add_carefully(
        self, values: torch.Tensor, shape: Shape, unit: int, slot: Slot
    ) -> torch.Tensor:
        """Add any values in float64; return the samples' squares."""
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
        active = (values.abs() > self._threshold).view(shape).sum(dim=(0, 1, 3))
        slot.active[unit : unit + shape[2]] += active.numpy()
        tame = values.where(is_finite, 0.0).view(shape[0], -1)
        return tame.square().sum(dim=1)


class _Buffers:
    """What a call writes in between, for `n` elements."""

    def __init__(self, n: int) -> None:
        self.floats = torch.empty(n)
        self.wide = torch.empty(n)
        self.index = torch.empty(n, dtype=torch.int32)
        self.cell = torch.empty(n, dtype=torch.int32)
