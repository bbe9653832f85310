"""Output and target of a forward in a CUDA graph, which every replay writes to anew.

The graph copies them to memory that is nobody else's, because a loop need not keep them
and a graph may put something else where they were. It also says in the batch's row which
forward it held, since a batch may hold no replay, or another graph's. May import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.captured import capture_copy, capture_mark

__all__ = ["GraphLabels"]


@dataclass(slots=True)
class _Forward:
    training: bool
    output: torch.Tensor
    target: torch.Tensor | None = None


class GraphLabels:
    """The forwards that were captured into CUDA graphs, each known by a number from 1.

    Parameters
    ----------
    device : DeviceCapture
    """

    def __init__(self, device: DeviceCapture[Any]) -> None:
        self._device = device
        self._forwards: list[_Forward] = []
        self._current: _Forward | None = None

    def begin(self) -> None:
        """Begin a forward that is captured."""
        self._current = None

    def saw_output(self, output: torch.Tensor, training: bool) -> None:
        """Let the graph keep the output of the forward that is captured."""
        copied = capture_copy(self._device, output)
        if copied is not None:
            self._current = _Forward(training, copied)
            self._forwards.append(self._current)
            capture_mark(self._device, len(self._forwards))

    def saw_target(self, target: torch.Tensor | None) -> None:
        """Let the graph keep the target that the criterion was captured with."""
        if self._current is not None and target is not None:
            self._current.target = capture_copy(self._device, target)

    def newest(self, training: bool) -> tuple[int, torch.Tensor | None, torch.Tensor | None]:
        """Return number, output and target of the newest forward in this mode, 0 for none."""
        for number in range(len(self._forwards), 0, -1):
            forward = self._forwards[number - 1]
            if forward.training == training:
                return number, forward.output, forward.target
        return 0, None, None
