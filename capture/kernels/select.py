"""The kernels by name, and which one a recorder takes.

A kernel is a class with `Kernel`'s methods; a new one joins the registry here.
Numba and torch are imported only by the kernel that needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol, cast

from actrace.capture.kernels.slots import Shape, Slot
from actrace.errors import RecorderError
from actrace.store.axis import Axis

__all__ = ["KERNELS", "Kernel", "make_kernel"]


class Kernel(Protocol):
    """What a recorder asks of a kernel."""

    name: str

    def add(self, tensor: Any, shape: Shape, slot: Slot) -> None:
        """Add a flat tensor in memory order, read as `shape`, to `slot`."""

    def warm_up(self, dtype: Any) -> None:
        """Get ready for tensors of `dtype`, so that no batch has to wait for it."""


#: Name -> (module, class there).
KERNELS: Final = {
    "numba": ("actrace.capture.kernels.fused", "FusedKernel"),
    "reference": ("actrace.capture.kernels.reference", "ReferenceKernel"),
    "torch": ("actrace.capture.kernels.torch_blocks", "TorchKernel"),
}


def make_kernel(name: str | None, axis: Axis, threshold: float) -> Kernel:
    """Return the kernel called `name`, bound to `axis` and `threshold`.

    Parameters
    ----------
    name : str or None
        A name of `KERNELS`; None takes ``"numba"`` where it can be imported,
        otherwise ``"torch"``.

    Raises
    ------
    RecorderError
        No kernel has this name.
    """
    if name is None:
        name = "numba" if find_spec("numba") is not None else "torch"
    if name not in KERNELS:
        raise RecorderError(
            f"there is no kernel {name!r}; expected one of {', '.join(sorted(KERNELS))}, "
            "or None to choose the fastest that is installed"
        )
    module, attribute = KERNELS[name]
    build = cast("Callable[[Axis, float], Kernel]", getattr(import_module(module), attribute))
    return build(axis, threshold)
