"""The gradients of the layers' outputs, one row a layer.

A hook on the output tensor itself reads its gradient as the backward passes
through it; full backward hooks, which forbid in-place operations, are not used.
May import torch and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from actrace.capture.gradients.loss_scale import loss_scale, unscaled
from actrace.capture.kernels.slots import Slot
from actrace.capture.layer_rows import LayerRow, Recorded
from actrace.capture.slot_table import SlotTable
from actrace.capture.tensors import flat_view, leaves, unit_dim, why_not
from actrace.store.gradients import GRADIENT_AXIS, GradientRow

if TYPE_CHECKING:
    from actrace.capture.gradients.parameters import Gradients

__all__ = ["OutputGradientHook", "OutputGradients", "watch_output_gradient"]


class OutputGradients:
    """Sums over the gradients of each layer's output in the batch that is open.

    Parameters
    ----------
    gradients : Gradients
        Whose kernel, scaler and session are used.
    """

    def __init__(self, gradients: Gradients) -> None:
        self.gradients = gradients
        self.skipped: dict[str, str] = {}
        self._table: SlotTable | None = None
        self._at: dict[str, int] = {}
        self._total = np.zeros(0)
        self._others: dict[int, list[tuple[int, int, int]]] = {}
        self._seen = False

    @property
    def fixed(self) -> bool:
        """Whether the rows are laid out."""
        return self._table is not None

    def lay_out(self) -> None:
        """Lay out a row for each layer, once the layers are fixed."""
        rows = self.gradients.session.table.rows
        self._at = {row.name: at for at, row in enumerate(rows)}
        self._table = SlotTable(GRADIENT_AXIS.n_bins, [row.units for row in rows])
        self._total = np.zeros(len(rows))

    def clear(self) -> None:
        """Forget the batch in progress."""
        if self._seen and self._table is not None:
            self._table.clear()
            self._total.fill(0)
            self._seen = False

    def take(self) -> GradientRow | None:
        """Return the gradients of the batch in progress, None if it had none."""
        table = self._table
        if not self._seen or table is None:
            return None
        row = GradientRow.empty(len(table.units), GRADIENT_AXIS.n_bins)
        moments = table.moments(total=self._total[np.newaxis])[:, 0]
        row.take(table.count[0], table.counters()[:, 0], moments, self.gradients.scale)
        return row

    def add(self, row: LayerRow, dim: int | None, gradient: torch.Tensor) -> None:
        """Add the gradient of a layer's output to the open batch."""
        session, table = self.gradients.session, self._table
        at = self._at.get(row.name)
        if session.closed or session.batch is None or table is None or at is None:
            return
        key = f"{row.name} (output gradient)"
        if self.skipped.get(key, "").startswith("switched off"):
            return
        began = perf_counter()
        try:
            self._add(at, key, dim, gradient.detach())
        except Exception as error:
            self.skipped[key] = f"switched off: {type(error).__name__}: {error}"
            table.slots()[at].clear()
            self._total[at] = 0
            session.warn(
                f"the output gradient of {row.name!r} is no longer recorded: "
                f"{type(error).__name__}: {error}"
            )
        self.gradients.seconds += perf_counter() - began

    def _add(self, at: int, key: str, dim: int | None, gradient: torch.Tensor) -> None:
        table = self._table
        reason, scale = why_not(gradient), loss_scale(self.gradients.scaler)
        if reason is None and scale is None:
            reason = "its loss scale is not on the CPU: it cannot be read without waiting for it"
        if reason is not None or scale is None or table is None:
            self.skipped.setdefault(key, reason or "")
            return
        if gradient.is_neg():
            gradient = gradient.resolve_neg()
        self._seen = True
        self.gradients.scale = scale
        if gradient.numel() == 0:
            return
        flat, shape = flat_view(unscaled(gradient, scale), dim)
        slot = table.slots()[at]
        if shape[2] == slot.active.size:
            self._total[at] += shape[0] * shape[1] * shape[3]
        else:
            # Counted all the same; its units are not those of the first forward.
            self.skipped.setdefault(key, "rates not recorded: its number of units changed")
            slot = Slot(slot.count, slot.tally, slot.sums, np.zeros(shape[2], np.int64))
        self.gradients.kernel.add(flat, shape, slot)


class OutputGradientHook:
    """Hook of an output tensor: its gradient is added to its layer's row."""

    __slots__ = ("dim", "outputs", "row")
    #: So that saving the tensor does not warn that the hook stays behind.
    __torch_unserializable__ = True

    def __init__(self, outputs: OutputGradients, row: LayerRow, dim: int | None) -> None:
        self.outputs = outputs
        self.row = row
        self.dim = dim

    def __call__(self, gradient: torch.Tensor | None) -> None:
        """Add the gradient."""
        if gradient is not None and not torch.compiler.is_compiling():
            self.outputs.add(self.row, self.dim, gradient)


def watch_output_gradient(
    outputs: OutputGradients, recorded: Recorded, module: nn.Module, output: Any
) -> None:
    """Hang a hook on every tensor of a module's output that will have a gradient.

    The output is left as it is. In-place operations after the layer do not
    matter: the hook belongs to the value that the layer returned.
    """
    context = outputs.gradients.session.table.context
    for path, tensor in leaves(output):
        row = recorded.rows.get(recorded.key(path))
        if row is None or not tensor.requires_grad or why_not(tensor) is not None:
            continue
        ndim = tensor.dim()
        dim = row.dims[ndim] if ndim in row.dims else unit_dim(module, ndim, context)
        register: Callable[..., object] = tensor.register_hook
        register(OutputGradientHook(outputs, row, dim))
