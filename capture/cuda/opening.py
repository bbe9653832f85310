"""`record(cuda=True)`: what it cannot be joined with, and where its tensors lie.

May import torch.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from actrace.capture.cuda.reading import LARGEST_STRIDE
from actrace.errors import RecorderError

__all__ = ["check_cuda"]


def check_cuda(
    model: nn.Module, cuda: object, *, stride: int, gradients: object
) -> torch.device | None:
    """Return the device whose tensors are to be recorded, None if none are.

    Raises
    ------
    RecorderError
        No bool; no GPU; or something that is not done there.
    """
    if not isinstance(cuda, bool):
        raise RecorderError(f"cuda must be True or False, got {cuda!r}")
    if not cuda:
        return None
    if stride > LARGEST_STRIDE:
        raise RecorderError(
            f"cuda=True takes a sample_stride of up to {LARGEST_STRIDE}, got {stride}"
        )
    if gradients:
        raise RecorderError(
            f"cuda=True does not record gradients, got gradients={gradients!r}; "
            "leave one of them out"
        )
    if isinstance(model, nn.DataParallel):
        raise RecorderError(
            "cuda=True records one device, and DataParallel runs on several, so most of each batch "
            "would be missing; use DistributedDataParallel, where each process has its own"
        )
    if not torch.cuda.is_available():
        raise RecorderError(
            "cuda=True was asked for, and torch can use no GPU here; for a script that runs on "
            "both, pass cuda=torch.cuda.is_available()"
        )
    return _device_of(model)


def _device_of(model: nn.Module) -> torch.device:
    """Return the first CUDA device that the model lies on, the current one if on none."""
    found = {
        tensor.device: None
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.is_cuda
    }
    first = next(iter(found), None)
    return torch.device("cuda", torch.cuda.current_device()) if first is None else first
