"""The hook that hangs on a parameter, and how it gets in front of others.

PyTorch carries such hooks neither into a deep copy nor into a pickle of a
model, so copies are silent. May import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from actrace.capture.gradients.parameters import Gradients, Watched

__all__ = ["ParameterHook", "hang"]


class ParameterHook:
    """Post-accumulate hook of one parameter: its gradient has arrived."""

    __slots__ = ("gradients", "watched")

    def __init__(self, gradients: Gradients, watched: Watched) -> None:
        self.gradients = gradients
        self.watched = watched

    def __call__(self, parameter: nn.Parameter) -> None:
        """Mark the parameter."""
        if not torch.compiler.is_compiling():
            self.gradients.arrived(self.watched, parameter)


def hang(
    gradients: Gradients, watched: Watched, parameter: nn.Parameter
) -> torch.utils.hooks.RemovableHandle:
    """Register a `ParameterHook` in front of the parameter's other hooks.

    One of those may step the optimizer and drop the gradient.
    """
    register: Any = parameter.register_post_accumulate_grad_hook
    handle: torch.utils.hooks.RemovableHandle = register(ParameterHook(gradients, watched))
    hooks = parameter._post_accumulate_grad_hooks
    if hooks is not None and len(hooks) > 1:
        # The engine calls them in the order in which the dictionary was filled;
        # OrderedDict.move_to_end would not change that.
        ours = hooks.pop(handle.id)
        before = list(hooks.items())
        hooks.clear()
        hooks[handle.id] = ours
        hooks.update(before)
    return handle
