"""The parameters of a model by their canonical names.

May import torch.
"""

from __future__ import annotations

import re
from typing import Final

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["parameter_names"]

#: Parts that wrappers put into a name.
_WRAPPERS: Final = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
#: What `torch.nn.utils.parametrize` makes of the name `weight`.
_PARAMETRIZED: Final = re.compile(r"parametrizations\.([^.]+)(?:\.original$)?")


def parameter_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every parameter that can have a gradient, by its first name.

    Examples
    --------
    >>> list(parameter_names(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))))
    ['0.weight', '0.bias', '1.weight']
    """
    wrapped = isinstance(model, (DataParallel, DistributedDataParallel))
    found: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if not (parameter.is_floating_point() or parameter.is_complex()):
            continue
        short = _canonical(name.removeprefix("module.") if wrapped else name)
        found[name if short in found else short] = parameter
    return found


def _canonical(name: str) -> str:
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return _PARAMETRIZED.sub(r"\1", ".".join(parts))
