"""A CUDA graph on the CPU: what torch does while it is captured is done again by a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tests.capture.cuda.doubles import HandDevice
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

#: Operators that wait for a device, which a capture cannot hold.
_WAITING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


def _plain(value: object) -> object:
    return value.as_subclass(torch.Tensor) if isinstance(value, torch.Tensor) else value


class HandGraph(TorchDispatchMode):
    """Keeps operators with the memory they were captured with, and does them when replayed.

    As a capture does nothing, whatever an operator wrote to is put back at its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., Any], Any, Any, list[Any]]] = []
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        assert name not in _WAITING, f"{name} waits for the device while a graph is captured"
        args, kwargs = tree_map(_plain, args), tree_map(_plain, kwargs or {})
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(value)
        out = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, tree_flatten(out)[0]))
        return out

    def _keep(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._before:
            whole = torch.empty(0, dtype=torch.uint8).set_(storage)
            self._before[storage.data_ptr()] = whole, whole.clone()

    def put_back(self) -> None:
        for whole, before in self._before.values():
            whole.copy_(before)

    def replay(self) -> None:
        for func, args, kwargs, kept in self._calls:
            for into, value in zip(kept, tree_flatten(func(*args, **kwargs))[0], strict=True):
                if isinstance(value, torch.Tensor) and value.data_ptr() != into.data_ptr():
                    into.detach().copy_(value)


@contextmanager
def captured(device: HandDevice) -> Iterator[HandGraph]:
    """Capture what runs inside of a ``with``, as `torch.cuda.graph` does."""
    graph = HandGraph()
    device.captures = True
    try:
        with graph:
            yield graph
    finally:
        device.captures = False
        graph.put_back()
