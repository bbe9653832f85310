"""The kernels by name, and which one a recorder takes.

A kernel is a class with `Kernel`'s methods; a new one joins the registry here.
Numba and torch are imported only by the kernel that needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol, cast

from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import Shape, Slot
from actrace.errors import RecorderError
from actrace.store.axis import Axis

__all__ = ["KERNELS", "Kernel", "Plan", "make_kernel"]


class Plan(Protocol):
    """How a tensor of one dtype and shape is added to one slot.

    ``plan.run(tensor.data_ptr(), plan.address, row)`` adds a flat CPU tensor in
    memory order to row `row` of the slot's arrays (0 where they have no rows). It
    must have the plan's dtype and number of elements, which is not checked. One
    thread at a time may run the plans of one row.
    """

    @property
    def run(self) -> Callable[[int, int, int], None]:
        """What adds a tensor; plans of one dtype share it where it is compiled."""

    @property
    def address(self) -> int:
        """What `run` has to be told of the plan."""


class Kernel(Protocol):
    """What a recorder asks of a kernel."""

    name: str

    #: What plans read that were bound without a sampling of their own.
    sampling: Sampling

    def add(self, tensor: Any, shape: Shape, slot: Slot) -> None:
        """Add all of a flat tensor in memory order, read as `shape`, to `slot`."""

    def bind(self, dtype: Any, shape: Shape, slot: Slot, sampling: Sampling | None = None) -> Plan:
        """Return how tensors of one dtype and shape are added to one slot.

        The slot's arrays may have a row dimension in front; nothing has to be
        looked up again when a batch goes to the next row.
        """

    def warm_up(self, *dtypes: Any) -> None:
        """Get ready for tensors of these dtypes, so that no batch has to wait for it."""


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
