"""Which modules of a model are recorded.

By name pattern, type or predicate; every leaf module by default. May import
torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from actrace.capture.model.wrappers import inner, is_leaf, type_name, walk
from actrace.errors import RecorderError

__all__ = [
    "LayerChoice",
    "find_module",
    "module_names",
    "other_names",
    "root_name",
    "select_modules",
]

LayerChoice: TypeAlias = (
    str
    | type[nn.Module]
    | Callable[[str, nn.Module], bool]
    | Iterable["str | type[nn.Module]"]
    | None
)

_SHOWN = 12


def root_name(model: nn.Module) -> str:
    """Return the name of the model's own row: that of its class."""
    return type_name(inner(model))


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module by its first name, the model itself by its class's.

    Names are those of the plain model, see `wrappers`.
    """
    first: dict[int, str] = {}
    named: dict[str, nn.Module] = {}
    for name, module in walk(model):
        if id(module) not in first:
            first[id(module)] = name
            named[name or root_name(model)] = module
    return named


def other_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the other names of every module that has several, by its first."""
    names: dict[int, list[str]] = {}
    for name, module in walk(model):
        names.setdefault(id(module), []).append(name or root_name(model))
    return {first: tuple(rest) for first, *rest in names.values() if rest}


def select_modules(
    model: nn.Module, layers: LayerChoice, exclude: Iterable[nn.Module] = ()
) -> dict[str, nn.Module]:
    """Return the modules to record by name, in the model's order.

    Parameters
    ----------
    model : Module
    layers : str, type, callable or iterable of str and types, optional
        Glob patterns of names (``"layer?.conv*"``), module types, or a predicate
        ``(name, module) -> bool``. None takes every leaf module.
    exclude : iterable of Module
        Never taken by default: the criterion, if it is part of the model.

    Raises
    ------
    RecorderError
        A pattern or type that matches no module, or no module at all.
    """
    named = module_names(model)
    if layers is None:
        left_out = {id(module) for module in exclude}
        chosen = {
            name: module
            for name, module in named.items()
            if is_leaf(module) and id(module) not in left_out
        }
    elif isinstance(layers, (str, type)):
        chosen = _by_rules(named, [layers])
    elif isinstance(layers, Iterable):
        chosen = _by_rules(named, list(layers))
    elif callable(layers):
        chosen = {name: module for name, module in named.items() if layers(name, module)}
    else:
        raise RecorderError(
            f"layers must be name patterns, module types or a predicate (name, module) -> bool, "
            f"got {layers!r}"
        )
    if not chosen:
        raise RecorderError(
            f"no layer of {root_name(model)} is selected by layers={layers!r}; "
            f"it has {_listing(named)}"
        )
    return chosen


def _by_rules(
    named: dict[str, nn.Module], rules: list[str | type[nn.Module]]
) -> dict[str, nn.Module]:
    taken: set[str] = set()
    for rule in rules:
        if isinstance(rule, str):
            hits = {name for name in named if fnmatchcase(name, rule)}
            if not hits:
                raise RecorderError(
                    f"the pattern {rule!r} matches no layer; {_nearest(rule, named)}"
                )
        elif isinstance(rule, type) and issubclass(rule, nn.Module):
            hits = {name for name, module in named.items() if isinstance(module, rule)}
            if not hits:
                kinds = sorted({type_name(module) for module in named.values()})
                raise RecorderError(
                    f"the model has no {rule.__name__}; its modules are {', '.join(kinds)}"
                )
        else:
            raise RecorderError(
                f"layers takes name patterns and module types, got {rule!r} among them"
            )
        taken |= hits
    return {name: module for name, module in named.items() if name in taken}


def _nearest(pattern: str, named: dict[str, nn.Module]) -> str:
    close = difflib.get_close_matches(pattern, named, n=_SHOWN, cutoff=0.5)
    rest = [name for name in named if name not in close]
    return f"the model has {_listing([*close, *rest])}"


def _listing(names: Iterable[str]) -> str:
    every = [repr(name) for name in names]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return (", ".join(every[:_SHOWN]) or "no modules") + more


def find_module(model: nn.Module, name: str) -> tuple[str, nn.Module, str]:
    """Return (module's name, module, path of the leaf) for ``"enc"`` or ``"enc[0]"``.

    Raises
    ------
    RecorderError
        No module is so named.
    """
    named = module_names(model)
    for stop in range(len(name), 0, -1):
        head, tail = name[:stop], name[stop:]
        if head in named and (not tail or tail[0] in ".[#"):
            return head, named[head], tail
    raise RecorderError(f"output={name!r} is no module of the model; {_nearest(name, named)}")
