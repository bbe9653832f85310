"""The compiled kernel of a GPU: one launch for each activation.

CUDA C, compiled when the recording begins by NVRTC, which torch's CUDA wheels
bring along. Not Triton: its `tl.histogram` (3.7.1, sm_90) counts by 160 ballots
and 256 population counts for 16 elements, where this takes one addition in
shared memory each. May import torch and NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from actrace.capture.cuda.launch import Launch
from actrace.capture.cuda.reading import DeviceReading
from actrace.capture.kernels.slots import Shape
from actrace.capture.kernels.tables import bin_table, narrow_threshold
from actrace.store.axis import Axis

__all__ = ["ELEMENTS", "FusedPass", "Plan", "blocks_for", "copies_for", "plan", "source"]

#: dtype -> what the source calls it.
ELEMENTS: Final = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_BLOCK: Final = 256
_SHARED: Final = 40 * 1024
#: Elements that a block has at least, and that a histogram of its own is worth to a warp:
#: each block empties and adds up some 1,000 words a histogram, however little it reads.
_BLOCK_ELEMENTS: Final = 4096
_COPY_ELEMENTS: Final = 4096
#: How many launches are kept ready.
_READY: Final = 4096
_HALF: Final = """
__device__ inline float actrace_half(unsigned short half) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
  return x;
}
"""
#: What is laid by for CUDA graphs: samples of one call, streams that a graph is captured on.
_GRAPH_SAMPLES: Final = 1 << 14
_GRAPH_STREAMS: Final = 4
_ENTRY: Final = """
// A choice takes registers: four blocks side by side would spill 240 bytes a thread (sm_90).
extern "C" __global__ void __launch_bounds__(256, PART ? 3 : 4)
actrace_activation_pass(ACTRACE_PARAMETERS) {
  extern __shared__ unsigned histograms[];
  ACTRACE_RUN(ELEMENT, WIDTH, PART, histograms)
}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a tensor is cut up among the blocks of a launch.

    Attributes
    ----------
    rows, cols, sample_rows, samples, units, unit_is_row, direct
        See ``Matrix`` in ``activation_pass.cu``.
    width, tx : int
        Elements read at once, lanes side by side in a row.
    blocks : tuple of (int, int)
        Along the columns and along the rows.
    block_rows : int
        Rows of a block.
    """

    rows: int
    cols: int
    sample_rows: int
    samples: int
    units: int
    unit_is_row: bool
    direct: bool
    width: int
    tx: int
    blocks: tuple[int, int]
    block_rows: int


def plan(shape: Shape, *, aligned: bool, blocks: int, threads: int = _BLOCK) -> Plan:
    """Return how to read a tensor of at least one element.

    Parameters
    ----------
    shape : tuple of int
        (samples, outer, units, inner).
    aligned : bool
        Its first element lies where four can be read at once.
    blocks : int
        Blocks that keep the device busy.
    threads : int
        Of a block.
    """
    samples, outer, units, inner = shape
    unit_is_row = inner > 1
    if unit_is_row:
        rows, cols, sample_rows = samples * outer * units, inner, outer * units
    else:
        rows, cols, sample_rows = samples * outer, units, outer
    width = 4 if aligned and cols % 4 == 0 else 1
    vectors = cols // width
    tx = 1
    while tx < 32 and tx < vectors:
        tx *= 2
    across = 1 if unit_is_row else -(-vectors // tx)
    ty = threads // tx
    down = max(1, min(blocks // across, -(-rows // ty), 65_535))
    block_rows = -(-rows // (down * ty)) * ty
    down = -(-rows // block_rows)
    direct = sample_rows == 1 and across == 1
    return Plan(
        rows, cols, sample_rows, samples, units, unit_is_row, direct,
        width, tx, (across, down), block_rows,
    )  # fmt: skip


def blocks_for(n: int, most: int) -> int:
    """Return how many blocks to read `n` elements with.

    Examples
    --------
    >>> blocks_for(640, 1056), blocks_for(10**5, 1056), blocks_for(10**8, 1056)
    (1, 24, 1056)
    """
    return max(1, min(most, n // _BLOCK_ELEMENTS))


def copies_for(n: int, blocks: int, most: int) -> int:
    """Return how many histograms a block has where `blocks` read `n` elements.

    Examples
    --------
    >>> copies_for(640, 1, 8), copies_for(10**5, 24, 8), copies_for(10**8, 1056, 8)
    (1, 1, 8)
    """
    return max(1, min(most, n // blocks // _COPY_ELEMENTS))


def source() -> str:
    """Return the kernel's source without its entry."""
    return Path(__file__).with_name("activation_pass.cu").read_text(encoding="utf-8")


def cuda_source(element: int, width: int, part: bool = False) -> str:
    """Return the whole source for one dtype and one width; `part`: where a part may be read."""
    head = f"#define ELEMENT {element}\n#define WIDTH {width}\n#define PART {int(part)}\n"
    return head + _HALF + source() + _ENTRY


class FusedPass:
    """The compiled kernel, bound to an axis, a threshold and a device.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    device : torch.device
    reading : DeviceReading, optional
        What is read. Default: everything, always.
    """

    def __init__(
        self,
        axis: Axis,
        threshold: float,
        device: torch.device,
        reading: DeviceReading | None = None,
    ) -> None:
        table = bin_table(axis.edges)
        self._n_bins = axis.n_bins
        # A warp's histogram in shared memory each, or as many as there is room for.
        self._copies = min(_BLOCK // 32, _SHARED // (4 * (2 * axis.n_bins + 6)))
        self._threshold = int(narrow_threshold(threshold).view(np.int32))
        self._usable = table.plain and self._copies > 0 and threshold >= 0
        properties: Any = torch.cuda.get_device_properties(device)
        self._usable = self._usable and properties.major >= 8
        self._blocks = 8 * int(properties.multi_processor_count)
        self._device = device
        self._reading = reading
        with torch.inference_mode(False):
            self._packed = torch.from_numpy(table.packed.view(np.int32)).to(device)
        self._kernels: dict[tuple[torch.dtype, int], object] = {}
        #: What a launch is for -> it, and how many sums it needs scratch memory for.
        self._ready: dict[tuple[Any, ...], tuple[Launch, int]] = {}
        self._scratch: dict[tuple[int, bool], tuple[torch.Tensor, torch.Tensor]] = {}
        # Of a sample: its squares and, where a part is read, how many elements they are of.
        self._sums_each = 1 if reading is None else 2
        # A capture cannot take memory that outlives it, so graphs have theirs beforehand.
        self._spare = [
            self._new_scratch(_GRAPH_SAMPLES * self._sums_each) for _ in range(_GRAPH_STREAMS)
        ]

    def warm_up(self, dtype: torch.dtype) -> None:
        """Compile what `dtype` needs, if the kernel takes it."""
        if self._usable and dtype in ELEMENTS:
            for width in (1, 4):
                self._kernel(dtype, width)

    def add(
        self,
        tensor: torch.Tensor,
        shape: Shape,
        words: torch.Tensor,
        slot: torch.Tensor,
        layer_at: int,
        active_at: int,
        *,
        capturing: bool,
    ) -> bool:
        """Add a flat tensor as `PlainPass.add`; return False where it cannot.

        It cannot where the dtype or the axis is not one for it, nor, while a CUDA graph is
        captured, where it has more samples than there is memory laid by for.
        """
        if not self._usable or tensor.dtype not in ELEMENTS or not tensor.numel():
            return False
        x, dtype = tensor.data_ptr(), tensor.dtype
        aligned = x % (4 * tensor.element_size()) == 0
        key = (
            shape, dtype, aligned, layer_at, active_at,
            words.data_ptr(), slot.data_ptr(), words.shape[1],
        )  # fmt: skip
        ready = self._ready.get(key)
        if ready is None:
            p = plan(shape, aligned=aligned, blocks=blocks_for(tensor.numel(), self._blocks))
            if capturing and (dtype, p.width) not in self._kernels:
                return False
            if len(self._ready) >= _READY:
                self._ready.clear()
            ready = self._ready[key] = (
                self._launch(dtype, p, tensor.numel(), words, slot, layer_at, active_at),
                0 if p.direct else p.samples * self._sums_each,
            )
        launch, sums = ready
        stream: Any = torch.cuda.current_stream(self._device)
        handle = int(stream.cuda_stream)
        scratch = self._scratch_of(handle, sums, capturing)
        if scratch is None:
            return False
        by_sample, ticket = scratch[0].data_ptr(), scratch[1].data_ptr()
        # A launch goes to the device that is current, which need not be the tensor's.
        if torch.cuda.current_device() == self._device.index:
            launch(x, by_sample, ticket, handle)
        else:
            with torch.cuda.device(self._device):
                launch(x, by_sample, ticket, handle)
        return True

    def _launch(
        self,
        dtype: torch.dtype,
        p: Plan,
        n: int,
        words: torch.Tensor,
        slot: torch.Tensor,
        layer_at: int,
        active_at: int,
    ) -> Launch:
        copies = copies_for(n, p.blocks[0] * p.blocks[1], self._copies)
        return Launch(
            self._kernel(dtype, p.width), p.blocks, _BLOCK, 4 * copies * (2 * self._n_bins + 6),
            packed=self._packed.data_ptr(), words=words.data_ptr(), slot=slot.data_ptr(),
            sampling=0 if self._reading is None else self._reading.words.data_ptr(),
            row_words=words.shape[1], layer_at=layer_at, active_at=active_at,
            rows=p.rows, cols=p.cols, sample_rows=p.sample_rows, samples=p.samples,
            block_rows=p.block_rows, units=p.units, unit_is_row=p.unit_is_row, direct=p.direct,
            n_bins=self._n_bins, threshold=self._threshold, tx=p.tx, copies=copies,
        )  # fmt: skip

    def _scratch_of(
        self, stream: int, n: int, capturing: bool
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        # Launches on one stream follow each other, so they can share it. A graph has other
        # memory than what runs beside it, and keeps it.
        key = stream, capturing
        scratch = self._scratch.get(key)
        if scratch is None and capturing and self._spare:
            scratch = self._scratch[key] = self._spare.pop()
        if scratch is None or scratch[0].numel() < n:
            if capturing:
                return None
            scratch = self._scratch[key] = self._new_scratch(n)
        return scratch

    def _new_scratch(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode(False):
            size = 1 << max(12, (n - 1).bit_length())
            sums = torch.zeros(size, dtype=torch.float64, device=self._device)
            return sums, torch.zeros(1, dtype=torch.int32, device=self._device)

    def _kernel(self, dtype: torch.dtype, width: int) -> object:
        key = dtype, width
        if key not in self._kernels:
            self._kernels[key] = _compiled(dtype, width, self._reading is not None, self._device)
        return self._kernels[key]


@cache
def _compiled(dtype: torch.dtype, width: int, part: bool, device: torch.device) -> object:
    """Return the kernel, compiled once in a process."""
    # Private to torch: where it is gone, `DeviceCapture` goes on without the kernel.
    build: Any = torch.cuda._compile_kernel
    with torch.cuda.device(device):
        kernel: object = build(cuda_source(ELEMENTS[dtype], width, part), "actrace_activation_pass")
    return kernel
