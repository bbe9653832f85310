"""Which dtypes can be counted, and how each is widened without loss.

Narrow floats and short integers fit float32 exactly. Wide integers become
float64 as NumPy itself converts them before `numpy.searchsorted`. May import
torch alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

__all__ = ["countable_dtypes", "pieces", "widened"]

#: Elements widened at once: large enough to amortise the call, small enough for the cache.
_PIECE = 1 << 17


def _dtypes(*names: str) -> tuple[torch.dtype, ...]:
    # Some exist only in later versions of torch.
    return tuple(getattr(torch, name) for name in names if hasattr(torch, name))


_NARROW = _dtypes(
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "bool",
)
_WIDE = _dtypes("float64", "int32", "int64", "uint32", "uint64")


def widened(dtype: torch.dtype) -> torch.dtype | None:
    """Return float32 or float64, whichever holds `dtype`; None if neither does.

    Examples
    --------
    >>> widened(torch.bfloat16), widened(torch.int64), widened(torch.complex64)
    (torch.float32, torch.float64, None)
    """
    if dtype is torch.float32 or dtype in _NARROW:
        return torch.float32
    return torch.float64 if dtype in _WIDE else None


def countable_dtypes() -> tuple[torch.dtype, ...]:
    """Return every dtype that `widened` knows."""
    return (torch.float32, *_NARROW, *_WIDE)


def pieces(tensor: torch.Tensor, samples: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yield (first sample, last sample + 1, widened flat values) over a flat tensor.

    Parameters
    ----------
    tensor : Tensor, shape (n,), countable dtype
    samples : int
        The tensor holds this many samples of equal size.
    """
    target = widened(tensor.dtype)
    if tensor.dtype is target or samples == 0:
        yield 0, samples, tensor.to(target)
        return
    size = tensor.numel() // samples
    at_once = max(1, _PIECE // max(size, 1))
    for start in range(0, samples, at_once):
        stop = min(start + at_once, samples)
        yield start, stop, tensor[start * size : stop * size].to(target)
