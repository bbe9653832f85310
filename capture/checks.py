"""What a user asked for, checked before anything is touched.

Each check says what was got, what was expected and what to do. May import
torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from actrace.capture.sampler import SAMPLES
from actrace.errors import RecorderError
from actrace.store.axis import Axis
from actrace.store.rows import LayerInfo
from actrace.store.schema import check_name
from actrace.store.writer import RunWriter

__all__ = [
    "as_number",
    "as_tensor",
    "check_criterion",
    "check_model",
    "check_same_run",
    "check_settings",
    "checked_config",
    "checked_name",
    "checked_tags",
]


def check_model(model: object) -> None:
    """Refuse what cannot take hooks.

    Raises
    ------
    RecorderError
        Not a Module, or a ScriptModule.
    """
    if not isinstance(model, nn.Module):
        raise RecorderError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; "
            "wrap a function in a Module to record it"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise RecorderError(
            "a ScriptModule refuses hooks; record the Python model it was made from, "
            "and script it after recorder.close()"
        )


def check_criterion(criterion: object) -> None:
    """Refuse a criterion that cannot take hooks.

    Raises
    ------
    RecorderError
        A function, or a ScriptModule.
    """
    if criterion is None:
        return
    if not isinstance(criterion, nn.Module) or isinstance(criterion, torch.jit.ScriptModule):
        name = getattr(criterion, "__name__", type(criterion).__name__)
        raise RecorderError(
            f"criterion must be a torch.nn.Module that takes hooks, got {name}; use its module "
            "(nn.CrossEntropyLoss() for F.cross_entropy), or leave it out and call "
            "recorder.log(target=..., loss=...) in the loop"
        )


def check_settings(
    *,
    axis: object,
    functional: object,
    split_calls: object,
    active_threshold: object,
    flush_seconds: object,
    sample: object,
    sample_stride: object,
    sample_cost: object,
    durability: object,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse settings of `record` that mean nothing.

    Raises
    ------
    RecorderError
        Names the first of them.
    """
    if axis is not None and not isinstance(axis, Axis):
        raise RecorderError(
            f"axis must be an Asinh, Linear or Edges, got {axis!r}; "
            "for example axis=actrace.Linear(-10, 10, 200)"
        )
    for name, value in (("functional", functional), ("split_calls", split_calls)):
        if not isinstance(value, bool):
            raise RecorderError(f"{name} must be True or False, got {value!r}")
    for name, value in (("active_threshold", active_threshold), ("flush_seconds", flush_seconds)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise RecorderError(f"{name} must be a number from 0, got {value!r}")
    if sample not in SAMPLES:
        known = ", ".join(map(repr, SAMPLES))
        raise RecorderError(f"sample must be one of {known}, got {sample!r}")
    stride, share = sample_stride, sample_cost
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise RecorderError(f"sample_stride must be a whole number from 1, got {stride!r}")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise RecorderError(f"sample_cost must be a share between 0 and 1, got {share!r}")
    if durability not in ("process", "power"):
        raise RecorderError(f"durability must be 'process' or 'power', got {durability!r}")
    if resume and overwrite:
        raise RecorderError("resume=True and overwrite=True exclude each other; choose one")


def checked_config(config: object) -> dict[str, Any]:
    """Return a config that JSON can hold.

    Raises
    ------
    RecorderError
        Not a mapping, or a value that JSON cannot hold.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise RecorderError(
            f"config must be a mapping, got {type(config).__name__}; for example vars(args)"
        )
    for key, value in config.items():
        try:
            json.dumps({key: value})
        except (TypeError, ValueError) as error:
            raise RecorderError(
                f"config[{key!r}] cannot be kept as JSON: {error}; give text or numbers instead"
            ) from None
    return dict(config)


def checked_tags(tags: object) -> list[str]:
    """Return tags as a list of str.

    Raises
    ------
    RecorderError
        Anything else.
    """
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise RecorderError(f"tags must be a list of str, got {tags!r}")
    if not all(isinstance(tag, str) for tag in tags):
        raise RecorderError(f"tags must be a list of str, got {list(tags)!r}")
    return list(tags)


def checked_name(name: str) -> str:
    """Return a name that a logged number may have.

    Raises
    ------
    RecorderError
        It cannot stand in the store.
    """
    try:
        return check_name(name, "logged variable")
    except ValueError as error:
        raise RecorderError(str(error)) from None


def as_number(name: str, value: Any) -> float:
    """Return a logged value as a float.

    Raises
    ------
    RecorderError
        No single number, or one on a device that would have to be waited for.
    """
    if isinstance(value, torch.Tensor):
        if not value.is_cpu:
            raise RecorderError(
                f"{name} is a tensor on {value.device}; log a number, so that the device is not "
                "waited for behind your back: float(value)"
            )
        if value.numel() != 1:
            raise RecorderError(f"{name} must be one number, got shape {tuple(value.shape)}")
        value = value.detach()
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RecorderError(f"{name} must be a number, got {value!r}") from None


def as_tensor(target: Any) -> torch.Tensor:
    """Return a logged target as a tensor.

    Raises
    ------
    RecorderError
        No tensor can be made of it.
    """
    if isinstance(target, torch.Tensor):
        return target
    try:
        return torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecorderError(f"target must be a tensor or numbers, got {target!r}") from error


def check_same_run(
    writer: RunWriter,
    axis: Axis | None,
    active_threshold: float,
    chosen: dict[str, nn.Module],
    *,
    functional: bool,
    split_calls: bool,
    sample: str,
) -> None:
    """Refuse to go on with a run that was recorded otherwise.

    Raises
    ------
    RecorderError
        Another axis, threshold or set of layers.
    """
    if axis is not None and axis != writer.axis:
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded on {writer.axis!r}, got {axis!r}; "
            "leave axis out to go on with the run's own"
        )
    threshold = writer.attributes.get("active_threshold")
    if threshold is not None and float(threshold) != float(active_threshold):
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded with active_threshold={threshold!r}, "
            f"got {active_threshold!r}"
        )
    was = (writer.attributes.get("sample") or {}).get("mode", "exact")
    if was != sample:
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded with sample={was!r}, got {sample!r}; "
            "how it is read stays the same in a run"
        )
    layers = writer.layers or ()
    functions = any(layer.type.endswith("()") for layer in layers)
    if layers and functions and not functional:
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded with functional=True; pass it again"
        )
    if any("#" in layer.name for layer in layers) and not split_calls:
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded with split_calls=True; pass it again"
        )
    layers = tuple(layer for layer in layers if not layer.type.endswith("()"))
    owners = {layer.name: _owner(layer, chosen) for layer in layers}
    missing = [name for name, owner in owners.items() if owner is None]
    added = sorted(set(chosen) - set(owners.values())) if layers else []
    if missing or added:
        parts = [
            f"{what} {', '.join(map(repr, some[:5]))}"
            for what, some in (("without", missing), ("with", added))
            if some
        ]
        raise RecorderError(
            f"run {str(writer.path)!r} was recorded with other layers: now {' and '.join(parts)}; "
            "choose the same layers, or record into a new run"
        )


def _owner(layer: LayerInfo, chosen: dict[str, nn.Module]) -> str | None:
    """Return the module that a row of the run belongs to."""
    for stop in range(len(layer.name), 0, -1):
        head, tail = layer.name[:stop], layer.name[stop:]
        if head in chosen and (not tail or tail[0] in ".[#"):
            return head
    return None
