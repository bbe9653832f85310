"""The statistics of a device tensor in plain torch operations, none of which waits.

For tensors that the compiled kernel does not take, and for machines where it
cannot be compiled. Everything is float64, so it is right and not fast. No
operation here needs a number from the device: there is no ``item``, no
``nonzero``, no boolean index. Runs on CPU tensors too. May import torch and
NumPy.
"""

from __future__ import annotations

import numpy as np
import torch

from actrace.capture.cuda.layout import (
    HIGHEST,
    LOWEST,
    NORMS,
    SAMPLE_COUNT,
    SHIFT,
    SQUARES,
    TOTAL,
    TRASH,
)
from actrace.capture.cuda.reading import Choice, DeviceReading
from actrace.capture.kernels.slots import (
    CALLS,
    ELEMENTS,
    N_TALLIES,
    NAN,
    NEGINF,
    OVERFLOW,
    POSINF,
    SAMPLED,
    UNDERFLOW,
    ZERO,
    Shape,
)
from actrace.store.axis import Axis

__all__ = ["PlainPass"]

#: Elements read at once, so that the float64 copies stay small.
_PIECE = 1 << 22
_LARGEST = float(np.finfo(np.float32).max)
_GUESSES = 64


class PlainPass:
    """Adds tensors to rows of device memory, bound to an axis, a threshold and a device.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    device : torch.device
    reading : DeviceReading, optional
        What is read. Default: everything, always.
    """

    def __init__(
        self,
        axis: Axis,
        threshold: float,
        device: torch.device,
        reading: DeviceReading | None = None,
    ) -> None:
        n = axis.n_bins
        with torch.inference_mode(False):
            self._edges = torch.from_numpy(axis.edges.copy()).to(device)
            places = [n + UNDERFLOW, *range(n), n + OVERFLOW, n + N_TALLIES + TRASH]
            self._places = torch.tensor(places, device=device)
            counters = [ELEMENTS, ZERO, NAN, POSINF, NEGINF, SAMPLED]
            self._counters = torch.tensor([n + at for at in counters], device=device)
            self._one = torch.ones(1, dtype=torch.int64, device=device)
        self._last = float(axis.edges[-1])
        self._n_bins = n
        self._reading = reading
        self._threshold = threshold

    def add(
        self,
        tensor: torch.Tensor,
        shape: Shape,
        words: torch.Tensor,
        slot: torch.Tensor,
        layer_at: int,
        active_at: int,
    ) -> None:
        """Add a flat tensor in memory order to the row that `slot` names.

        Parameters
        ----------
        tensor : Tensor, of any countable dtype
        shape : tuple of int
            (samples, outer, units, inner).
        words : Tensor, shape (n_rows, n_words), int64
        slot : Tensor, shape (1,), int64
            On the device: number of the row.
        layer_at, active_at : int
            Where the layer and its activity begin in a row; -1 for no activity.
        """
        samples, outer, units, inner = shape
        size = outer * units * inner
        start = slot * words.shape[1]
        flat = words.view(-1)
        if tensor.numel():
            at_once = max(1, _PIECE // size)
            for first in range(0, samples, at_once):
                stop = min(first + at_once, samples)
                piece = tensor[first * size : stop * size].to(torch.float64)
                part = (stop - first, outer, units, inner)
                choice = None
                if self._reading is not None:
                    places = torch.arange(first * size, stop * size, device=flat.device)
                    choice = self._reading.choose(places, tensor.numel(), size)
                self._add(
                    piece, part, choice, flat, start + layer_at, start + active_at, active_at >= 0
                )
        flat.index_add_(0, start + layer_at + self._n_bins + CALLS, self._one)

    def _add(
        self,
        values: torch.Tensor,
        shape: Shape,
        choice: Choice | None,
        flat: torch.Tensor,
        layer: torch.Tensor,
        active: torch.Tensor,
        with_units: bool,
    ) -> None:
        n_bins, n, samples = self._n_bins, values.numel(), shape[0]
        extra = layer + n_bins + N_TALLIES
        floats = flat.view(torch.float64)
        shift = self._shift(values, flat, extra)
        read = None if choice is None else choice.read
        if read is not None:
            # NaN marks what is not read; those that are one are counted before.
            nans = (torch.isnan(values) & read).sum()
            values = torch.where(read, values, np.nan)
        else:
            nans = torch.isnan(values).sum()
        finite = torch.isfinite(values)
        bins = torch.bucketize(values, self._edges, right=True)
        bins = torch.where(values == self._last, n_bins, bins)
        binned = finite if choice is None else finite & choice.binned
        bins = torch.where(binned, bins, n_bins + 2)
        flat.index_add_(0, layer + self._places[bins], self._one.expand(n))
        counted = [
            (values == 0).sum(),
            nans,
            (values == np.inf).sum(),
            (values == -np.inf).sum(),
        ]
        whole = self._one[0] * n
        sampled = whole if choice is None else choice.binned.sum()
        flat.index_add_(0, layer + self._counters, torch.stack([whole, *counted, sampled]))

        apart = torch.where(finite, values - shift, 0.0)
        floats.index_add_(0, extra + TOTAL, apart.sum().view(1))
        floats.index_add_(0, extra + SQUARES, apart.square().sum().view(1))
        low = _keys(torch.where(finite, values, np.inf).min().view(1))
        high = _keys(torch.where(finite, values, -np.inf).max().view(1))
        flat.scatter_reduce_(0, extra + LOWEST, low, "amin")
        flat.scatter_reduce_(0, extra + HIGHEST, high, "amax")
        tame = torch.where(finite, values, 0.0).view(samples, -1)
        squares, seen = tame.square().sum(dim=1), self._one * samples
        if read is not None:
            # A sample's norm as if what was not read of it were like what was.
            of = read.view(samples, -1).sum(dim=1)
            squares = squares * ((n // samples) / of.clamp(min=1))
            seen = (of > 0).sum().view(1)
        floats.index_add_(0, extra + NORMS, squares.sqrt().sum().view(1))
        flat.index_add_(0, extra + SAMPLE_COUNT, seen)
        if with_units:
            hits = (values.abs() > self._threshold).view(shape).sum(dim=(0, 1, 3))
            flat.index_add_(0, active + torch.arange(shape[2], device=flat.device), hits)

    def _shift(self, values: torch.Tensor, flat: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        """Return what sums are taken about: as settled before, or a mean of a few elements."""
        step = max(1, values.numel() // _GUESSES)
        few = values[::step][:_GUESSES]
        finite = torch.isfinite(few)
        guess = (
            (torch.where(finite, few, 0.0) / finite.sum().clamp(min=1))
            .sum()
            .clamp(-_LARGEST, _LARGEST)
            .to(torch.float32)
            .view(1)
        )
        bits = guess.view(torch.int32).to(torch.int64) & 0xFFFF_FFFF
        before = flat.index_select(0, extra + SHIFT)
        word = torch.where(before == 0, bits | (1 << 32), before)
        flat.index_copy_(0, extra + SHIFT, word)
        low = word & 0xFFFF_FFFF
        signed = torch.where(low >= 1 << 31, low - (1 << 32), low).to(torch.int32)
        return signed.view(torch.float32).to(torch.float64)


def _keys(values: torch.Tensor) -> torch.Tensor:
    """Return `layout.key_of` of a float64 tensor."""
    bits = values.view(torch.int64)
    return bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)
