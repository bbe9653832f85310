"""The one operator by which hooks record inside compiled code.

`torch.compile` traces a hook once and never calls it again. What it keeps is
this operator: it mutates a buffer, so it is neither dropped nor reordered, and
when the compiled code runs it hands the tensor, as it lies in memory there, to
the hook that placed it. The hook is told by a number in a tensor, not by a
Python number, so that a graph made for one model still serves another. Where
the operator stands in the graph is the matter of `graph_order`.

Hooks of a module at the border of compiled code are called by Python while the
compiler watches. They must not be compiled on their own (eight kinds of input
in a process, and `fullgraph=True` would raise), nor may what they call:
`not_alone` and `eagerly` see to that. May import torch.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import torch

from actrace.capture.graph_order import let_readers_pass

__all__ = ["Observer", "eagerly", "enter", "is_watched", "new_buffer", "not_alone", "observe"]


class Observer(Protocol):
    """A hook that compiled code may call back."""

    def observed(self, value: torch.Tensor, beside: torch.Tensor | None, note: str) -> None:
        """Take what the compiled code computed; must not raise."""


#: Number -> hook. An operator is known by name and takes only plain values, so
#: this registry is the one way from it to an object. Weak: it keeps no hook alive.
_observers: Final[weakref.WeakValueDictionary[int, Observer]] = weakref.WeakValueDictionary()
_numbers: Final = itertools.count(1)

# `torch.library.custom_op` would do the same at ten times the cost of a call:
# 16 against 1.6 microseconds on the machine it was tried on.
_library: Final = torch.library.Library("actrace", "DEF")  # type: ignore[no-untyped-call]
# Without the tag inductor copies every tensor to the layout that eager code would
# have given it: where it computes a convolution's layers channels-last, a transposing
# copy of each. `flat_view` reads any dense layout. Inductor's cache on disk knows an
# operator by its name alone: one that is tagged otherwise needs another name.
_library.define(  # type: ignore[no-untyped-call]
    "hand_over(Tensor(a!) order, Tensor hook, Tensor value, Tensor? beside, str note) -> ()",
    tags=(torch.Tag.flexible_layout,),
)


def _hand_over(
    order: torch.Tensor,  # noqa: ARG001 - mutated in name, so that calls keep their order
    hook: torch.Tensor,
    value: torch.Tensor,
    beside: torch.Tensor | None,
    note: str,
) -> None:
    observer = _observers.get(int(hook))
    if observer is not None:
        observer.observed(value, beside, note)


def _hand_over_fake(*_arguments: object) -> None:
    """Return nothing, like the operator; called while a graph with it is traced."""
    # A graph in another order costs more and is as right, so a fault may pass.
    with contextlib.suppress(Exception):
        let_readers_pass(torch.ops.actrace.hand_over.default)


_library.impl("hand_over", _hand_over, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("actrace::hand_over", _hand_over_fake, lib=_library)


def new_buffer() -> torch.Tensor:
    """Return the buffer that keeps one recorder's observations in order, shape (1,)."""
    # What is made in inference mode could not be written outside it.
    with torch.inference_mode(False):
        return torch.zeros(1, dtype=torch.uint8, device="cpu")


def enter(observer: Observer) -> torch.Tensor:
    """Return the number of an observer, int64, shape (), for `observe`."""
    number = next(_numbers)
    _observers[number] = observer
    with torch.inference_mode(False):
        return torch.tensor(number, dtype=torch.int64, device="cpu")


def observe(
    order: torch.Tensor,
    hook: torch.Tensor,
    value: torch.Tensor,
    note: str,
    beside: torch.Tensor | None = None,
) -> None:
    """Let compiled code hand `value` to a hook each time that it runs.

    Called while a hook is being traced. A program that `torch.export` makes gets
    nothing of ours.

    Parameters
    ----------
    order : Tensor
        The recorder's `new_buffer`.
    hook : Tensor
        From `enter`.
    value : Tensor
    note : str
        Told to the hook with it.
    beside : Tensor, optional
        A second one.
    """
    if not torch.compiler.is_exporting():
        torch.ops.actrace.hand_over(
            order, hook, value.detach(), None if beside is None else beside.detach(), note
        )


_frames: Final[Any] = torch._C._dynamo.eval_frame
F = TypeVar("F", bound=Callable[..., Any])


def not_alone(function: F) -> F:
    """Let `function` be traced into the code that calls it, but never compiled on its own."""
    code = function.__code__
    if hasattr(_frames, "set_code_exec_strategy"):
        action = _frames._FrameAction
        strategy = _frames._FrameExecStrategy(action.SKIP, action.DEFAULT)
        _frames.set_code_exec_strategy(code, strategy)
    else:  # torch before 2.8
        _frames.skip_code(code)
    return function


@not_alone
def is_watched() -> bool:
    """Return whether `torch.compile` would compile a function that is called now."""
    return _frames.get_eval_frame_callback() not in (None, False)


@not_alone
def eagerly(function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function` where `torch.compile` does not look."""
    before = _frames.set_eval_frame(None)
    try:
        function(*arguments)
    finally:
        _frames.set_eval_frame(before)
