"""The kernel as a recording launches it, through a driver of the tests' own that runs it."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.capture.cuda.agreement import (
    AXES,
    SHAPES,
    assert_same,
    hard_values,
    reference,
    tame_values,
)

from actrace.capture.cuda import fused, launch
from actrace.capture.cuda.fused import FusedPass, blocks_for, copies_for
from actrace.capture.cuda.layout import RowLayout
from actrace.capture.kernels.slots import Slot

AXIS = AXES["asinh"]
CPU = torch.device("cpu")
Shape = tuple[int, int, int, int]


def compiled(source: str, name: str) -> SimpleNamespace:
    """Return what torch would, whose handle tells the stand-in which kernel it is."""
    assert name in source
    element, width = (
        int(re.search(rf"#define {word} (\d)", source)[1])  # type: ignore[index]
        for word in ("ELEMENT", "WIDTH")
    )
    return SimpleNamespace(func=ctypes.c_void_p(10 * element + width))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, kernel_library: ctypes.CDLL) -> Iterator[FusedPass]:
    properties = SimpleNamespace(major=9, multi_processor_count=4)
    stream = SimpleNamespace(cuda_stream=77)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "_compile_kernel", compiled)
    monkeypatch.setattr(torch.cuda._utils, "_get_gpu_runtime_library", lambda: kernel_library)
    launch._driver.cache_clear()
    fused._compiled.cache_clear()
    yield FusedPass(AXIS, 1e-8, CPU)
    launch._driver.cache_clear()
    fused._compiled.cache_clear()


class Rows:
    """Three rows of a device, of which the middle one is open."""

    def __init__(self, units: int) -> None:
        self.layout = RowLayout.of(AXIS.n_bins, [units])
        self.words = torch.from_numpy(self.layout.blank()).repeat(3, 1)
        self.slot = torch.tensor([1])

    def add(
        self, kernel: FusedPass, tensor: torch.Tensor, shape: Shape, *, capturing: bool = False
    ) -> bool:
        start = self.layout.place(0, shape[2])
        return kernel.add(tensor, shape, self.words, self.slot, 0, start, capturing=capturing)

    def read(self) -> Slot:
        slot = Slot.empty(AXIS.n_bins, self.layout.units[0])
        self.layout.read(self.words[1].numpy(), [slot])
        for other in (0, 2):
            np.testing.assert_array_equal(self.words[other], self.layout.blank())
        return slot


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (300, 1, 12, 5), (40, 2, 300, 1)], ids=str)
def test_what_is_launched_counts_what_the_reference_does(
    kernel: FusedPass, shape: Shape, dtype: torch.dtype
) -> None:
    tensor = hard_values(AXIS, int(np.prod(shape)), 1).to(dtype)
    rows = Rows(shape[2])
    assert rows.add(kernel, tensor, shape)
    assert_same(rows.read(), reference(AXIS, tensor, shape))


def test_a_launch_that_is_ready_is_used_again_for_other_memory(kernel: FusedPass) -> None:
    shape, rows = (40, 1, 12, 5), Rows(12)
    tensors = [tame_values(2400, seed).to(torch.float32) for seed in range(5)]
    for tensor in tensors:
        assert rows.add(kernel, tensor, shape)
    want = reference(AXIS, torch.cat(tensors), (200, 1, 12, 5))
    want.tally[7] = 5
    assert_same(rows.read(), want)
    assert len(kernel._ready) == 1
    unaligned = torch.cat([torch.zeros(1), tensors[0]])[1:]
    other = Rows(12)
    assert other.add(kernel, unaligned, shape)
    assert_same(other.read(), reference(AXIS, tensors[0], shape))


def test_a_graph_has_scratch_memory_of_its_own_and_takes_none_while_captured(
    kernel: FusedPass,
) -> None:
    shape, rows = (600, 2, 4, 1), Rows(4)
    tensor = tame_values(4800, 1).to(torch.float32)
    assert rows.add(kernel, tensor, shape)
    assert rows.add(kernel, tensor, shape, capturing=True)
    (eager, captured) = kernel._scratch.values()
    assert eager[0].data_ptr() != captured[0].data_ptr()
    many = (1 << 15, 2, 4, 1)
    assert not rows.add(kernel, torch.zeros(1 << 18), many, capturing=True)
    assert rows.add(kernel, torch.zeros(1 << 18), many)
    assert kernel._scratch[77, True] is captured


def test_a_driver_that_refuses_is_an_error(
    kernel: FusedPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(code: int) -> None:
        raise RuntimeError(f"CUDA error: {code}")

    monkeypatch.setattr(torch.cuda._utils, "_check_cuda", check)
    rows = Rows(4)
    assert rows.add(kernel, torch.zeros(40), (10, 1, 4, 1))
    for ready, _ in kernel._ready.values():
        ready._fixed = (*ready._fixed[:-1], 0)  # no shared memory
    with pytest.raises(RuntimeError, match="CUDA error: 1"):
        rows.add(kernel, torch.zeros(40), (10, 1, 4, 1))


def test_small_tensors_take_few_blocks_with_one_histogram_each() -> None:
    for n in (1, 640, 4096, 60_000, 10**6, 10**8):
        blocks = blocks_for(n, 1056)
        copies = copies_for(n, blocks, 8)
        assert blocks == 1 or n / blocks >= 4096
        assert copies == 1 or n / blocks / copies >= 4096
