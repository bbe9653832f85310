"""Gradients of outputs inside a compiled graph.

`torch.compile` traces a hook on a tensor into the backward graph, where an
operator that writes into a buffer is neither moved nor removed. The operator
here finds its layer by a number and adds the gradient; the output and its
gradient pass through untouched and the graph stays one. May import torch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Final

import torch

from actrace.capture.gradient_outputs import OutputGradients
from actrace.capture.layer_table import Recorded

__all__ = ["gradient_token", "register_layer", "watch_compiled_output_gradient"]

# An operator of the graph knows its recorder by a number alone. Weak, so that a
# graph that outlives its recording keeps nothing alive and does nothing.
_LAYERS: Final[dict[int, tuple[weakref.ref[OutputGradients], Recorded]]] = {}
_NUMBERS: Final = count()


def gradient_token() -> torch.Tensor:
    """Return a buffer for the operator to write into; one for each recording."""
    return torch.zeros(1)


def register_layer(outputs: OutputGradients, recorded: Recorded) -> int:
    """Return the number under which the operator finds a recorded module."""
    number = next(_NUMBERS)
    _LAYERS[number] = (weakref.ref(outputs, lambda _: _LAYERS.pop(number, None)), recorded)
    return number


@torch.library.custom_op("actrace::output_gradient", mutates_args=("token",))
def _output_gradient(
    token: torch.Tensor,  # noqa: ARG001 - what the operator says it writes into
    gradient: torch.Tensor,
    number: int,
    path: str,
) -> None:
    """Add a gradient to the layer registered under `number`."""
    reference, recorded = _LAYERS.get(number, (None, None))
    outputs = reference() if reference is not None else None
    row = recorded.rows.get(path) if recorded is not None else None
    if outputs is not None and row is not None:
        outputs.add(row, row.dims.get(gradient.dim()), gradient)


@_output_gradient.register_fake
def _(token: torch.Tensor, gradient: torch.Tensor, number: int, path: str) -> None:
    """Tell the tracer that nothing comes back."""


def watch_compiled_output_gradient(
    token: torch.Tensor, tensor: torch.Tensor, number: int, path: str
) -> None:
    """Let the gradient of a layer's output be read; to be called while tracing.

    Parameters
    ----------
    token : Tensor
        The recording's, see `gradient_token`.
    tensor : Tensor
        An output of the layer; left as it is.
    number : int
        The layer's, see `register_layer`.
    path : str
        Place of the tensor in the layer's output.
    """
    if tensor.requires_grad:

        def read(gradient: torch.Tensor) -> None:
            torch.ops.actrace.output_gradient(token, gradient, number, path)

        register: Callable[..., object] = tensor.register_hook
        register(read)
