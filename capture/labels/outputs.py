"""Which layer is the model's output, and its value while labels are wanted.

May import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.model.wrappers import is_leaf
from actrace.capture.tensors import leaves, why_not

__all__ = ["MAX_KEPT_BYTES", "KeptOutput", "OutputWatch", "main_tensor"]

#: An output larger than this is not copied.
MAX_KEPT_BYTES: Final = 16 * 2**20


def main_tensor(output: Any) -> tuple[str, torch.Tensor] | None:
    """Return (path, tensor) of what a model's output is about.

    The tensor itself; of several, the one called ``logits``, or else the first
    with a batch dimension that holds real numbers.
    """
    if isinstance(output, torch.Tensor):
        return "", output
    found = list(leaves(output))
    for path, tensor in found:
        if path.rsplit(".", 1)[-1] == "logits":
            return path, tensor
    for path, tensor in found:
        if tensor.ndim > 0 and tensor.dtype.is_floating_point:
            return path, tensor
    return None


@dataclass(slots=True)
class KeptOutput:
    """A copy of the output, and where the original lay while it lived.

    Attributes
    ----------
    value : Tensor or None
        Detached copy; None where it was too large.
    pointer, n_bytes : int
        Memory of the original.
    place : device or None
        The device that the original is on, if not the CPU; then the copy is whole only
        once its batch has come from there.
    """

    value: torch.Tensor | None
    pointer: int
    n_bytes: int
    place: torch.device | None = None

    @classmethod
    def of(
        cls, tensor: torch.Tensor, device: DeviceCapture[Any] | None = None
    ) -> KeptOutput | None:
        """Return a copy of `tensor`, None if it cannot be read."""
        if why_not(tensor, None if device is None else device.place) is not None:
            return None
        n_bytes = tensor.numel() * tensor.element_size()
        if device is not None and device.takes(tensor):
            return cls(device.host_copy(tensor), tensor.data_ptr(), n_bytes, device.device)
        value = tensor.detach().clone() if n_bytes <= MAX_KEPT_BYTES else None
        return cls(value, tensor.data_ptr(), n_bytes)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Return whether `tensor` is a view into the original's memory."""
        return (
            why_not(tensor, self.place) is None
            and self.pointer <= tensor.data_ptr()
            and tensor.data_ptr() < self.pointer + max(self.n_bytes, 1)
        )

    def seen_as(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the copy as `tensor` views the original, None if it does not or just as it is."""
        value = self.value
        if value is None or (
            tensor.data_ptr() == self.pointer
            and tensor.shape == value.shape
            and tensor.stride() == value.stride()
        ):
            return None  # or as it is
        if value.dtype is not tensor.dtype or not self.holds(tensor):
            return None
        start = (tensor.data_ptr() - self.pointer) // tensor.element_size()
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        if tensor.numel() and start + reach >= value.numel():
            return None
        return value.as_strided(tensor.shape, tensor.stride(), start)


@dataclass(slots=True)
class OutputWatch:
    """Notes who returned what in one forward, to tell whose output the model's is.

    Keeps addresses and shapes, never a tensor: memory that was freed meanwhile may be
    another tensor's by now, so the storage is kept by a weak reference that tells.

    Attributes
    ----------
    place : device or None
        Where tensors may lie besides the CPU.
    """

    place: torch.device | None = None
    seen: list[tuple[str, bool, int, torch.Size, StorageWeakRef]] = field(default_factory=list)

    def saw(self, name: str, module: nn.Module | None, output: Any) -> None:
        """Note a module's output, or a function's."""
        leaf = module is None or is_leaf(module)
        for path, tensor in leaves(output):
            if why_not(tensor, self.place) is None:
                storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
                self.seen.append((name + path, leaf, tensor.data_ptr(), tensor.shape, storage))

    def owner(self, tensor: torch.Tensor, recorded: frozenset[str]) -> str | None:
        """Return the layer that `tensor` came from: a recorded one, or else a leaf."""
        if why_not(tensor, self.place) is not None:
            return None
        at = [
            seen
            for seen in reversed(self.seen)
            if seen[2] == tensor.data_ptr() and not seen[4].expired()  # type: ignore[no-untyped-call]
        ]
        # As it is, or viewed in another shape (a squeeze, a flatten) on its way out.
        same = [seen for seen in at if seen[3] == tensor.shape]
        same = same or [seen for seen in at if seen[3].numel() == tensor.numel()]
        for name, *_ in same:
            if name in recorded:
                return name
        for name, leaf, *_ in same:
            if leaf:
                return name
        return same[0][0] if same else None
