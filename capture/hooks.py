"""The callables that hang on a model's modules.

Classes of this module, not closures, so that a hooked model can be copied and
pickled: a copy of a hook does nothing, so copies of a model are silent. Each
returns None whatever happens, which leaves the module's output alone. While
`torch.compile` traces it, a hook places the operator of `compiled` instead, and
is called back by `observed` when the compiled code runs. May import torch.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable
from functools import partial
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from actrace.capture.batch import ANY_THREAD
from actrace.capture.compiled import eagerly, enter, is_watched, not_alone, observe
from actrace.capture.labels.joining import target_of
from actrace.capture.labels.outputs import main_tensor
from actrace.capture.layer_calls import (
    gradient_computed,
    layer_called,
    layer_captured,
    layer_failed,
    leaf_computed,
    module_entered,
    module_exited,
)
from actrace.capture.layer_rows import Recorded
from actrace.capture.tensors import first_tensor, leaves
from actrace.errors import RecorderError

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = [
    "BeginHook",
    "CriterionHook",
    "EndHook",
    "EnterHook",
    "ExitHook",
    "LayerHook",
    "LeaveHook",
    "OutputHook",
    "ProbeHook",
    "WrapperHook",
]

_Tensor: Final = torch.Tensor
_graph_task: Final[Callable[[], int]] = torch._C._current_graph_task_id
#: What compiled code tells of a forward's beginning and end.
_TRAINING, _EVALUATION, _NOTHING, _AT = "training", "evaluation", "nothing", "at "
#: Before the path of an output whose gradient it is.
_GRADIENT: Final = "gradient of "


def _silent() -> Callable[..., None]:
    # Takes any arguments and returns None; the standard library's own, so that a
    # pickled model loads where actrace is not installed.
    silent: Callable[..., None] = contextlib.nullcontext.__exit__
    return partial(silent, None)


class _Hook:
    """Base: knows the session, and turns into nothing when copied.

    Attributes
    ----------
    session : Session
    number : Tensor
        What compiled code knows the hook by.
    order : Tensor
        The session's buffer that keeps observations in order.
    """

    __slots__ = ("__weakref__", "number", "order", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.order = session.order
        self.number = enter(self)

    @property
    def __name__(self) -> str:
        # torch.jit.script asks hooks for their name, and cannot compile them.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith("torch.jit"):
            raise RecorderError(
                "a model that is being recorded cannot be scripted, as TorchScript would have to "
                "compile the recorder's hooks; call recorder.close() first, then torch.jit.script"
            )
        return type(self).__qualname__

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return _silent()

    def __copy__(self) -> Callable[..., None]:
        return _silent()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return partial, (contextlib.nullcontext.__exit__, None)

    def observed(self, value: torch.Tensor, beside: torch.Tensor | None, note: str) -> None:
        """Nothing, unless the hook can be compiled."""


class BeginHook(_Hook):
    """Forward pre-hook of the root: a batch begins."""

    __slots__ = ()

    @not_alone
    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a batch."""
        if not torch.compiler.is_compiling():
            eagerly(self.session.begin, module, args, kwargs, is_watched())
            return
        first = first_tensor(args, kwargs)
        note = _TRAINING if module.training else _EVALUATION
        if first is None:
            observe(self.order, self.number, self.number, note)
        else:
            observe(self.order, self.number, first, note)

    def observed(self, value: torch.Tensor, _beside: torch.Tensor | None, note: str) -> None:
        """Begin a batch whose forward is compiled, hooks and all."""
        samples = value.shape[0] if value.ndim else 0
        self.session.begin_compiled(note == _TRAINING, samples)


class EndHook(_Hook):
    """Forward hook of the root: its forward is over, the batch still open."""

    __slots__ = ()

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """End the forward."""
        if not torch.compiler.is_compiling():
            eagerly(self.session.end, output)
            return
        found = main_tensor(output)
        if found is None:
            observe(self.order, self.number, self.number, _NOTHING)
        else:
            observe(self.order, self.number, found[1], _AT + found[0])

    def observed(self, value: torch.Tensor, _beside: torch.Tensor | None, note: str) -> None:
        """End a batch whose forward is compiled, hooks and all."""
        found = None if note == _NOTHING else (note.removeprefix(_AT), value)
        self.session.end_compiled(found)


class LeaveHook(_Hook):
    """Forward hook of the root that is also called where the forward raised."""

    __slots__ = ()

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Stop watching functions where the forward gave nothing, as if it raised."""
        if output is None and not torch.compiler.is_compiling():
            eagerly(self.session.coverage.leave)


class LayerHook(_Hook):
    """Forward hook of a recorded module: its output is added to its rows.

    Attributes
    ----------
    gradients : bool
        In compiled code, the gradients of the output are to be added too.
    """

    __slots__ = ("gradients", "module", "recorded")

    def __init__(
        self, session: Session, recorded: Recorded, module: nn.Module, *, gradients: bool
    ) -> None:
        super().__init__(session)
        self.gradients = gradients
        self.recorded = recorded
        self.module = weakref.ref(module)

    @not_alone
    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Add the output to the layer's rows."""
        if torch.compiler.is_compiling():
            for path, tensor in leaves(output):
                observe(self.order, self.number, tensor, path)
                if self.gradients and tensor.requires_grad:
                    self._observe_gradient(tensor, path)
            return
        session = self.session
        gate = session.gate
        if gate == get_ident():
            recorded = self.recorded
            bound = recorded.bound
            # Nothing but built-in calls from here to the kernel: it is called most of all.
            if (
                bound is not None
                and type(output) is _Tensor
                and output.shape == bound.shape
                and output.stride() == bound.stride
                and output.dtype is bound.dtype
                and output.is_cpu
                and not recorded.resting
                and _graph_task() == -1
            ):
                began = perf_counter()
                try:
                    bound.run(output.data_ptr(), bound.address, session.row)
                    bound.row.fired += 1
                    recorded.fired += 1
                except RuntimeError:
                    # A functorch transform's: it has no memory to read.
                    eagerly(self._record, layer_called, module, args, output)
                recorded.seconds += perf_counter() - began
                return
            eagerly(self._record, layer_called, module, args, output)
        elif gate == ANY_THREAD:
            eagerly(self._record, layer_called, module, args, output)
        elif session.device is not None and session.device.capturing():
            eagerly(self._record, layer_captured, module, output)

    def observed(self, value: torch.Tensor, _beside: torch.Tensor | None, note: str) -> None:
        """Add one tensor of the output that compiled code computed."""
        module = self.module()
        if module is None:
            return
        if note.startswith(_GRADIENT):
            path = note.removeprefix(_GRADIENT)
            gradient_computed(self.session, self.recorded, path, value)
        elif self.session.is_open():
            recorded, bound = self.recorded, self.recorded.bound
            if (
                bound is None
                or note
                or self.session.gate != get_ident()
                or value.shape != bound.shape
                or value.stride() != bound.stride
                or value.dtype is not bound.dtype
                or not value.is_cpu
                or recorded.resting
                or _graph_task() != -1
            ):
                self._record(leaf_computed, module, note, value)
                return
            began = perf_counter()
            try:
                bound.run(value.data_ptr(), bound.address, self.session.row)
                bound.row.fired += 1
                recorded.fired += 1
            except Exception as error:
                layer_failed(self.session, recorded, error)
            recorded.seconds += perf_counter() - began

    def _observe_gradient(self, tensor: torch.Tensor, path: str) -> None:
        """Let compiled code observe the gradient of a tensor too.

        A hook on a tensor is traced into the backward graph, which stays one, and
        leaves tensor and gradient as they are.
        """
        order, number = self.order, self.number

        def read(gradient: torch.Tensor) -> None:
            observe(order, number, gradient, _GRADIENT + path)

        register: Callable[..., object] = tensor.register_hook
        register(read)

    def _record(self, how: Callable[..., None], *what: Any) -> None:
        recorded = self.recorded
        if recorded.off is not None or (recorded.resting and not self.session.capturing):
            return
        if torch._C._current_graph_task_id() != -1:
            return  # checkpointing calls the layer again for its backward
        began = perf_counter()
        try:
            how(self.session, recorded, *what)
        except Exception as error:
            layer_failed(self.session, recorded, error)
        recorded.seconds += perf_counter() - began


class ProbeHook(_Hook):
    """Forward hook of a module that is not recorded, while the model is explored.

    It tells where units are kept and whose output is the model's, and is removed
    after the first recorded forward. Compiled code does without.
    """

    __slots__ = ("kind", "name")

    def __init__(self, session: Session, name: str, kind: str | None) -> None:
        super().__init__(session)
        self.name = name
        self.kind = kind

    @not_alone
    def __call__(self, module: nn.Module, _args: Any, output: Any) -> None:
        """Note where the output lies."""
        if not torch.compiler.is_compiling() and self.session.gate == get_ident():
            eagerly(self._look, module, output)

    def _look(self, module: nn.Module, output: Any) -> None:
        session = self.session
        try:
            if self.kind is not None:
                session.table.context = self.kind
            if session.watching is not None:
                session.watching.saw(self.name, module, output)
        except Exception as error:
            session.fault("looking at a layer's output", error)


class OutputHook(_Hook):
    """Forward hook of the output layer that the user named: its value is kept."""

    __slots__ = ("path",)

    def __init__(self, session: Session, path: str) -> None:
        super().__init__(session)
        self.path = path

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Keep the output."""
        if not torch.compiler.is_compiling():
            eagerly(self._keep, output)
            return
        named = self._named(output)
        if named is not None:
            observe(self.order, self.number, named, "")

    def observed(self, value: torch.Tensor, _beside: torch.Tensor | None, _note: str) -> None:
        """Keep the output that compiled code computed."""
        self._keep(value)

    def _keep(self, output: Any) -> None:
        if not (self.session.is_open() or self.session.capturing):
            return
        try:
            named = output if isinstance(output, torch.Tensor) else self._named(output)
            if named is not None:
                self.session.keep_named(named)
        except Exception as error:
            self.session.fault("keeping the output", error)

    def _named(self, output: Any) -> torch.Tensor | None:
        found = main_tensor(output)
        return dict(leaves(output)).get(self.path, None if self.path else found and found[1])


class CriterionHook(_Hook):
    """Forward hook of the criterion: loss and target of the open batch."""

    __slots__ = ()

    @not_alone
    def __call__(self, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Pass loss and target on."""
        if not torch.compiler.is_compiling():
            eagerly(self.session.criterion_called, args, kwargs, output)
            return
        loss, target = first_tensor(output), first_tensor(target_of(args, kwargs))
        if loss is not None:
            observe(self.order, self.number, loss, "", target)

    def observed(self, value: torch.Tensor, beside: torch.Tensor | None, _note: str) -> None:
        """Pass loss and target on that compiled code computed."""
        self.session.criterion_computed(value, beside)


class EnterHook(_Hook):
    """Forward pre-hook of any module while functions are watched: it begins to run."""

    __slots__ = ("name", "sees")

    def __init__(self, session: Session, name: str, sees: bool) -> None:
        super().__init__(session)
        self.name = name
        self.sees = sees

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any) -> None:
        """Note that the module begins."""
        if not torch.compiler.is_compiling() and self.session.gate == get_ident():
            eagerly(module_entered, self.session, self.name, self.sees, is_watched())


class ExitHook(_Hook):
    """Forward hook of any module while functions are watched: it has run."""

    __slots__ = ("name",)

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session)
        self.name = name

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        """Note that the module has ended."""
        if not torch.compiler.is_compiling() and self.session.gate == get_ident():
            eagerly(module_exited, self.session, self.name)


class WrapperHook(_Hook):
    """Forward hook of what `torch.compile` made, to tell whether our hooks are in it.

    Parameters
    ----------
    part : str or None
        Name of the compiled part, None for the whole model.
    """

    __slots__ = ("part",)

    def __init__(self, session: Session, part: str | None) -> None:
        super().__init__(session)
        self.part = part

    @not_alone
    def __call__(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        """Note it, or say at once that the compiled code knows no hooks."""
        if torch.compiler.is_compiling():
            return
        if self.part is None:
            eagerly(self.session.wrapper_called)
        else:
            eagerly(self.session.part_called, self.part)
