"""Layers in a CUDA graph: counted by the graph itself, whenever it is replayed.

A replay calls no hook. So while a graph is captured a layer's counting is captured with
it, and reads on the device which row it goes to: that of the batch whose forward runs,
which a forward of the model's root or ``recorder.batch()`` began, or else the spare row.
Nothing is counted while it is captured, since nothing is done then. May import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.captured import capture_layer, stray_calls
from actrace.capture.layer_rows import LayerRow
from actrace.capture.tensors import flat_view

if TYPE_CHECKING:
    from actrace.capture.batch import Batch
    from actrace.capture.batches import Session

__all__ = [
    "capture_call",
    "forward_captured",
    "named_captured",
    "output_captured",
    "say_strays",
]

_TOO_EARLY: Final = (
    "a CUDA graph was captured before the first recorded forward, which tells what the layers are, "
    "so its replays are not recorded; call the model once, recorded, before the capture"
)
_HOW: Final = (
    "a forward of the model was captured into a CUDA graph: a replay of it is recorded inside "
    "`with recorder.batch(samples=...):`, and not otherwise"
)


def forward_captured(session: Session) -> None:
    """Let the layers of a forward that begins now go into the graph being captured."""
    device = session.device
    if device is None or device.ring is None:
        session.warn(_TOO_EARLY)
        return
    # Batches that were left out may have taken the hooks off, and the graph is for all.
    for hooks in (session.inside, *session.thinned.values()):
        if hooks is not None:
            hooks.put_on()
    session.table.number_calls_anew()
    if session.joining.graphs is not None:
        session.joining.graphs.begin()
    if not session.held.used:
        session.warn(_HOW)


def output_captured(session: Session, found: tuple[str, torch.Tensor] | None) -> None:
    """Note the main tensor of a forward in the graph being captured."""
    if found is not None and not session.joining.named:
        named_captured(session, found[1])


def named_captured(session: Session, output: torch.Tensor) -> None:
    """Note the output, in the graph being captured, of the layer that the user named."""
    model, graphs = session.model(), session.joining.graphs
    if graphs is not None and model is not None:
        graphs.saw_output(output, model.training)


def capture_call(
    device: DeviceCapture[Batch], row: LayerRow, tensor: torch.Tensor, dim: int | None
) -> None:
    """Let the graph being captured add a tensor to a row whenever it is replayed.

    Parameters
    ----------
    device : DeviceCapture
    row : LayerRow
    tensor : Tensor, detached, on the device
    dim : int or None
        Where its units are.
    """
    if device.ring is None or not row.seen:
        row.skipped = row.skipped or (
            "captured into a CUDA graph before it was first called in a recorded forward"
        )
        return
    flat, shape = flat_view(tensor, dim)
    units = row.units if row.own is None else row.own.size
    if shape[2] != units:
        # Their number would have to be told for each replay, to have rates of them.
        row.skipped = row.skipped or (
            f"captured into a CUDA graph with {shape[2]} units, where the first call had {units}"
        )
    elif flat.numel():
        capture_layer(device, row.index, flat, shape)


def say_strays(session: Session) -> None:
    """Say how much graphs did outside of every batch; waits for the device."""
    device = session.device
    calls = 0 if device is None else stray_calls(device)
    if calls and not session.leaves_out:
        session.warn(
            "CUDA graphs that hold recorded layers were replayed where no batch was open (up to "
            f"{calls} calls of a layer), which is not recorded; replay them inside "
            "`with recorder.batch(samples=...):`"
        )
