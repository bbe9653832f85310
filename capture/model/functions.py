"""Activations that are function calls, which no module's hook can see.

The modules' code tells which there may be, without touching a forward. Where
the user asked for functions to be recorded, a function mode watches every
forward; not otherwise, because code that asks for one (torch's own attention)
then takes another path, with other rounding. A call is known by the module
whose code makes it and by its place there. May import torch.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode

__all__ = ["ACTIVATIONS", "FunctionWatch", "functions_in"]

#: Where torch calls a module's forward.
_CALL: Final = nn.Module._call_impl.__code__
_NAMES: Final = (
    "relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish glu sigmoid logsigmoid "
    "hardsigmoid hardswish hardtanh tanh tanhshrink hardshrink softshrink softplus softsign "
    "threshold softmax log_softmax softmin gumbel_softmax"
)

_KNOWN: Final = frozenset(_NAMES.split())

#: Function -> what it is called: those of torch.nn.functional, torch and Tensor.
ACTIVATIONS: Final[dict[Any, str]] = {
    found: name
    for name in _NAMES.split()
    for home in (nn.functional, torch, torch.Tensor)
    for spelling in (name, name + "_")
    if (found := getattr(home, spelling, None)) is not None
}


class FunctionWatch(TorchFunctionMode):
    """Tells of every call of an activation function while it is active.

    Parameters
    ----------
    called : callable
        ``(name, function's name, output)``.

    Attributes
    ----------
    stack : list of (str, bool)
        The modules that are running now, the innermost last: name, and whether
        its own hook sees what its functions return.
    """

    def __init__(self, called: Callable[[str, str, torch.Tensor], None]) -> None:
        super().__init__()
        self.stack: list[tuple[str, bool]] = []
        self._called = called
        self._on = False
        #: (module, places in its code) -> name of the call.
        self._sites: dict[tuple[object, ...], str] = {}
        self._taken: dict[str, int] = {}

    def start(self) -> None:
        """Begin to watch this thread."""
        self.stack.clear()
        self._on = True
        self.__enter__()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """End it."""
        self._on = False
        # One that the user's code left behind on top is not ours to take off.
        if _get_current_function_mode() is self:  # type: ignore[no-untyped-call]
            self.__exit__(None, None, None)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = ACTIVATIONS.get(func)
        if name is not None and self._on and isinstance(result, torch.Tensor):
            owner, seen = self.stack[-1] if self.stack else ("", False)
            if not seen:
                self._called(self._site(owner, name), name, result)
        return result

    def _site(self, owner: str, name: str) -> str:
        """Return a call's name: ``block.relu()``, the second there ``block.relu()[1]``."""
        key: list[object] = [owner, name]
        frame: FrameType | None = sys._getframe(2)
        # The lines that led from the module's call to the function tell calls apart.
        while frame is not None and frame.f_code is not _CALL:
            key += [frame.f_code, frame.f_lasti]
            frame = frame.f_back
        place = tuple(key)
        if place not in self._sites:
            plain = f"{owner}.{name}()" if owner else f"{name}()"
            nth = self._taken.get(plain, 0)
            self._taken[plain] = nth + 1
            self._sites[place] = f"{plain}[{nth}]" if nth else plain
        return self._sites[place]


def functions_in(module: nn.Module, known: dict[type, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the activation functions that a module's own code calls, as far as it tells.

    Read from the compiled methods of its class: ``F.relu(x)``, ``torch.relu(x)``,
    ``x.relu()`` and ``relu(x)``, but not ``self.relu(x)``, which is a module; and
    from functions that it keeps as attributes.

    Parameters
    ----------
    module : Module
    known : dict of type to tuple of str
        What is known of classes, added to here.

    Examples
    --------
    >>> functions_in(nn.TransformerEncoderLayer(4, 1), {}), functions_in(nn.ReLU(), {})
    (('relu',), ())
    """
    kind = type(module)
    if kind not in known:
        known[kind] = tuple(_called_by(kind))
    kept = [ACTIVATIONS[kept] for kept in vars(module).values() if _is_known(kept)]
    return tuple(dict.fromkeys([*kept, *known[kind]]))


def _called_by(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        if base.__module__.startswith("torch.") or base is object:
            return
        for method in vars(base).values():
            if isinstance(method, FunctionType):
                yield from _called(method.__code__, method.__globals__)


def _is_known(kept: object) -> bool:
    try:
        return kept in ACTIVATIONS
    except TypeError:  # not hashable
        return False


def _called(code: CodeType, names: Mapping[str, Any]) -> Iterator[str]:
    """Yield the activation functions that a method's code calls."""
    before: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname == "LOAD_GLOBAL" and _is_known(names.get(name)):
            yield ACTIVATIONS[names[name]]
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(name, str):
            of_self = before is not None and before.argval == "self"
            plain = name.removesuffix("_")
            if plain in _KNOWN and not of_self:
                yield plain
        if instruction.opname != "CACHE":
            before = instruction
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _called(inner, names)
