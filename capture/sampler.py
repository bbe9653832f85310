"""How much of each batch is read, and how little where recording has to stay cheap.

Imports the kernels' sampling alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from actrace.capture.kernels.sampling import Sampling

__all__ = ["SAMPLES", "STRIDES", "Sampler"]

#: What can be asked for.
SAMPLES: Final = ("exact", "histogram", "all", "auto")
#: What ``"auto"`` chooses from: one block in so many is read. Odd, so that no layout
#: of channels beats with the choice.
STRIDES: Final = (1, 5, 17, 65, 257)
#: Batches between two decisions.
_EVERY: Final = 16
#: Batches before the first: caches and allocators warm up.
_WARM_UP: Final = 4
#: A finer stride is taken where it would stay below this part of the wanted share.
_SLACK: Final = 0.7


class Sampler:
    """What is read of the batches of one recording.

    Parameters
    ----------
    sampling : Sampling
        Of the kernel that reads them.
    mode : str
        ``"exact"``, ``"histogram"``, ``"all"`` or ``"auto"``: all, with a stride
        that keeps the cost under `share`.
    stride : int
        One block in `stride` is read; not for ``"exact"`` and ``"auto"``.
    share : float
        What recording may cost, as a share of the time of a step without it.

    Attributes
    ----------
    partial : bool
        Statistics besides the histogram are those of the elements read.
    """

    def __init__(self, sampling: Sampling, mode: str, stride: int, share: float) -> None:
        self.mode = mode
        self.partial = mode in ("all", "auto")
        self._sampling = sampling
        self._share = share
        self._level = 0
        self._since = 0.0
        self._before = 0.0
        self._batches = -_WARM_UP
        if mode in ("histogram", "all"):
            sampling.change(mode, stride)

    @property
    def exact(self) -> bool:
        """Whether everything is read, always."""
        return self.mode == "exact"

    @property
    def stride(self) -> int:
        """One block in so many is read now."""
        return self._sampling.stride

    def begin(self, cost: Callable[[], float]) -> None:
        """Choose what is read of the batch that begins.

        Parameters
        ----------
        cost : callable
            Returns the seconds that recording has cost the training so far; asked
            only now and then.
        """
        if self.mode == "exact":
            return
        if self.mode == "auto":
            self._decide(cost)
        if self._sampling.stride > 1:
            self._sampling.advance()

    def _decide(self, asked: Callable[[], float]) -> None:
        self._batches += 1
        if self._batches % _EVERY:
            return
        now, seconds = time.perf_counter(), asked()
        wall, cost = now - self._since, seconds - self._before
        self._since, self._before = now, seconds
        if self._batches <= 0 or wall <= cost:
            return  # nothing to go by yet
        share = cost / (wall - cost)
        level = self._level
        if share > self._share and level + 1 < len(STRIDES):
            level += 1
        elif level and share * STRIDES[level] / STRIDES[level - 1] < _SLACK * self._share:
            level -= 1
        if level != self._level:
            self._level = level
            self._sampling.change("all", STRIDES[level])

    def attributes(self) -> dict[str, Any]:
        """Return what the store is told."""
        if self.mode == "exact":
            return {"mode": "exact"}
        mode = "all" if self.partial else self.mode
        if self.mode == "auto":
            return {"mode": mode, "stride": "auto", "share": self._share}
        return {"mode": mode, "stride": self.stride}
