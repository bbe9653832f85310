"""What is asked of a device: memory, copies to the host, and whether they have ended.

A few calls, so that the ring's logic is the same code on a GPU and in the tests.
May import torch.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

__all__ = ["CudaDevice", "Device", "Event"]


class Event(Protocol):
    """A copy that is under way."""

    def query(self) -> bool:
        """Return whether it has ended, without waiting."""

    def synchronize(self) -> None:
        """Wait until it has ended."""


class Device(Protocol):
    """Where activations are counted."""

    device: torch.device

    def host(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return int64 memory of the host that the device can write to by itself."""

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> Event:
        """Begin to copy `source` into `target`, after what the device has been told so far."""

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Begin to copy a tensor; return the copy, whole once a later `fetch` has ended."""

    def capturing(self) -> bool:
        """Return whether what is told now goes into a CUDA graph instead of being done."""


class CudaDevice:
    """A GPU: copies go over a stream of their own.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        stream: Any = torch.cuda.Stream
        self._stream = stream(device)

    def host(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return pinned memory."""
        with torch.inference_mode(False):
            return torch.empty(shape, dtype=torch.int64, pin_memory=True)

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> Event:
        """Begin the copy on the side stream, behind the current one."""
        current: Any = torch.cuda.current_stream(self.device)
        new_event: Any = torch.cuda.Event
        event = new_event()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            event.record(self._stream)
        return event  # type: ignore[no-any-return]

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Begin the copy into pinned memory, which torch keeps for the next one."""
        return tensor.to("cpu", non_blocking=True, copy=True)

    def capturing(self) -> bool:
        """Return whether the current stream is being captured."""
        return bool(torch.cuda.is_current_stream_capturing())
