"""What every variant gives back while it watches. May import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

__all__ = ["NotHereError", "Place", "Watch", "hooked", "leaf_modules"]


class NotHereError(RuntimeError):
    """A variant cannot run here; its text is the row."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variant runs.

    Attributes
    ----------
    folder : Path
        All that it may write into.
    turns : int, default 1
        Variants that run in turn: its clock goes this much faster than its training.
    """

    folder: Path
    turns: int = 1


class Watch:
    """A variant at work; this one asks nothing of the loop."""

    def after_step(self, loss: Tensor) -> None:
        """Do what the variant's documentation puts at the end of a training step."""

    def catch_up(self) -> None:
        """Do now what was put off, as far as a training that goes on would soon do it."""

    def waited_seconds(self) -> float | None:
        """Return how long the training waited for the variant's writer, if it tells."""
        return None

    def remarks(self) -> tuple[str, ...]:
        """Return what the variant complains of."""
        return ()


def leaf_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold no other, with their names."""
    return [(name, m) for name, m in model.named_modules() if not list(m.children())]


@contextmanager
def hooked(model: nn.Module, hook_of: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    """Have a forward hook on every leaf module; `hook_of` makes one from the leaf's name."""
    handles = [m.register_forward_hook(hook_of(name)) for name, m in leaf_modules(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
