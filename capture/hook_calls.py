"""What torch takes to call a hook, which no clock inside of the hook can see.

A module with a hook is called on torch's slow path. May import torch.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import Final

from torch import nn

__all__ = ["hook_call_seconds"]

_CALLS: Final = 200
_ROUNDS: Final = 7


@cache
def hook_call_seconds() -> float:
    """Return the seconds that a call of a module takes longer for a hook that does nothing.

    Measured once in a process, in some milliseconds: the least of several rounds, as
    whatever else the machine does only adds to it.
    """
    plain, hooked = nn.Identity(), nn.Identity()
    hooked.register_forward_hook(_nothing)
    return max(0.0, _least(hooked) - _least(plain))


def _nothing(_module: nn.Module, _args: object, _output: object) -> None:
    return None


def _least(module: nn.Module) -> float:
    found = []
    for _ in range(_ROUNDS):
        began = perf_counter()
        for _ in range(_CALLS):
            module(None)
        found.append((perf_counter() - began) / _CALLS)
    return min(found)
