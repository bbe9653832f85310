"""Taking the layers' hooks off while batches are left out, so that they cost nothing.

A module with a hook is called on torch's slow path, whatever the hook does. Off
the model, hooks cost nothing; but code that `torch.compile` traces meanwhile
would know nothing of them, for ever and in silence. So they are put back before
anything at all is compiled, and stay on from then on. May import torch.
"""

from __future__ import annotations

import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from torch.utils.hooks import RemovableHandle

from actrace.capture.compiled import is_watched

__all__ = ["HooksAtRest"]

_Hooks = OrderedDict[int, Callable[..., Any]]


class HooksAtRest:
    """The hooks of a recording that may be taken off between two recorded batches.

    Parameters
    ----------
    handles : iterable of RemovableHandle
        Of forward hooks and forward pre-hooks without keyword arguments.
    """

    def __init__(self, handles: Iterable[RemovableHandle]) -> None:
        #: They stay on whatever comes.
        self._fixed = False
        self._ours: dict[int, tuple[Callable[[], _Hooks | None], set[int]]] = {}
        for handle in handles:
            hooks = handle.hooks_dict_ref()
            if hooks is not None:
                where: Callable[[], _Hooks | None] = handle.hooks_dict_ref
                self._ours.setdefault(id(hooks), (where, set()))[1].add(handle.id)
        self._off: list[tuple[Callable[[], _Hooks | None], _Hooks]] = []
        self._at_rest = False
        self._watching: Callable[..., None] | None = None

    @property
    def at_rest(self) -> bool:
        """Whether the hooks are off now."""
        return self._at_rest

    def take_off(self) -> None:
        """Take the hooks off, where nothing can be compiled without their being put back."""
        if self._at_rest or self._fixed or is_watched() or not self._watch():
            return
        self._at_rest = True
        for where, ours in self._ours.values():
            hooks = where()
            # Beside somebody else's hooks ours stay: their order tells what each sees.
            if hooks and ours.issuperset(hooks):
                taken = OrderedDict(hooks)
                self._off.append((where, taken))
                hooks.clear()

    def put_on(self) -> None:
        """Put the hooks back, before any that were hung meanwhile."""
        if not self._at_rest:
            return
        while self._off:
            where, taken = self._off.pop()
            hooks = where()
            if hooks is not None:
                since = OrderedDict(hooks)
                hooks.clear()
                hooks.update(taken)
                hooks.update(since)
        self._at_rest = False

    def end(self) -> None:
        """Forget the hooks: they are removed now."""
        self._fixed = True
        self._off.clear()
        self._at_rest = False
        watching, self._watching = self._watching, None
        if watching is not None:
            callbacks = _start_callbacks()
            if callbacks is not None and watching in callbacks:
                callbacks.remove(watching)

    def _watch(self) -> bool:
        """Return whether the compiler will say so before it compiles anything."""
        callbacks = _start_callbacks()
        if callbacks is None or _compiled_so_far():
            return False
        if self._watching is None:
            self._watching = _Alarm(self)
            callbacks.append(self._watching)
        return True

    def _compiling(self) -> None:
        self._fixed = True
        self.put_on()


class _Alarm:
    """What the compiler calls before it compiles; keeps no recording alive."""

    __slots__ = ("_hooks",)

    def __init__(self, hooks: HooksAtRest) -> None:
        self._hooks = weakref.ref(hooks)

    def __call__(self, *_: object) -> None:
        hooks = self._hooks()
        if hooks is not None:
            hooks._compiling()


_CALLBACKS: Final = "torch._dynamo.callback"
_FRAMES: Final = "torch._dynamo.convert_frame"


def _start_callbacks() -> list[Callable[..., None]] | None:
    """Return what the compiler calls before it begins, None where it is not imported.

    Not imported here: that takes a second, and no code can be compiled before.
    Training loops have it, because optimizers import it.
    """
    module = sys.modules.get(_CALLBACKS)
    handler = getattr(module, "callback_handler", None)
    found: list[Callable[..., None]] | None = getattr(handler, "start_callbacks", None)
    return found


def _compiled_so_far() -> bool:
    """Return whether anything was compiled in this process: its graphs may hold our hooks."""
    return bool(getattr(sys.modules.get(_FRAMES), "FRAME_COUNTER", True))
