"""The loss scale of mixed-precision training, and gradients without it.

May import torch.
"""

from __future__ import annotations

import torch

__all__ = ["float16_autocast", "loss_scale", "unscaled"]


def loss_scale(scaler: torch.amp.GradScaler | None) -> float | None:
    """Return what the loss was multiplied by, None where a device would be waited for."""
    if scaler is None or not scaler.is_enabled():
        return 1.0
    scale = scaler._scale
    if scale is None:
        return 1.0  # it has not scaled a loss yet
    return float(scale) if scale.is_cpu else None


def unscaled(gradient: torch.Tensor, scale: float) -> torch.Tensor:
    """Return a detached gradient divided by `scale`, as `GradScaler.unscale_` does it.

    That is in float32 at least, by multiplication with the float32 reciprocal.
    """
    if scale == 1.0:
        return gradient
    wide = gradient if gradient.dtype is torch.float64 else gradient.to(torch.float32)
    inverse = float(torch.tensor(scale, dtype=torch.float64).reciprocal().to(torch.float32))
    with torch.no_grad():
        return wide * inverse


def float16_autocast() -> bool:
    """Return whether float16 autocast is on, on any device."""
    return any(
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is torch.float16
        for device in ("cpu", "cuda")
    )
