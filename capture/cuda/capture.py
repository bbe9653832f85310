"""What a recording does for layers whose activations are on a GPU.

The few calls that a session makes. In the first batch, before the layers are known,
each has a row of memory of its own; from `lay_out` on they share the ring's. A
kernel that fails is given up for plain operations, and said so once; where the
device itself fails, it is given up for good. While a CUDA graph is captured nothing
may be asked of it that waits or looks: layers are added to the graph, so that each
replay counts them into the batch that is open then, and nothing else is done.
No step changes a mode of torch's, which a signal could leave changed: what is
counted is detached instead. May import torch and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.cuda.device import CudaDevice, Device
from actrace.capture.cuda.early import EarlyRow
from actrace.capture.cuda.fused import FusedPass
from actrace.capture.cuda.layout import RowLayout
from actrace.capture.cuda.plain import PlainPass
from actrace.capture.cuda.reading import DeviceReading
from actrace.capture.cuda.ring import DeviceRing, rows_that_fit
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import Shape, Slot
from actrace.store.axis import Axis

__all__ = ["MAX_HOST_BYTES", "DeviceCapture"]

T = TypeVar("T")
#: Bytes of an output or target that are copied to the host, as `outputs.MAX_KEPT_BYTES`.
MAX_HOST_BYTES: Final = 16 * 2**20
#: Kinds of outputs that are read without a look at what they are.
_MOST_KNOWN: Final = 4096


class DeviceCapture(Generic[T]):
    """Counts the activations of one device; hands them back by batch, in order.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    device : Device
    warn : callable
        Says something to the user, once.
    fused : FusedPass or None
        The compiled kernel, None for plain torch operations alone.
    n_rows : int, optional
        Of the ring. Default: as many as fit, see `ring.rows_that_fit`.
    reading : DeviceReading, optional
        What is read of the tensors. Default: everything, always.

    Attributes
    ----------
    device : torch.device
        Tensors that lie there are counted.
    off : str or None
        Why it was given up.
    ring : DeviceRing or None
        None before the layers are known.
    captured, loss_captured : bool
        A CUDA graph counts layers, or the loss, when it is replayed.
    """

    def __init__(
        self,
        axis: Axis,
        threshold: float,
        device: Device,
        warn: Callable[[str], None],
        fused: FusedPass | None = None,
        n_rows: int | None = None,
        reading: DeviceReading | None = None,
    ) -> None:
        self.device = device.device
        self.warn = warn
        self.off: str | None = None
        self._device = device
        self._n_bins = axis.n_bins
        self._reading = reading
        self._partial = reading is not None and reading.partial
        self._plain = PlainPass(axis, threshold, device.device, reading)
        self._fused = fused
        self._n_rows = n_rows
        self._void: set[int] = set()
        self._early: dict[int, EarlyRow] = {}
        self._early_loss: torch.Tensor | None = None
        self.ring: DeviceRing[T] | None = None
        self.captured = self.loss_captured = False
        #: Layer, and what its output is like -> how it is read.
        self._known: dict[tuple[int, torch.Size, tuple[int, ...], torch.dtype], Shape] = {}

    @classmethod
    def on(
        cls,
        device: torch.device,
        axis: Axis,
        threshold: float,
        warn: Callable[[str], None],
        sampling: Sampling | None = None,
        *,
        partial: bool = False,
    ) -> DeviceCapture[T]:
        """Return one for a GPU, with the compiled kernel where it can be had.

        `sampling` and `partial` as `DeviceReading` has them; without, everything is read.
        """
        reading = None if sampling is None else DeviceReading(sampling, partial, device)
        fused: FusedPass | None = None
        try:
            fused = FusedPass(axis, threshold, device, reading)
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                fused.warm_up(dtype)
        except Exception as error:
            fused = None
            warn(_given_up(error))
        return cls(axis, threshold, CudaDevice(device), warn, fused, reading=reading)

    @property
    def place(self) -> torch.device | None:
        """Where tensors may lie besides the CPU, None once the device is given up."""
        return None if self.off else self.device

    def takes(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor lies here, so that it is counted here."""
        return tensor.device == self.device and self.off is None

    def capturing(self) -> bool:
        """Return whether a CUDA graph is being captured."""
        return self.off is None and self._device.capturing()

    def give_up(self, error: Exception) -> None:
        """Ask nothing more of the device."""
        if self.off is None:
            self.off = f"{type(error).__name__}: {error}"
            self.warn(
                f"recording on {self.device} was given up ({self.off}); its tensors are no longer "
                "recorded, and batches that had not come from there are lost"
            )

    def words(self) -> str:
        """Return what the report says of it."""
        return f"{self.device}, given up: {self.off}" if self.off else str(self.device)

    def begin(self) -> None:
        """Begin a batch."""
        self._void.clear()
        if self._reading is not None:
            self._reading.follow()
        if self.ring is not None:
            self.ring.begin()
        else:
            self.forget()

    def rest(self) -> None:
        """End the open batch's forward: what a CUDA graph counts from now on is none of it."""
        if self.ring is not None:
            self.ring.rest()

    def add(self, at: int, tensor: torch.Tensor, shape: Shape) -> None:
        """Add a call of a layer to the open batch.

        Parameters
        ----------
        at : int
            Number of the layer: in the first batch any that is its own, then its
            place in `lay_out`.
        tensor : Tensor, shape (n,), detached, in memory order, as `tensors.flat_view` returns it
        shape : tuple of int
            (samples, outer, units, inner). Units are counted if they are as many
            as in one of the layer's calls in the first batch.
        """
        units = shape[2]
        if self.ring is None:
            row = self._early.get(at)
            if row is None:
                row = self._early[at] = EarlyRow(
                    self._n_bins, units, self._device.device, partial=self._partial
                )
            if row.layout.place(0, units) < 0:
                row.widen(units)
            layout, words, slot, place = row.layout, row.words, row.zero, 0
        else:
            layout, words, slot, place = self.ring.layout, self.ring.words, self.ring.slot, at
        start = place * layout.stride
        self._add(tensor, shape, words, slot, start, layout.place(place, units))

    def learn(self, at: int, tensor: torch.Tensor, shape: Shape) -> None:
        """Know how to read outputs of a layer like this one, which is in memory order."""
        if self.ring is not None and len(self._known) < _MOST_KNOWN:
            self._known[at, tensor.shape, tensor.stride(), tensor.dtype] = shape

    def add_again(self, at: int, tensor: torch.Tensor) -> bool:
        """Add a call of a layer if it is like one before; return whether it was."""
        ring, fused = self.ring, self._fused
        if (
            fused is None
            or ring is None
            or type(tensor) is not torch.Tensor
            or tensor.layout is not torch.strided
            or not self.takes(tensor)
            or tensor.is_neg()
        ):
            return False
        shape = self._known.get((at, tensor.shape, tensor.stride(), tensor.dtype))
        if shape is None or self._device.capturing():
            return False
        layout = ring.layout
        start, active = at * layout.stride, layout.place(at, shape[2])
        try:
            return fused.add(tensor, shape, ring.words, ring.slot, start, active, capturing=False)
        except RuntimeError:
            return False  # it has no memory (a functorch transform), or the long way says more

    def loss(self, value: torch.Tensor) -> None:
        """Let the open batch have this loss, its mean if it has several elements."""
        number = value.detach().to(torch.float64).mean().view(1)
        ring = self.ring
        if ring is None:
            self._early_loss = number
        else:
            layout, floats = ring.layout, ring.words.view(torch.float64)
            floats[ring.row, layout.loss : layout.mark].copy_(number)

    def end(self, batch: T | None) -> None:
        """End the batch, known as `batch` from now on; None drops it."""
        if self.ring is not None:
            self.ring.end(batch)

    def forget(self, at: int | None = None) -> None:
        """Take back what the open batch counted of a layer, or the first one of all."""
        if at is None:
            self._early.clear()
            self._early_loss = None
        elif self.ring is None:
            self._early.pop(at, None)
        else:
            self._void.add(at)

    @property
    def void(self) -> frozenset[int]:
        """Places of the layers that the open batch took back: what their row says is not so."""
        return frozenset(self._void)

    def lay_out(
        self, units: Sequence[int], numbers: Sequence[int], most: int | None = None
    ) -> None:
        """Make the ring; a batch that is open goes on in it.

        Parameters
        ----------
        units : sequence of int
            Units of each layer, 0 for one whose activity is not counted.
        numbers : sequence of int
            What each layer was called by in `add` so far.
        most : int, optional
            Rows that the ring may have.
        """
        early = [self._early.get(number) for number in numbers]
        others = [
            (at, other) for at, row in enumerate(early) if row for _, other in row.layout.others
        ]
        layout = RowLayout.of(self._n_bins, units, others, partial=self._partial)
        n_rows = self._n_rows or rows_that_fit(layout.n_words)
        n_rows = n_rows if most is None else max(2, min(n_rows, most))
        ring: DeviceRing[T] = DeviceRing(layout, self._device, n_rows)
        ring.begin()
        whole = ring.words.index_select(0, ring.slot).view(-1)
        for at, row in enumerate(early):
            if row is None:
                continue
            words = row.words.view(-1)
            whole[at * layout.stride : (at + 1) * layout.stride] = words[: layout.stride]
            for n in (row.units, *(n for _, n in row.layout.others)):
                start, own = layout.place(at, n), row.layout.place(0, n)
                if start >= 0:
                    whole[start : start + n] = words[own : own + n]
        if self._early_loss is not None:
            whole.view(torch.float64)[layout.loss : layout.loss + 1] = self._early_loss
        ring.words.index_copy_(0, ring.slot, whole.view(1, -1))
        self.ring = ring
        self.forget()

    def first(self) -> tuple[T, NDArray[np.int64]] | None:
        """Return the oldest batch that has come, with its row, None if none has; never waits."""
        return None if self.ring is None else self.ring.first()

    def pop(self) -> None:
        """Take the batch that `first` returned off."""
        if self.ring is not None:
            self.ring.pop()

    def read(self, row: NDArray[np.int64], slots: Sequence[Slot]) -> float:
        """Put a batch's row into empty slots; return its loss, NaN where none was seen."""
        if self.ring is None:
            return float("nan")
        self.ring.layout.read(row, slots)
        return self.ring.layout.loss_of(row)

    def peek(self) -> NDArray[np.int64] | None:
        """Return the row of the open batch as it is by now, None without one; waits for it."""
        return None if self.ring is None else self.ring.peek()

    def strays(self) -> NDArray[np.int64] | None:
        """Return the spare row, None without a ring; waits for it."""
        return None if self.ring is None or self.off else self.ring.strays()

    @property
    def memory(self) -> tuple[object, ...]:
        """What launches read and write besides the tensors that are counted."""
        ring = self.ring
        return (self._plain, self._fused, self._reading, ring and ring.words, ring and ring.slot)

    def fetch(self) -> None:
        """Begin to fetch every batch that has ended."""
        if self.ring is not None:
            self.ring.fetch()

    def flush(self) -> None:
        """Wait until every batch that ended has come."""
        if self.ring is not None:
            self.ring.fetch_all()

    @property
    def waited_seconds(self) -> float:
        """Seconds that batches waited for the device."""
        return 0.0 if self.ring is None else self.ring.waited_seconds

    def host_copy(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return a copy on the host, None if it is too large; whole once its batch has come."""
        if tensor.numel() * tensor.element_size() > MAX_HOST_BYTES:
            return None
        return self._device.copy(tensor.detach())

    def _add(
        self,
        tensor: torch.Tensor,
        shape: Shape,
        words: torch.Tensor,
        slot: torch.Tensor,
        layer_at: int,
        active_at: int,
    ) -> None:
        if self._fused is not None:
            try:
                capturing = self._device.capturing()
                if self._fused.add(
                    tensor, shape, words, slot, layer_at, active_at, capturing=capturing
                ):
                    return
            except Exception as error:
                self._fused = None
                self.warn(_given_up(error))
        self._plain.add(tensor, shape, words, slot, layer_at, active_at)


def _given_up(error: Exception) -> str:
    return (
        f"the compiled CUDA kernel cannot be used ({type(error).__name__}: {error}); activations "
        "on the GPU are counted by plain torch operations, which is slower"
    )
