"""The callables that hang on a model's modules.

Classes of this module, not closures, so that a hooked model can be copied and
pickled: a copy of a hook does nothing, so copies of a model are silent. Each
returns None whatever happens, which leaves the module's output alone. May
import torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from actrace.capture.layer_table import Recorded
from actrace.capture.outputs import main_tensor
from actrace.capture.tensors import leaves

if TYPE_CHECKING:
    from actrace.capture.batches import Session

__all__ = ["BeginHook", "CriterionHook", "EndHook", "LayerHook", "OutputHook", "ProbeHook"]


def _silent() -> Callable[..., None]:
    # Takes any arguments and returns None; the standard library's own, so that a
    # pickled model loads where actrace is not installed.
    silent: Callable[..., None] = contextlib.nullcontext.__exit__
    return partial(silent, None)


class _Hook:
    """Base: knows the session, and turns into nothing when copied."""

    __slots__ = ("session",)

    def __init__(self, session: Session) -> None:
        self.session = session

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return _silent()

    def __copy__(self) -> Callable[..., None]:
        return _silent()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return partial, (contextlib.nullcontext.__exit__, None)


class BeginHook(_Hook):
    """Forward pre-hook of the root: a batch begins."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a batch."""
        if not torch.compiler.is_compiling():
            self.session.begin(module, args, kwargs)


class EndHook(_Hook):
    """Forward hook of the root: its forward is over, the batch still open."""

    __slots__ = ()

    def __call__(self, module: nn.Module, _args: Any, output: Any) -> None:
        """End the forward."""
        if not torch.compiler.is_compiling():
            self.session.end(module, output)


class LayerHook(_Hook):
    """Forward hook of a recorded module: its output is added to its rows."""

    __slots__ = ("recorded",)

    def __init__(self, session: Session, recorded: Recorded) -> None:
        super().__init__(session)
        self.recorded = recorded

    def __call__(self, module: nn.Module, _args: Any, output: Any) -> None:
        """Add the output to the layer's rows."""
        session = self.session
        if torch.compiler.is_compiling() or session.gate != get_ident():
            return
        recorded = self.recorded
        if recorded.off is not None:
            return
        began = perf_counter()
        try:
            session.table.add(recorded, module, output)
            if session.watching is not None:
                session.watching.saw(recorded.name, module, output)
        except Exception as error:
            session.layer_failed(recorded, error)
        recorded.seconds += perf_counter() - began


class ProbeHook(_Hook):
    """Forward hook of a module that is not recorded, while the model is explored.

    It tells where units are kept and whose output is the model's, and is removed
    after the first recorded forward.
    """

    __slots__ = ("kind", "name")

    def __init__(self, session: Session, name: str, kind: str | None) -> None:
        super().__init__(session)
        self.name = name
        self.kind = kind

    def __call__(self, module: nn.Module, _args: Any, output: Any) -> None:
        """Note where the output lies."""
        session = self.session
        if torch.compiler.is_compiling() or session.gate != get_ident():
            return
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

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Keep the output."""
        session = self.session
        if torch.compiler.is_compiling() or session.gate != get_ident():
            return
        try:
            found = main_tensor(output)
            named = dict(leaves(output)).get(self.path, None if self.path else found and found[1])
            if named is not None:
                session.keep_output(named)
        except Exception as error:
            session.fault("keeping the output", error)


class CriterionHook(_Hook):
    """Forward hook of the criterion: loss and target of the open batch."""

    __slots__ = ()

    def __call__(self, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Pass loss and target on."""
        if not torch.compiler.is_compiling():
            self.session.criterion_called(args, kwargs, output)
