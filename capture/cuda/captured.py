"""What goes into a CUDA graph while it is captured, to be done whenever it is replayed.

Each reads on the device which row is open then. Nothing here is done now, waits, or
takes memory that a graph does not own. May import torch.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from actrace.capture.cuda.capture import MAX_HOST_BYTES, DeviceCapture
from actrace.capture.kernels.slots import CALLS, Shape

__all__ = ["capture_copy", "capture_layer", "capture_loss", "capture_mark", "stray_calls"]

#: What graphs write to and read. Nobody says when a graph is gone, and a replay after
#: its memory was given back would write into a tensor of somebody else's.
_KEPT: Final[list[object]] = []


def capture_layer(device: DeviceCapture[Any], at: int, tensor: torch.Tensor, shape: Shape) -> None:
    """Let a replay add a call, as `DeviceCapture.add`."""
    _keep(device)
    device.add(at, tensor, shape)


def capture_loss(device: DeviceCapture[Any], value: torch.Tensor) -> None:
    """Let a replay give the batch its loss."""
    ring = device.ring
    if ring is not None:
        _keep(device)
        device.loss_captured = True
        number = value.detach().to(torch.float64).mean().view(1)
        start = ring.slot * ring.words.shape[1] + ring.layout.loss
        ring.words.view(torch.float64).view(-1).index_copy_(0, start, number)


def capture_mark(device: DeviceCapture[Any], mark: int) -> None:
    """Let a replay mark the batch."""
    ring = device.ring
    if ring is not None:
        _keep(device)
        start = ring.slot * ring.words.shape[1] + ring.layout.mark
        ring.words.view(-1).index_fill_(0, start, mark)


def capture_copy(device: DeviceCapture[Any], tensor: torch.Tensor) -> torch.Tensor | None:
    """Let a replay copy an output or a target; return the copy, None if it is too large."""
    if device.ring is None or not device.takes(tensor):
        return None
    n_bytes = tensor.numel() * tensor.element_size()
    if n_bytes > MAX_HOST_BYTES:
        device.warn(
            f"an output or target of {n_bytes / 2**20:.0f} MiB in a CUDA graph is too large to "
            "keep, so its replays have no labels"
        )
        return None
    copied = tensor.detach().clone()
    _KEPT.append(copied)
    return copied


def stray_calls(device: DeviceCapture[Any]) -> int:
    """Return how often replays called a layer outside of every batch; waits for the device."""
    row = device.strays() if device.captured else None
    if row is None or device.ring is None:
        return 0
    _, tally, _ = device.ring.layout.statistics(row)
    return int(tally[:, CALLS].max(initial=0))


def _keep(device: DeviceCapture[Any]) -> None:
    if not device.captured:
        device.captured = True
        _KEPT.append(device.memory)
