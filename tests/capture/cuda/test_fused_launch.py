"""The kernel as a recording launches it, through a driver of the tests' own that runs it."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.capture.cuda.agreement import (
    AXES,
    SHAPES,
    assert_same,
    hard_values,
    read_row,
    reference,
    sampled_reference,
    tame_values,
)
from tests.capture.cuda.doubles import HandDevice
from tests.capture.cuda.test_recording import assert_same_store

import actrace
from actrace.capture.cuda import fused, launch
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.fused import FusedPass, blocks_for, copies_for
from actrace.capture.cuda.layout import RowLayout
from actrace.capture.cuda.reading import DeviceReading
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import Slot

AXIS = AXES["asinh"]
CPU = torch.device("cpu")
Shape = tuple[int, int, int, int]


def compiled(source: str, name: str) -> SimpleNamespace:
    """Return what torch would, whose handle tells the stand-in which kernel it is."""
    assert name in source
    element, width, part = (
        int(re.search(rf"#define {word} (\d)", source)[1])  # type: ignore[index]
        for word in ("ELEMENT", "WIDTH", "PART")
    )
    return SimpleNamespace(func=ctypes.c_void_p(100 * part + 10 * element + width))


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


@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_a_launch_that_is_ready_reads_the_part_that_each_batch_says(
    kernel: FusedPass,  # for the driver that it has
    mode: str,
) -> None:
    shape, sampling = (3000, 2, 4, 1), Sampling(mode, 5, whole=0)
    reading = DeviceReading(sampling, mode == "all", CPU)
    launches = FusedPass(AXIS, 1e-8, CPU, reading)
    tensor = hard_values(AXIS, 24_000, 1).to(torch.float32)
    layout = RowLayout.of(AXIS.n_bins, [4], partial=reading.partial)
    for change in (lambda: None, sampling.advance, lambda: sampling.change(mode, 17, 9)):
        change()
        reading.follow()
        words = torch.from_numpy(layout.blank()).view(1, -1)
        where = words, torch.tensor([0]), 0, layout.place(0, 4)
        assert launches.add(tensor, shape, *where, capturing=False)
        got = read_row(AXIS, 4, words[0].numpy(), partial=reading.partial)
        assert_same(got, sampled_reference(AXIS, tensor, shape, sampling))


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


class Calls(torch.nn.Module):
    """Outputs of many kinds: strided, channels-last, negated lazily, of another size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(2, 6, 3)
        self.act = torch.nn.ReLU()
        self.same = torch.nn.Identity()
        self.out = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(x))
        self.same(x[:, :, ::2])
        self.same(x.to(memory_format=torch.channels_last))
        self.same(torch._neg_view(x))
        return self.out(x.mean((2, 3)))


def test_outputs_like_those_before_go_the_short_way_and_others_do_not(
    kernel: FusedPass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(
        cls: type[DeviceCapture[Any]],
        _place: object,
        axis: Any,
        threshold: float,
        warn: Any,
        _sampling: Any,
        *,
        partial: bool,
    ) -> DeviceCapture[Any]:
        assert not partial
        return cls(axis, threshold, HandDevice(1), warn, kernel, n_rows=4)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(DeviceCapture, "on", classmethod(on))
    again: list[bool] = []
    add_again = DeviceCapture.add_again

    def noted(capture: DeviceCapture[Any], at: int, tensor: torch.Tensor) -> bool:
        again.append(add_again(capture, at, tensor))
        return again[-1]

    monkeypatch.setattr(DeviceCapture, "add_again", noted)
    for cuda, name in ((False, "cpu"), (True, "gpu")):
        model = Calls()
        with actrace.record(model, tmp_path / name, cuda=cuda, flush_seconds=1e6):
            for step in range(8):
                generator = torch.Generator().manual_seed(step)
                n = 5 if step == 6 else 9
                model(torch.randn(n, 2, 7, 7, generator=generator)).sum().backward()
    assert_same_store(tmp_path / "gpu.zarr", tmp_path / "cpu.zarr")
    # Six calls a batch. The first batch comes before the rows, the second one is learnt
    # from, and so is one of another size; what has to be copied or resolved never is.
    assert [sum(again[at : at + 6]) for at in range(0, 48, 6)] == [0, 0, 4, 4, 4, 4, 0, 4]
