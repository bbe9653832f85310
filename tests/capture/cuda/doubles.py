"""A device that is the CPU, with copies that end when a test says so."""

from __future__ import annotations

import torch


class HandEvent:
    """A copy that is done when it is waited for, or when the device is told."""

    def __init__(self, device: HandDevice, target: torch.Tensor, source: torch.Tensor) -> None:
        self._device, self._target = device, target
        self._source = source.clone()
        self.done = False

    def finish(self) -> None:
        if not self.done:
            self.done = True
            self._target.copy_(self._source)

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self._device.waits += 1
        self.finish()


class HandDevice:
    """CPU memory; counts copies and waits."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.events: list[HandEvent] = []
        self.waits = 0
        self.captures = False

    def host(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.full(shape, -7, dtype=torch.int64)

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> HandEvent:
        self.events.append(HandEvent(self, target, source))
        return self.events[-1]

    def capturing(self) -> bool:
        return self.captures

    def finish(self) -> None:
        for event in self.events:
            event.finish()
