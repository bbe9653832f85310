"""What is read of the tensors on a device: a copy, there, of what a `Sampling` says.

Launches read it where they run, so a CUDA graph, captured once, reads as the batch that
it is replayed in says. A batch's beginning writes what changed: the phase, and now and
then the stride. May import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from actrace.capture.kernels.sampling import MODES, Sampling, block_length

__all__ = ["LARGEST_STRIDE", "Choice", "DeviceReading"]

#: Products with it stay below 2^64 where the kernel divides by it (``over`` in its source).
LARGEST_STRIDE: Final = 2**31 - 1
#: 0x9E3779B97F4A7C15 as a signed word, as in `chosen_blocks`.
_GOLDEN: Final = 0x9E3779B97F4A7C15 - (1 << 64)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is read of some elements, one after another.

    Attributes
    ----------
    read, binned : Tensor, shape (n,), bool
        Whether an element is read at all, and whether for the histogram.
    """

    read: torch.Tensor
    binned: torch.Tensor


class DeviceReading:
    """What is read of a device's tensors.

    Parameters
    ----------
    sampling : Sampling
        Followed from batch to batch.
    partial : bool
        Not only the histogram is of a part, see `SlotTable.partial`.
    device : torch.device

    Attributes
    ----------
    words : Tensor, shape (4,), int64
        On the device: mode, stride, phase and whole, as in `Sampling.record`.
    """

    def __init__(self, sampling: Sampling, partial: bool, device: torch.device) -> None:
        self.partial = partial
        self._sampling = sampling
        with torch.inference_mode(False):
            self.words = torch.from_numpy(sampling.record.copy()).to(device)
        self._told = sampling.record.tolist()

    def follow(self) -> None:
        """Write what changed since the last batch; waits for nothing."""
        for at, number in enumerate(self._sampling.record.tolist()):
            if number != self._told[at]:
                # A number in the launch itself: host memory could change before it was copied.
                self.words[at].fill_(number)
                self._told[at] = number

    def choose(self, places: torch.Tensor, n: int, row: int) -> Choice:
        """Return what is read of a tensor now, told on the device; as `chosen_blocks`.

        Parameters
        ----------
        places : Tensor, int64
            Elements, by their place in memory order.
        n, row : int
            Elements of the tensor and of a sample.
        """
        mode, stride, phase, whole = self.words.unbind()
        part = mode == MODES["all"]
        block = places // torch.where(part, block_length(row), block_length(0))
        group = block // stride
        # Wraps around as unsigned words do; the mask makes the shift a logical one.
        mixed = ((group * _GOLDEN) >> 33) & 0x7FFF_FFFF
        chosen = block - group * stride == (mixed + phase) % stride
        binned = chosen | (mode == MODES["exact"]) | (n < whole)
        return Choice(binned | ~part, binned)
