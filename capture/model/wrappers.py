"""The model behind what torch wraps around it: one canonical name for a layer.

`torch.compile`, DistributedDataParallel, checkpoint wrappers and others put a
module around a module; parametrizations hang modules below one, and FSDP swaps
its class. None of that is a layer. May import torch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Final

from torch import nn
from torch.nn.utils import parametrize

__all__ = [
    "children_of",
    "compiled_parts",
    "compiled_wrappers",
    "inner",
    "is_leaf",
    "root_of",
    "type_name",
    "walk",
]

#: Class of a wrapper -> where it keeps the module that it wraps. By name, because
#: importing these classes would cost every training that uses none of them.
_WRAPPERS: Final = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
}
_COMPILED: Final = "OptimizedModule"
_PARAMETRIZATIONS: Final = "parametrizations"


def inner(module: nn.Module) -> nn.Module:
    """Return the module inside all wrappers, `module` itself if there are none.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> inner(nn.DataParallel(layer)) is layer
    True
    """
    while True:
        place = _WRAPPERS.get(type(module).__name__)
        wrapped = None if place is None else module._modules.get(place)
        if wrapped is None:
            return module
        module = wrapped


def root_of(model: nn.Module) -> nn.Module:
    """Return the module whose forward is a batch.

    The wrapped one, so that calling it with and without its wrapper is recorded;
    but DataParallel itself, as it calls copies of the module it wraps.
    """
    while not isinstance(model, nn.DataParallel):
        place = _WRAPPERS.get(type(model).__name__)
        wrapped = None if place is None else model._modules.get(place)
        if wrapped is None:
            break
        model = wrapped
    return model


def children_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, child) of a module, wrappers and parametrizations looked through."""
    parametrized = parametrize.is_parametrized(module)
    for name, child in inner(module)._modules.items():
        if child is not None and not (parametrized and name == _PARAMETRIZATIONS):
            yield name, inner(child)


def is_leaf(module: nn.Module) -> bool:
    """Return whether a module has no children that are layers.

    Examples
    --------
    >>> from torch.nn.utils.parametrizations import weight_norm
    >>> is_leaf(weight_norm(nn.Linear(2, 2)))
    True
    """
    return next(children_of(module), None) is None


def walk(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, module) for the model (named "") and all below, repeats included.

    Names are those of the plain model, whatever wraps its parts. A module met
    again is yielded under its other name, and not descended into. A model that
    has a `named_modules` of its own is believed.
    """
    root = inner(model)
    if type(root).named_modules is not nn.Module.named_modules:
        yield from root.named_modules(remove_duplicate=False)
    else:
        yield from _walk(root, "", set())


def _walk(module: nn.Module, name: str, met: set[int]) -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    if id(module) in met:
        return
    met.add(id(module))
    for part, child in children_of(module):
        yield from _walk(child, f"{name}.{part}" if name else part, met)


def compiled_parts(model: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a model that `torch.compile` was given, by name.

    Their wrapper where it made one, the module itself where ``module.compile()``
    did without. The model as a whole is not among them.
    """
    parts: dict[str, nn.Module] = {}
    for name, module in walk(model):
        for part, child in inner(module)._modules.items():
            while child is not None:
                below = f"{name}.{part}" if name else part
                if type(child).__name__ == _COMPILED or child._compiled_call_impl is not None:
                    parts[below] = child
                place = _WRAPPERS.get(type(child).__name__)
                child = None if place is None else child._modules.get(place)
    return parts


def compiled_wrappers(model: nn.Module) -> list[nn.Module]:
    """Return the modules that `torch.compile` made around `model` as a whole."""
    if "torch._dynamo.eval_frame" not in sys.modules:
        return []
    root = root_of(model)
    return [
        found
        for found in gc.get_objects()
        if type(found).__name__ == _COMPILED and root_of(found) is root
    ]


def type_name(module: nn.Module) -> str:
    """Return the class that a module was written as.

    Examples
    --------
    >>> from torch.nn.utils.parametrizations import weight_norm
    >>> type(weight_norm(nn.Linear(2, 2))).__name__, type_name(weight_norm(nn.Linear(2, 2)))
    ('ParametrizedLinear', 'Linear')
    """
    for kind in type(module).__mro__:
        made = kind.__name__
        # Both make a class on the fly: `ParametrizedLinear`, `FSDPLinear`.
        by_parametrize = made.startswith("Parametrized") and parametrize.is_parametrized(module)
        by_fsdp = made.startswith("FSDP") and any(b.__name__ == "FSDPModule" for b in kind.__mro__)
        if not by_parametrize and not by_fsdp:
            return made
    return type(module).__name__
