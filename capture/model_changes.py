"""What became of a model's modules since the recorder's hooks were hung on them.

A module put in another's place, or added, has no hooks: it must be said, or its
rows would be empty without a word. Keeps no module alive. May import torch.
"""

from __future__ import annotations

import weakref

from torch import nn

__all__ = ["ModelChanges"]

_SHOWN = 5


class ModelChanges:
    """The modules of a model as they were, to compare with what they are.

    Parameters
    ----------
    model : Module
        Kept by weak reference.
    recorded : dict of str to Module
        Those that are recorded, by name; kept by weak reference.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> changes = ModelChanges(model, {"0": model[0], "1": model[1]})
    >>> model[1] = nn.Tanh()
    >>> changes.found()
    "layers replaced or removed since record(): '1' (ReLU, now Tanh)"
    """

    def __init__(self, model: nn.Module, recorded: dict[str, nn.Module]) -> None:
        self._model = weakref.ref(model)
        self._recorded = {name: (weakref.ref(m), type(m).__name__) for name, m in recorded.items()}
        self._known = weakref.WeakSet(model.modules())

    def found(self) -> str | None:
        """Return what changed, None if nothing did."""
        model = self._model()
        if model is None:
            return None
        now = {id(module) for module in model.modules()}
        gone = [name for name, (ref, _) in self._recorded.items() if id(ref()) not in now]
        words = []
        if gone:
            parts = [f"{name!r} ({self._recorded[name][1]}{_now(model, name)})" for name in gone]
            words.append(f"layers replaced or removed since record(): {_listed(parts)}")
        replaced = set(gone)
        added = [
            repr(name)
            for name, module in model.named_modules()
            if module not in self._known
            and name not in replaced
            and next(module.children(), None) is None
            # These give weights, not activations.
            and "parametrizations" not in name.split(".")
        ]
        if added:
            words.append(f"layers added since record(): {_listed(added)}")
        return "; ".join(words) or None


def _now(model: nn.Module, name: str) -> str:
    try:
        return f", now {type(model.get_submodule(name)).__name__}"
    except AttributeError:
        return ", now gone"


def _listed(parts: list[str]) -> str:
    more = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
