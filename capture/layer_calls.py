"""What a session does when one of the model's modules, or a function, was called.

Called by the hooks and by compiled code, through them. May import torch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from actrace.capture.batch import ANY_THREAD
from actrace.capture.gradients.outputs import watch_output_gradient
from actrace.capture.layer_rows import Recorded

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = [
    "function_called",
    "gradient_computed",
    "layer_called",
    "layer_captured",
    "layer_failed",
    "leaf_computed",
    "module_entered",
    "module_exited",
]


def layer_called(
    session: Session, recorded: Recorded, module: nn.Module, args: Any, output: Any
) -> None:
    """Add a layer's output to its rows."""
    if session.gate == ANY_THREAD:
        with session.lock:
            session.table.add(recorded, module, output)
    else:
        session.table.add(recorded, module, output)
    if session.gradients is not None and session.gradients.outputs is not None:
        watch_output_gradient(session.gradients.outputs, recorded, module, output)
    if not session.table.fixed:
        session.coverage.layer_called(recorded.name, args, output)
    if session.watching is not None:
        session.watching.saw(recorded.name, module, output)
    elif session.short_ways:
        session.table.bind(recorded, output)


def layer_captured(session: Session, recorded: Recorded, module: nn.Module, output: Any) -> None:
    """Add a layer to the CUDA graph that is being captured while no batch is open."""
    if session.table.fixed and not session.closed:
        session.table.add(recorded, module, output)


def leaf_computed(
    session: Session, recorded: Recorded, module: nn.Module, path: str, tensor: torch.Tensor
) -> None:
    """Add one tensor of a layer's output, computed by compiled code."""
    session.table.add_leaf(recorded, module, path, tensor)
    if session.watching is not None:
        session.watching.saw(recorded.name + path, module, tensor)
    elif session.short_ways and not path:
        session.table.bind(recorded, tensor)


def gradient_computed(
    session: Session, recorded: Recorded, path: str, gradient: torch.Tensor
) -> None:
    """Add the gradient of one tensor of a layer's output, computed by compiled code."""
    row = recorded.rows.get(recorded.key(path))
    if row is not None and session.gradients is not None and session.gradients.outputs is not None:
        session.gradients.outputs.add(row, row.dims.get(gradient.dim()), gradient)


def function_called(session: Session, name: str, function: str, output: torch.Tensor) -> None:
    """Add the output of an activation function."""
    if not session.is_open():
        return
    recorded = session.table.function(name, function)
    if recorded is None or recorded.off is not None or recorded.resting:
        return
    began = time.perf_counter()
    try:
        session.table.add(recorded, None, output)
        if session.watching is not None:
            session.watching.saw(name, None, output)
    except Exception as error:
        layer_failed(session, recorded, error)
    recorded.seconds += time.perf_counter() - began


def module_entered(session: Session, name: str, sees: bool, compiled: bool) -> None:
    """Note that a module begins to run, while functions are watched."""
    model = session.model()
    if session.held.open and not session.coverage.watching and model is not None:
        # A told batch holds more than forwards: only those are watched.
        session.coverage.begin(model, compiled=compiled)
    session.coverage.enter_module(name, sees)


def module_exited(session: Session, name: str) -> None:
    """Note that a module has run, while functions are watched."""
    session.coverage.exit_module(name)
    if session.held.open and session.coverage.idle:
        session.coverage.leave()


def layer_failed(session: Session, recorded: Recorded, error: Exception) -> None:
    """Switch a layer off: recording it raised."""
    recorded.bound = None
    recorded.off = f"switched off: {type(error).__name__}: {error}"
    session.table.forget(recorded)
    session.warn(f"layer {recorded.name!r} is no longer recorded: {type(error).__name__}: {error}")
