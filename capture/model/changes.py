"""What became of a model's modules since the recorder's hooks were hung on them.

A module put in another's place, or added, has no hooks: it must be said, or its
rows would be empty without a word. Keeps no module alive. May import torch.
"""

from __future__ import annotations

import weakref

from torch import nn

from actrace.capture.model.wrappers import is_leaf, type_name, walk

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
        self._recorded = {name: (weakref.ref(m), type_name(m)) for name, m in recorded.items()}
        self._known = weakref.WeakSet(module for _, module in walk(model))

    def found(self) -> str | None:
        """Return what changed, None if nothing did."""
        model = self._model()
        if model is None:
            return None
        now = list(walk(model))
        there = {id(module) for _, module in now}
        gone = [name for name, (ref, _) in self._recorded.items() if id(ref()) not in there]
        words = []
        if gone:
            instead = {name: type_name(module) for name, module in now}
            parts = [
                f"{name!r} ({self._recorded[name][1]}, now {instead.get(name, 'gone')})"
                for name in gone
            ]
            words.append(f"layers replaced or removed since record(): {_listed(parts)}")
        added = [
            repr(name)
            for name, module in now
            if module not in self._known and name not in gone and is_leaf(module)
        ]
        if added:
            words.append(f"layers added since record(): {_listed(added)}")
        return "; ".join(words) or None


def _listed(parts: list[str]) -> str:
    more = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
