"""The gradients of a training: which parameters have one, and when it is read.

A hook on each parameter marks it as its gradient arrives; at the end of the
backward pass, after data-parallel averaging, every marked gradient is read into
the batch that is open. Gradients are read where they lie and never kept. May
import torch and NumPy.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from actrace.capture.gradients.hooks import hang
from actrace.capture.gradients.loss_scale import float16_autocast, loss_scale, unscaled
from actrace.capture.gradients.names import parameter_names
from actrace.capture.gradients.outputs import OutputGradients
from actrace.capture.kernels.select import Kernel
from actrace.capture.kernels.slots import Slot
from actrace.capture.slot_table import MOMENT, SlotTable
from actrace.capture.tensors import flat_view, why_not
from actrace.store.gradients import GRADIENT_AXIS, GradientInfo, GradientRow, ParameterInfo

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = ["Gradients", "Watched"]

_QUEUE: Final[Callable[[Callable[[], None]], None]] = (
    torch.autograd.Variable._execution_engine.queue_callback
)


@dataclass(slots=True)
class Watched:
    """One parameter: its row, and what is known of its gradient.

    Attributes
    ----------
    name : str
    parameter : weak reference to Parameter
    slot : Slot or None
        Its sums, None before the rows are laid out.
    total : int
        Elements that each unit had in this batch.
    hooked : bool
        It has our hook; a frozen parameter takes none.
    early : bool
        Its gradient was gone at the end of a backward, so it is read as it arrives.
    backwards : int
        Gradients read in all batches.
    skipped : str or None
        Why something of it is missing.
    off : bool
        Not read any more: it raised.
    """

    name: str
    parameter: weakref.ref[nn.Parameter]
    slot: Slot | None = None
    total: int = 0
    hooked: bool = False
    early: bool = False
    backwards: int = 0
    skipped: str | None = None
    off: bool = False


class Gradients:
    """The gradients of one recording.

    Parameters
    ----------
    session : Session
    model : Module
        Its parameters are kept by weak reference.
    kernel : Kernel
        Bound to the gradients' own axis.
    scaler : GradScaler, optional
        Tells the loss scale.
    outputs : bool
        Gradients of the layers' outputs are recorded besides.
    """

    def __init__(
        self,
        session: Session,
        model: nn.Module,
        kernel: Kernel,
        *,
        scaler: torch.amp.GradScaler | None = None,
        outputs: bool = False,
    ) -> None:
        self.session = session
        self.kernel = kernel
        self.scaler = scaler
        self.watched = [Watched(name, weakref.ref(p)) for name, p in parameter_names(model).items()]
        self.sharded = any(hasattr(p, "to_local") for p in model.parameters())
        self.outputs = OutputGradients(self) if outputs else None
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        self.seconds = 0.0
        #: Loss scale of the batch in progress, NaN before its first gradient.
        self.scale = float("nan")
        self._table: SlotTable | None = None
        self._single = np.zeros(0, np.intp)
        self._queued: set[int] = set()
        self._marked: dict[int, list[Watched]] = {}
        self._seen = False
        self._frozen: list[Watched] = list(self.watched)
        self._asked_for_scaler = False

    # What the session calls.

    def begin(self) -> None:
        """Forget the batch before; look for parameters that can have a gradient by now."""
        if self._seen and self._table is not None:
            self._table.clear()
            for watched in self.watched:
                watched.total = 0
        if self.outputs is not None:
            self.outputs.clear()
        self._seen = False
        self.scale = float("nan")
        # A backward that raised never came to its end.
        self._queued.clear()
        self._marked.clear()
        self.watch_trainable()
        if self._table is None and not any(
            isinstance(watched.parameter(), UninitializedParameter) for watched in self.watched
        ):
            # A batch that is told may hold its backward too, so rows are needed by now.
            self._settle()

    def _settle(self) -> None:
        """Lay the rows out, for good."""
        info = self._lay_out()
        self.session.worker.declare_gradients(info)

    def watch_trainable(self) -> None:
        """Hang a hook on every parameter that requires a gradient and has none yet."""
        still: list[Watched] = []
        for watched in self._frozen:
            parameter = watched.parameter()
            lazy = isinstance(parameter, UninitializedParameter)
            if parameter is not None and parameter.requires_grad and not lazy:
                self.handles.append(hang(self, watched, parameter))
                watched.hooked = True
            else:
                still.append(watched)
        self._frozen = still

    def forward_ended(self) -> None:
        """Lay the rows out, if a lazy parameter took its shape in the first forward."""
        if self._table is None:
            self.watch_trainable()  # lazy ones have taken shape
            self._settle()
        if self.scaler is None and not self._asked_for_scaler and float16_autocast():
            self._asked_for_scaler = True
            self.session.warn(
                "the model runs under float16 autocast and no scaler was given, so its gradients "
                "are recorded as they are, multiplied by the loss scale if there is one; pass "
                "scaler=... to record"
            )

        # Under it the backward is traced too, and hooks on parameters are not called.
        config = sys.modules.get("torch._dynamo.config")
        if config is not None and getattr(config, "compiled_autograd", False):
            self.session.warn(
                "compiled autograd is on, and gradients of a compiled backward are not recorded; "
                "switch it off for the batches whose gradients you want"
            )

    def layers_fixed(self) -> None:
        """Lay out the rows of output gradients, one a layer."""
        if self.outputs is not None and not self.outputs.fixed:
            self.outputs.lay_out()

    def take(self) -> tuple[GradientRow | None, GradientRow | None]:
        """Return the gradients of the batch in progress, of parameters and of outputs."""
        part, table = None, self._table
        if self._seen and table is not None:
            part = GradientRow.empty(len(self.watched), GRADIENT_AXIS.n_bins)
            part.take(table.count[0], table.counters()[:, 0], table.moments()[:, 0], self.scale)
            one = self._single
            part.moments[MOMENT["death_rate"], one] = (
                1.0 - part.moments[MOMENT["activation_rate"], one]
            )
        return part, None if self.outputs is None else self.outputs.take()

    def close(self) -> None:
        """Take every hook off."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self._marked.clear()

    def skipped(self) -> dict[str, str]:
        """Return why something is missing, by parameter or layer."""
        found = {f"{w.name} (gradient)": w.skipped for w in self.watched if w.skipped is not None}
        if self.outputs is not None:
            found |= self.outputs.skipped
        return found

    def words(self) -> str:
        """Return how many parameters had a gradient."""
        n = sum(1 for watched in self.watched if watched.backwards)
        missing = [watched.name for watched in self.watched if not watched.backwards]
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        return f"{n} of {len(self.watched)} parameters had one" + (
            f"; none yet: {names}" if missing else ""
        )

    # What the hooks call.

    def arrived(self, watched: Watched, parameter: nn.Parameter) -> None:
        """Mark a parameter: its gradient was accumulated just now."""
        session = self.session
        if session.closed or watched.off or self._table is None:
            return
        if session.batch is None:
            if not session.skipping:
                session.warn(
                    "a gradient came while no batch was open, so it is not recorded; let the "
                    "backward follow its forward before the phase, the epoch or a flush ends it"
                )
            return
        began = perf_counter()
        try:
            task = torch._C._current_graph_task_id()
            self._marked.setdefault(task, []).append(watched)
            others = parameter._post_accumulate_grad_hooks
            if watched.early or (others is not None and len(others) > 1):
                # Another hook may step and drop the gradient before the backward ends.
                self._read(watched, parameter)
            if task not in self._queued:
                self._queued.add(task)
                self._queue(task)
        except Exception as error:
            self._failed(watched, error)
        self.seconds += perf_counter() - began

    def _queue(self, task: int) -> None:
        if task == -1:
            # Called by hand, outside of a backward: nothing is coming.
            self._finish(task)
            return
        # Twice, so that it runs after what is queued until the end of this backward:
        # data-parallel wrappers average the gradients in such a callback.
        _QUEUE(lambda: _QUEUE(lambda: self._finish(task)))

    def _finish(self, task: int) -> None:
        """Read every marked gradient: the backward is over."""
        began = perf_counter()
        self._queued.discard(task)
        for watched in self._marked.pop(task, ()):
            parameter = watched.parameter()
            if parameter is None or self.session.closed:
                continue
            try:
                if parameter.grad is not None:
                    self._read(watched, parameter)
                    watched.backwards += 1
                elif watched.total:
                    watched.backwards += 1
                elif not watched.early:
                    watched.early = True
                    self.session.warn(
                        f"the gradient of {watched.name!r} was gone at the end of the backward "
                        "pass; it is read as it arrives from the next one on"
                    )
            except Exception as error:
                self._failed(watched, error)
        self.seconds += perf_counter() - began

    def _read(self, watched: Watched, parameter: nn.Parameter) -> None:
        """Let the row of the open batch be this parameter's gradient as it is now."""
        slot = watched.slot
        if parameter.grad is None or slot is None:
            return
        gradient = parameter.grad.detach()
        local: Callable[[], torch.Tensor] | None = getattr(gradient, "to_local", None)
        if local is not None:
            with torch.no_grad():
                gradient = local()
        reason = why_not(gradient)
        scale = loss_scale(self.scaler)
        if reason is None and scale is None:
            reason = "its loss scale is not on the CPU: it cannot be read without waiting for it"
        if reason is None and _units(gradient.shape) != slot.active.size:
            reason = f"its shape became {tuple(gradient.shape)} after the first recorded forward"
        if reason is not None or scale is None:
            watched.skipped = watched.skipped or reason
            return
        if gradient.is_neg():
            gradient = gradient.resolve_neg()
        slot.clear()
        self.seen(scale)
        watched.total = gradient.numel() // max(1, slot.active.size)
        if gradient.numel() == 0:
            return
        flat, shape = flat_view(unscaled(gradient, scale), 0)
        if gradient.dim() < 2:
            # Read as one unit: each of its elements is one, and the share tells both rates.
            shape = (1, 1, 1, gradient.numel())
        self.kernel.add(flat, shape, slot)

    def seen(self, scale: float) -> None:
        """Note that the batch has a gradient."""
        self._seen = True
        self.scale = scale

    def _failed(self, watched: Watched, error: Exception) -> None:
        watched.off = True
        watched.total = 0
        if watched.slot is not None:
            watched.slot.clear()
        watched.skipped = f"switched off: {type(error).__name__}: {error}"
        self.session.warn(
            f"the gradient of {watched.name!r} is no longer recorded: "
            f"{type(error).__name__}: {error}"
        )

    def _lay_out(self) -> GradientInfo:
        infos: list[ParameterInfo] = []
        units: list[int] = []
        single: list[int] = []
        for at, watched in enumerate(self.watched):
            parameter: Any = watched.parameter()
            shape: tuple[int, ...] = ()
            if parameter is not None:
                with suppress(RuntimeError, ValueError):  # a lazy one that was not called
                    shape = tuple(parameter.shape)
                    if hasattr(parameter, "to_local"):
                        with torch.no_grad():
                            parameter = parameter.to_local()
            infos.append(ParameterInfo(watched.name, shape))
            with suppress(RuntimeError, ValueError):
                shape = tuple(parameter.shape) if parameter is not None else ()
            units.append(_units(shape))
            if len(shape) < 2:
                single.append(at)
        self._table = SlotTable(GRADIENT_AXIS.n_bins, units)
        for watched, slot in zip(self.watched, self._table.slots(), strict=True):
            watched.slot = slot
        self._single = np.array(single, np.intp)
        return GradientInfo(tuple(infos), self.sharded, self.outputs is not None)


def _units(shape: tuple[int, ...]) -> int:
    """Return the units that a gradient is read as: its rows, one for a vector."""
    return 1 if len(shape) < 2 else shape[0]
