"""What of a model's forward a recorder sees, and what it does not.

Filled in the first recorded forward: layers that hand on their input, activation
functions that no hook sees, code that was compiled before the hooks were there.
May import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any

import torch
from torch import nn

from actrace.capture.layer_table import LayerTable
from actrace.capture.model.functions import FunctionWatch, functions_in
from actrace.capture.model.wrappers import compiled_parts, walk
from actrace.capture.tensors import leaves, why_not

__all__ = ["Coverage"]


class Coverage:
    """What a recorder sees of its model.

    Parameters
    ----------
    model : Module
        The root, its own name for itself is "".
    functional : bool
        Activation functions are recorded, not only named in the report.
    saw : callable
        Told ``(name, function's name, output)`` of each call of a recorded function.

    Attributes
    ----------
    began : bool
        A forward of the model has reached the recorder.
    aliases : dict of str to str
        Layer -> what its output shares its memory with.
    shared : dict of str to tuple of str
        Layer -> the other names that the same module has in the model.
    compiled : bool
        Some of the first forward was compiled.
    functions : dict of str to str
        Call of an activation function that is not recorded, as far as the code
        of the model's modules tells -> why.
    place : device or None
        Where tensors may lie besides the CPU.
    """

    def __init__(self, *, functional: bool, saw: Callable[[str, str, torch.Tensor], None]) -> None:
        self.began = False
        self.compiled = False
        self.place: torch.device | None = None
        self.aliases: dict[str, str] = {}
        self.shared: dict[str, tuple[str, ...]] = {}
        self.functions: dict[str, str] = {}
        self.functional = functional
        self._saw = saw
        self._watch: FunctionWatch | None = None
        self._active = False
        self._thread = 0
        self._compiling = False
        self._entered: set[str] = set()

    # Activation functions.

    def look_for_functions(self, model: nn.Module) -> None:
        """Note which functions the model's code calls, where they are not recorded."""
        if self.functional:
            return
        met: set[int] = set()
        known: dict[type, tuple[str, ...]] = {}
        for name, module in walk(model):
            if id(module) not in met:
                met.add(id(module))
                for function in functions_in(module, known):
                    call = f"{name}.{function}()" if name else f"{function}()"
                    self.functions[call] = "no hook sees a function; record(functional=True) does"

    def begin(self, model: nn.Module, *, compiled: bool) -> None:
        """Look at the forward that begins now; watch its functions if they are recorded.

        Not where some of it is compiled: `torch.compile` would trace the watch into
        its graph.
        """
        self.leave()  # in case the last forward raised before anything could end it
        self.note_compiled(whole=compiled, parts=bool(compiled_parts(model)))
        if not self.functional:
            return
        if self.compiled:
            self.functions.setdefault(
                "functions in compiled code", "torch.compile leaves nothing to watch"
            )
            return
        if self._watch is None:
            self._watch = FunctionWatch(self._saw)
        self._watch.start()
        self._watch.stack.append(("", False))
        self._active = True
        self._thread = get_ident()

    @property
    def watching(self) -> bool:
        """Whether functions are watched now."""
        return self._active

    @property
    def idle(self) -> bool:
        """Whether functions are watched while no module but the model itself runs."""
        return self._active and self._watch is not None and len(self._watch.stack) <= 1

    def leave(self) -> None:
        """Stop watching functions, if this thread does."""
        if self._active and self._watch is not None and self._thread == get_ident():
            self._active = False
            self._watch.stop()

    def enter_module(self, name: str, sees: bool) -> None:
        """Note that a module begins to run; `sees`: its hook sees its functions' results."""
        if self._active and self._watch is not None:
            self._watch.stack.append((name, sees))

    def exit_module(self, name: str) -> None:
        """Note that a module has run."""
        if self._active and self._watch is not None:
            stack = self._watch.stack
            # A module that raised inside it, and was forgiven, never said that it ended.
            while len(stack) > 1 and stack.pop()[0] != name:
                pass

    # Layers.

    def layer_called(self, name: str, args: Any, output: Any) -> None:
        """Note whether a layer's output is its input, or lies in its input's memory."""
        if name in self.aliases:
            return
        inputs = [tensor for _, tensor in leaves(args) if why_not(tensor, self.place) is None]
        for path, tensor in leaves(output):
            if why_not(tensor, self.place) is not None or not tensor.numel():
                continue
            for given in inputs:
                if tensor is given or tensor.untyped_storage().data_ptr() == (
                    given.untyped_storage().data_ptr()
                ):
                    same = tensor is given or tensor.shape == given.shape
                    self.aliases[name + path] = "its input" if same else "a view of its input"
                    break

    # Compiled code.

    def note_compiled(self, *, whole: bool, parts: bool = False) -> None:
        """Note whether the forward that begins now is compiled, or parts of it are."""
        self._compiling = whole
        self.compiled = whole or parts

    def wrapper_called(self, name: str) -> None:
        """Note that compiled code was called, with hooks or without."""
        self._entered.add(name)

    def compiled_too_early(self, model: nn.Module, fired: Mapping[str, bool]) -> bool:
        """Return whether a compiled part of `model` ran without the hooks of its layers.

        Parameters
        ----------
        model : Module
        fired : mapping of str to bool
            Recorded module -> whether it was called.
        """
        parts = {name for name in compiled_parts(model) if name in self._entered}
        if self._compiling:
            parts.add("")
        for part in parts:
            inside = [was for name, was in fired.items() if _is_in(name, part)]
            if inside and not any(inside):
                return True
        return False

    def attributes(self, table: LayerTable) -> dict[str, Any]:
        """Return what the store is told."""
        return {
            "never_fired": [row.name for row in table.rows if not row.fired],
            "aliases": dict(self.aliases),
            "shared": {name: list(names) for name, names in self.shared.items()},
            "functions": {**self.functions, **table.late_functions},
            "seconds": {
                name: round(recorded.seconds, 6)
                for name, recorded in table.recorded.items()
                if recorded.seconds
            },
        }


def _is_in(name: str, part: str) -> bool:
    """Return whether a module lies in a part of the model; "" is the whole of it."""
    return not part or name == part or name.startswith(part + ".")
