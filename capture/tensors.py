"""What a module returned, as named tensors that a kernel can read.

Finds the tensors in an output and gives each a stable path, says why one cannot
be counted, decides which dimension holds the units, and lays a tensor out flat
in memory order without copying where its layout allows. May import torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import torch
from torch import nn
from torch._subclasses.fake_tensor import is_fake
from torch.nn.utils.rnn import PackedSequence

from actrace.capture.kernels.slots import Shape
from actrace.capture.kernels.widen import widened
from actrace.capture.model.wrappers import type_name

__all__ = [
    "FIRST",
    "LAST",
    "first_tensor",
    "flat_view",
    "leaves",
    "unit_dim",
    "unit_kind",
    "why_not",
]

#: A container nested deeper than this is not followed.
_MAX_DEPTH: Final = 8
_PLAIN: Final = (torch.Tensor, nn.Parameter)

#: Where a type of module keeps its units: dimension 1, or the last.
FIRST: Final = "first"
LAST: Final = "last"

_FIRST_NAMES: Final = (
    "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d "
    "LazyConv1d LazyConv2d LazyConv3d "
    "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm "
    "InstanceNorm1d InstanceNorm2d InstanceNorm3d GroupNorm LocalResponseNorm "
    "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d "
    "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d "
    "FractionalMaxPool2d FractionalMaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d "
    "Dropout1d Dropout2d Dropout3d FeatureAlphaDropout "
    "PixelShuffle PixelUnshuffle ChannelShuffle Upsample"
)
_FIRST_TYPES: Final = tuple(getattr(nn, name) for name in _FIRST_NAMES.split())
_LAST_TYPES: Final = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)
_LAYOUTS: Final[dict[Any, str]] = {"channels_first": FIRST, "channels_last": LAST}
#: These take one sample without its batch dimension, so their rank tells.
_UNBATCHED: Final = re.compile(r"(?:Lazy)?(?:Conv|ConvTranspose|.*Pool|.*Unpool)([123])d")


def leaves(output: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (path, tensor) for every tensor in a module's output.

    Examples
    --------
    >>> h = torch.zeros(2)
    >>> [path for path, _ in leaves((h, {"logits": h, "past": (h, None)}))]
    ['[0]', '[1].logits', '[1].past[0]']
    """
    if isinstance(output, torch.Tensor):
        yield path, output
    elif depth >= _MAX_DEPTH or output is None or isinstance(output, (str, bytes, int, float)):
        return
    elif isinstance(output, PackedSequence):
        # Its values; the batch sizes and orders beside them are no activations.
        yield path, output.data
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from leaves(value, path + _key(key), depth + 1)
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        for name, value in zip(output._fields, output, strict=False):
            yield from leaves(value, f"{path}.{name}", depth + 1)
    elif isinstance(output, (tuple, list)):
        for at, value in enumerate(output):
            yield from leaves(value, f"{path}[{at}]", depth + 1)
    elif is_dataclass(output) and not isinstance(output, type):
        for field in fields(output):
            yield from leaves(getattr(output, field.name), f"{path}.{field.name}", depth + 1)


def _key(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def first_tensor(*values: Any) -> torch.Tensor | None:
    """Return the first tensor found in `values`, or None."""
    for value in values:
        if type(value) is tuple and value and type(value[0]) is torch.Tensor:
            return value[0]  # the usual positional arguments
        for _, tensor in leaves(value):
            return tensor
    return None


def why_not(tensor: torch.Tensor, device: torch.device | None = None) -> str | None:
    """Return why a tensor cannot be counted, None if it can.

    Parameters
    ----------
    tensor : Tensor
    device : device, optional
        Where it may lie besides the CPU.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "inside a functorch transform (vmap, grad): its values cannot be read"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return f"a {_layout(tensor)} tensor: only dense tensors are recorded"
    if tensor.is_quantized:
        return f"quantised ({tensor.dtype}): only plain numbers are recorded"
    if tensor.is_meta or (type(tensor) not in _PLAIN and is_fake(tensor)):
        return "a meta tensor: it holds no values"
    if not tensor.is_cpu and tensor.device != device:
        return f"on {tensor.device}: {_elsewhere(tensor, device)}"
    if tensor.dtype is not torch.float32 and widened(tensor.dtype) is None:
        return f"dtype {tensor.dtype}: only real numbers are recorded"
    return None


def _elsewhere(tensor: torch.Tensor, device: torch.device | None) -> str:
    if device is not None:
        return f"this recorder records the CPU and {device}"
    if tensor.is_cuda:
        return "not recorded unless asked for, by actrace.record(..., cuda=True)"
    return "only tensors on the CPU and on CUDA devices are recorded"


def _layout(tensor: torch.Tensor) -> str:
    return "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")


def unit_kind(module: nn.Module | None) -> str | None:
    """Return `FIRST` or `LAST` where a module's type settles it, otherwise None."""
    if isinstance(module, _FIRST_TYPES):
        return FIRST
    if isinstance(module, _LAST_TYPES):
        return LAST
    # A Keras layer says it itself.
    return _LAYOUTS.get(getattr(module, "data_format", None))


def unit_dim(module: nn.Module | None, ndim: int, context: str | None) -> int | None:
    """Return the dimension of an output that holds the units.

    Parameters
    ----------
    module : Module or None
        Whose output it is, None for a function's.
    ndim : int
        Dimensions of the output.
    context : str or None
        Where the layer before it, whose type settled it, kept its units.

    Returns
    -------
    int or None
        0 where the output is one sample without batch dimension; None where it
        has less than two dimensions and so is one unit.
    """
    if ndim == 0:
        return None
    spatial = _UNBATCHED.fullmatch(type_name(module)) if module is not None else None
    if spatial is not None and ndim == int(spatial.group(1)) + 1:
        return 0
    if ndim == 1:
        return None
    if ndim == 2:
        return 1
    kind = unit_kind(module) or context or (FIRST if ndim >= 4 else LAST)
    return 1 if kind == FIRST else ndim - 1


def flat_view(tensor: torch.Tensor, dim: int | None) -> tuple[torch.Tensor, Shape]:
    """Return a tensor flat in memory order, and how to read it.

    Parameters
    ----------
    tensor : Tensor, dense, detached
    dim : int or None
        Dimension of the units, see `unit_dim`.

    Returns
    -------
    flat : Tensor, shape (n,)
        A view where the layout allows, otherwise a copy.
    shape : tuple of int
        (samples, outer, units, inner).
    """
    shape = tensor.shape
    if dim is None:
        samples = shape[0] if shape else 1
        inner = 1
        return tensor.reshape(-1), (samples, 1, 1, inner)
    units = shape[dim]
    samples = 1 if dim == 0 else shape[0]
    outer = 1
    for size in shape[1:dim]:
        outer *= size
    inner = 1
    for size in shape[dim + 1 :]:
        inner *= size
    if tensor.is_contiguous():
        return tensor.view(-1), (samples, outer, units, inner)
    if dim == 1 and tensor.ndim > 2:
        # channels_last keeps the channels of a pixel side by side.
        moved = tensor.movedim(1, -1)
        if moved.is_contiguous():
            return moved.view(-1), (samples, inner, units, 1)
    return tensor.reshape(-1), (samples, outer, units, inner)
