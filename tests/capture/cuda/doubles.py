"""A device that is the CPU, with copies that end when a test says so, and tensors "on" it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import actrace
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.reading import DeviceReading
from actrace.capture.recorder import Recorder

GPU = torch.device("cuda", 0)


class OnGpu(torch.Tensor):
    """A CPU tensor that says it lies on a GPU, and so does what is computed from it."""

    is_cpu = False
    is_cuda = True
    device = GPU


def on_gpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(OnGpu)


class HandEvent:
    """A copy that is done when it is waited for, asked for often enough, or the device is told."""

    def __init__(self, device: HandDevice, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._device, self._pairs = device, pairs
        self._asked = 0
        self.done = False

    def finish(self) -> None:
        if not self.done:
            self.done = True
            for target, source in self._pairs:
                target.copy_(source)

    def query(self) -> bool:
        self._device.check()
        self._asked += 1
        if self._device.lag is not None and self._asked > self._device.lag:
            self.finish()
        return self.done

    def synchronize(self) -> None:
        self._device.check()
        self._device.waits += 1
        self.finish()


class HandDevice:
    """CPU memory; counts copies and waits.

    Parameters
    ----------
    lag : int or None
        A copy has ended once it was asked for more often than this; None: by hand alone.
    """

    def __init__(self, lag: int | None = None) -> None:
        self.device = torch.device("cpu")
        self.events: list[HandEvent] = []
        self.waits = 0
        self.captures = False
        self.lag = lag
        self.broken: Exception | None = None
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    def host(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.full(shape, -7, dtype=torch.int64)

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> HandEvent:
        self.check()
        event = HandEvent(self, [*self._copies, (target, source.clone())])
        self._copies = []
        # In the order of the device: what comes later includes what came before.
        if self.lag is None:
            self.events.append(event)
        return event

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        self.check()
        tensor = tensor.as_subclass(torch.Tensor)
        with torch.inference_mode(False):  # what is written late is no tensor of that mode
            late = torch.empty_like(tensor).fill_(113)
        self._copies.append((late, tensor.clone()))
        return late

    def capturing(self) -> bool:
        return self.captures

    def finish(self) -> None:
        for event in self.events:
            event.finish()

    def check(self) -> None:
        assert not self.captures, "asked while a CUDA graph is captured"
        if self.broken is not None:
            raise self.broken


def record_on(
    device: HandDevice, model: nn.Module, path: Path, *, n_rows: int | None = None, **more: Any
) -> Recorder:
    """Return a recorder of the tensors on `GPU`, which are counted by `device`."""

    def on(
        cls: type[DeviceCapture[Any]],
        place: torch.device,
        axis: Any,
        threshold: float,
        warn: Any,
        sampling: Any = None,
        *,
        partial: bool = False,
    ) -> DeviceCapture[Any]:
        reading = None if sampling is None else DeviceReading(sampling, partial, device.device)
        capture = cls(axis, threshold, device, warn, n_rows=n_rows, reading=reading)
        capture.device = place
        return capture

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(DeviceCapture, "on", classmethod(on))
        return actrace.record(model, path, cuda=True, **more)
