"""Labels and loss of models that compute their own loss, as those of Transformers do.

May import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["labels_and_loss"]


def labels_and_loss(
    model: nn.Module, kwargs: Mapping[str, Any], output: Any
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return (labels, loss) of a forward, each None where there is none to tell.

    Labels are given only where each sample has its own: logits (N, C) with
    labels (N,) or (N, C). A language model's are shifted against its logits, and
    are left alone.

    Parameters
    ----------
    model : Module
    kwargs : mapping
        What the model was called with.
    output : ModelOutput, mapping or other
    """
    labels = kwargs.get("labels")
    if not isinstance(output, Mapping):
        return None, None
    loss, logits = output.get("loss"), output.get("logits")
    if not isinstance(labels, torch.Tensor):
        return None, loss
    by_sample = (
        isinstance(logits, torch.Tensor)
        and logits.ndim == 2
        and (labels.shape == logits.shape or labels.shape == logits.shape[:1])
    )
    return (labels if by_sample else None), _mean(model, kwargs, labels, loss)


def _mean(
    model: nn.Module, kwargs: Mapping[str, Any], labels: torch.Tensor, loss: Any
) -> torch.Tensor | None:
    """Return the loss as a mean over the items of this batch.

    The Trainer lets a model divide by the items of all batches that it
    accumulates, so that their losses add up to the mean (Trainer,
    `_get_num_items_in_batch`).
    """
    whole = kwargs.get("num_items_in_batch")
    if not isinstance(loss, torch.Tensor) or whole is None:
        return loss if isinstance(loss, torch.Tensor) else None
    kind = type(model).__name__
    shifted = kind.endswith(("ForCausalLM", "LMHeadModel")) and not getattr(
        getattr(model, "config", None), "is_encoder_decoder", False
    )
    items = (labels[..., 1:] if shifted else labels).ne(-100).sum()
    # Losses that are means already (regression, several labels) ignore `whole`.
    if labels.dtype.is_floating_point:
        return loss
    # Without asking whether there are items: on a device, that would wait for it.
    mean: torch.Tensor = loss.detach() * torch.where(items > 0, whole / items.clamp(min=1), 1)
    return mean
