"""Which hook hangs where: on the model, its layers, the criterion, compiled wrappers.

The recorder takes them all off again; those inside the model may rest meanwhile.
May import torch.
"""

from __future__ import annotations

import torch
from torch import nn

from actrace.capture.batches import Session
from actrace.capture.hooks import (
    BeginHook,
    CriterionHook,
    EndHook,
    EnterHook,
    ExitHook,
    LayerHook,
    LeaveHook,
    OutputHook,
    ProbeHook,
    WrapperHook,
)
from actrace.capture.hooks_at_rest import HooksAtRest
from actrace.capture.model.selection import module_names, other_names
from actrace.capture.model.wrappers import compiled_parts, compiled_wrappers, is_leaf
from actrace.capture.tensors import unit_kind

__all__ = ["attach", "watch_compiled"]


def attach(
    model: nn.Module,
    session: Session,
    chosen: dict[str, nn.Module],
    criterion: nn.Module | None,
    named_output: tuple[str, nn.Module, str] | None,
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hang every hook of a recording on; return what takes them off.

    Parameters
    ----------
    model : Module
        The root, whose forward is a batch.
    session : Session
    chosen : dict of str to Module
        What is recorded, by name.
    criterion : Module or None
    named_output : tuple of (str, Module, str) or None
        The output layer that the user named: its name, module and leaf path.
    """
    handles = [model.register_forward_pre_hook(BeginHook(session), prepend=True, with_kwargs=True)]
    inside: list[torch.utils.hooks.RemovableHandle] = []
    own_schedule = {recorded.name for recorded, _ in session.table.scheduled}
    for name, module in chosen.items():
        hook = LayerHook(
            session,
            session.table.recorded[name],
            module,
            gradients=session.gradients is not None and session.gradients.outputs is not None,
        )
        handle = module.register_forward_hook(hook)
        (handles if module is model else inside).append(handle)
        if name in own_schedule and module is not model:
            session.thinned[name] = HooksAtRest([handle])
    if named_output is not None:
        _, module, leaf = named_output
        kept = module.register_forward_hook(OutputHook(session, leaf))
        (handles if module is model else inside).append(kept)
    named = module_names(model)
    for name, module in named.items():
        if name not in chosen and module is not model and module is not criterion:
            probe = ProbeHook(session, name, unit_kind(module))
            session.probes.append(module.register_forward_hook(probe))
        if session.coverage.functional and module is not model:
            # A leaf of torch's own returns what its function returned: its hook sees it.
            sees = is_leaf(module) and type(module).__module__.startswith("torch.")
            inside.append(module.register_forward_pre_hook(EnterHook(session, name, sees)))
            inside.append(module.register_forward_hook(ExitHook(session, name)))
    handles.append(model.register_forward_hook(EndHook(session)))
    if session.coverage.functional:
        handles.append(model.register_forward_hook(LeaveHook(session), always_call=True))
    if criterion is not None:
        handles.append(criterion.register_forward_hook(CriterionHook(session), with_kwargs=True))
    session.coverage.look_for_functions(model)
    session.coverage.shared = {
        name: others for name, others in other_names(model).items() if name in chosen
    }
    session.inside = HooksAtRest((*inside, *session.probes))
    return handles + inside


def watch_compiled(
    given: nn.Module, model: nn.Module, session: Session
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hang hooks on what `torch.compile` made, to tell a recorder that came too late."""
    wrappers = {id(found): found for found in compiled_wrappers(given)}
    handles = [
        found.register_forward_hook(WrapperHook(session, None)) for found in wrappers.values()
    ]
    for name, part in compiled_parts(model).items():
        handles.append(part.register_forward_hook(WrapperHook(session, name)))
    if handles:
        session.inside = None
        session.thinned.clear()
    return handles
