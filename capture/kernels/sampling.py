"""Which part of a tensor is read: all of it, or every so-many-th block.

A `Sampling` is shared by the plans that were bound to it; what it says holds
from their next call on, so that one assignment a batch moves all of them. Imports
NumPy alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from actrace.errors import RecorderError

__all__ = [
    "CUT",
    "MODES",
    "Sampling",
    "block_length",
    "chosen_blocks",
    "chosen_elements",
    "chosen_of_group",
]

#: Elements that are read or left out together (a whole number of samples if these are shorter).
CUT: Final = 128
#: Name -> number of what is sampled.
MODES: Final = {"exact": 0, "histogram": 1, "all": 2}
#: Tensors with fewer elements are always read whole: they cost little, and a few
#: blocks of them would say little.
_WHOLE: Final = 4096


class Sampling:
    """What is read of the tensors of a batch.

    Blocks of 128 elements are taken in groups of `stride`, and one block of each
    group is read: all of them in turn as `phase` goes from 0 to ``stride - 1``, in
    an order that differs from group to group. So an element is read in exactly one
    of `stride` phases, and no layout of channels beats with the choice.

    Parameters
    ----------
    mode : str
        ``"exact"``: everything is read. ``"histogram"``: only the histogram is
        taken from the chosen blocks; moments, extremes, zeros, what is not finite
        and activity are exact. ``"all"``: only the chosen blocks are read, so every
        statistic is that of the elements read. Their number is added to the tally's
        `SAMPLED`; nothing is scaled, except that a sample's norm is taken as if
        what was not read of it were like what was.
    stride : int
        One block in `stride` is read; 1 reads all.
    phase : int
        Which one.
    whole : int
        Tensors with fewer elements are read whole.

    Raises
    ------
    RecorderError
        An unknown mode, a stride below 1, or a negative number.

    Examples
    --------
    >>> sampling = Sampling("histogram", 17)
    >>> sampling.advance()
    >>> sampling
    Sampling('histogram', stride=17, phase=1, whole=4096)
    """

    __slots__ = ("address", "record")

    def __init__(
        self, mode: str = "exact", stride: int = 1, phase: int = 0, *, whole: int = _WHOLE
    ) -> None:
        if mode not in MODES:
            raise RecorderError(
                f"there is no sampling {mode!r}; expected one of {', '.join(MODES)}"
            )
        if stride < 1 or phase < 0 or whole < 0:
            raise RecorderError(
                f"got stride {stride}, phase {phase}, whole {whole}; expected a stride of at "
                "least 1 and no negative number"
            )
        #: mode, stride, phase, whole: what the compiled kernels read.
        self.record = np.array([MODES[mode], stride, phase % stride, whole], np.int64)
        if stride == 1:
            self.record[0] = MODES["exact"]
        self.address: int = self.record.ctypes.data

    @property
    def mode(self) -> str:
        """What is sampled; a stride of 1 makes every mode exact."""
        return tuple(MODES)[int(self.record[0])]

    @property
    def stride(self) -> int:
        """Of how many blocks one is read."""
        return int(self.record[1])

    @property
    def phase(self) -> int:
        """Which block of each group is read."""
        return int(self.record[2])

    @property
    def whole(self) -> int:
        """Tensors with fewer elements are read whole."""
        return int(self.record[3])

    def change(self, mode: str, stride: int, phase: int = 0) -> None:
        """Read otherwise from now on; see the class for the parameters."""
        self.record[:] = Sampling(mode, stride, phase, whole=self.whole).record

    def advance(self) -> None:
        """Go to the next phase, as is due once a batch."""
        self.record[2] = (self.record[2] + 1) % self.record[1]

    def of(self, n: int) -> tuple[int, int, int]:
        """Return (mode, stride, phase) for a tensor of `n` elements."""
        mode, stride, phase, whole = self.record.tolist()
        return (0, 1, 0) if mode == 0 or n < whole else (mode, stride, phase)

    def __repr__(self) -> str:
        return (
            f"Sampling({self.mode!r}, stride={self.stride}, phase={self.phase}, whole={self.whole})"
        )


def block_length(row: int) -> int:
    """Return how many elements are read or left out together under ``"all"``.

    Examples
    --------
    >>> block_length(10), block_length(3 * 32 * 32)
    (120, 128)
    """
    return CUT // row * row if 0 < row <= CUT else CUT


def chosen_blocks(n_blocks: int, stride: int, phase: int) -> NDArray[np.int64]:
    """Return which blocks are read, one of each `stride`, in order.

    Examples
    --------
    >>> sorted(k for phase in range(3) for k in chosen_blocks(8, 3, phase).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    group = np.arange(-(-n_blocks // stride), dtype=np.uint64)
    # The golden ratio's multiples are spread evenly (Knuth, TAOCP 3, 6.4).
    mixed = (group * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)
    at = ((mixed + np.uint64(phase)) % np.uint64(stride)).astype(np.int64)
    blocks = group.astype(np.int64) * stride + at
    return blocks[blocks < n_blocks]


def chosen_of_group(group: int, stride: int) -> int:
    """Return which of the `stride` blocks of a group is read in phase 0.

    Examples
    --------
    >>> [17 * group + chosen_of_group(group, 17) for group in range(3)]
    [0, 21, 34]
    >>> chosen_blocks(51, 17, 0).tolist()
    [0, 21, 34]
    """
    return (group * 0x9E3779B97F4A7C15 % (1 << 64) >> 33) % stride


def chosen_elements(n: int, length: int, stride: int, phase: int) -> NDArray[np.int64]:
    """Return the flat places of the elements that are read, in order."""
    blocks = chosen_blocks(-(-n // length), stride, phase)
    places = (blocks[:, None] * length + np.arange(length)).ravel()
    return places[places < n]
