"""Where in a compiler's graph the recorder's operator stands.

The compiler keeps for the backward pass what it would be dear to compute again.
It takes the work after an operator that it cannot fuse as dear, so an operator
right behind each layer makes it keep more, and other, tensors: in a model of
convolutions the masks of ReLUs, which took most of what recording cost. One
that stands behind the work that reads the same tensor changes nothing. May
import torch.
"""

from __future__ import annotations

import sys
from operator import getitem
from typing import Any, Final

import torch

__all__ = ["let_readers_pass"]

#: In the meta of a call that was moved, and is not moved again.
_MOVED: Final = "actrace moved"
_ALIASES: Final = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


def let_readers_pass(operator: Any) -> None:
    """Move the operator's last call behind all that was traced since.

    Called while the next call is traced, so each call comes to stand right
    before the next: the layer that reads the same tensor lies between. The graph
    is one without mutations, in which a call may move to anywhere behind its
    inputs and before its first user.

    Parameters
    ----------
    operator : OpOverload
        Mutates its first argument, and so stands in the graph as a call of
        `auto_functionalized_v2` or its predecessor.
    """
    # Nobody says whose graph is being traced but this name of torch's own. Without
    # it nothing moves: recording costs more, and is right.
    module: Any = sys.modules.get("torch.fx.experimental.proxy_tensor")
    tracer = getattr(module, "_CURRENT_MAKE_FX_TRACER", None)
    graph = getattr(getattr(tracer, "fx_tracer", None), "graph", None)
    if graph is None or torch._C._current_graph_task_id() != -1:
        return  # not traced, or it is the backward that is
    calls = _last_calls(graph, operator)
    moved = [node for call in calls for node in (call, *call.users)]
    if any(user not in moved for node in moved for user in node.users):
        return
    end = next(iter(reversed(graph.nodes)))
    for node in moved:
        end.append(node)
        end = node
    for call in calls:
        call.meta[_MOVED] = True


def _last_calls(graph: Any, operator: Any) -> list[Any]:
    """Return the calls of `operator` that no work follows but the last traced, in order."""
    calls: list[Any] = []
    worked = False
    for node in reversed(graph.nodes):
        if _is_call(node, operator):
            if not worked or _MOVED in node.meta:
                break
            calls.append(node)
        elif node.target not in _ALIASES and not (
            node.target is getitem and _is_call(node.args[0], operator)
        ):
            if calls:
                break
            worked = True
    return calls[::-1]


def _is_call(node: Any, operator: Any) -> bool:
    return bool(node.args) and node.args[0] is operator
