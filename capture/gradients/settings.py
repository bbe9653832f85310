"""What a user asked for about gradients: checked, and made ready.

May import torch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from actrace.capture.batches import Session
from actrace.capture.gradients.names import parameter_names
from actrace.capture.gradients.parameters import Gradients
from actrace.capture.kernels.select import make_kernel
from actrace.errors import RecorderError
from actrace.store.gradients import GRADIENT_AXIS
from actrace.store.writer import RunWriter

__all__ = ["GradientChoice", "check_gradients", "check_same_parameters", "record_gradients"]

GradientChoice: TypeAlias = bool | Literal["outputs"]


def check_gradients(model: nn.Module, gradients: object, scaler: object) -> None:
    """Refuse settings of `record` about gradients that mean nothing.

    Raises
    ------
    RecorderError
        Another word than ``"outputs"``, no scaler, or a model without parameters.
    """
    if not isinstance(gradients, bool) and gradients != "outputs":
        raise RecorderError(
            f"gradients must be True, False or 'outputs', got {gradients!r}; "
            "'outputs' records the gradients of the layers' outputs besides"
        )
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise RecorderError(
            f"scaler must be the loop's torch.amp.GradScaler, got {type(scaler).__name__}"
        )
    if gradients and not parameter_names(model):
        raise RecorderError(
            f"gradients={gradients!r} was asked for and {type(model).__name__} has no parameter "
            "that could have one; leave it out"
        )


def check_same_parameters(writer: RunWriter, model: nn.Module, gradients: GradientChoice) -> None:
    """Refuse to go on with a run that has the gradients of other parameters.

    Raises
    ------
    RecorderError
        Names or shapes differ, or whether gradients are sharded over ranks.
    """
    known = writer.gradients
    if not gradients or known is None or not known.parameters:
        return
    had = {p.name: p.shape for p in known.parameters}
    now = {
        name: had.get(name) if isinstance(p, UninitializedParameter) else tuple(p.shape)
        for name, p in parameter_names(model).items()
    }
    sharded = any(hasattr(p, "to_local") for p in model.parameters())
    if known.sharded != sharded:
        states = ("whole", "sharded")
        raise RecorderError(
            f"run {str(writer.path)!r} has {states[known.sharded]} gradients and the model's are "
            f"{states[sharded]} now; resume with the model wrapped as it was, or record into a "
            "new run"
        )
    if had != now:
        odd = [name for name in {**had, **now} if had.get(name) != now.get(name)]
        raise RecorderError(
            f"run {str(writer.path)!r} has the gradients of other parameters: "
            f"{', '.join(map(repr, odd[:5]))} differ; resume with the same model, or record into "
            "a new run"
        )


def record_gradients(
    session: Session,
    model: nn.Module,
    gradients: GradientChoice,
    scaler: torch.amp.GradScaler | None,
    *,
    kernel: str,
    threshold: float,
) -> None:
    """Let a session record gradients from now on, if they are asked for."""
    if not gradients:
        return
    ready = make_kernel(kernel, GRADIENT_AXIS, threshold)
    session.gradients = Gradients(
        session, model, ready, scaler=scaler, outputs=gradients == "outputs"
    )
    session.gradients.watch_trainable()
