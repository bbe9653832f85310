"""The compiled kernel's own source, run on the CPU, counts what the reference counts.

A stand-in for CUDA (``stand_in.h``) runs the threads of a block as fibers. What it
cannot show is what only a GPU does: see ``test_on_a_gpu.py``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.capture.cuda.agreement import (
    AXES,
    SAMPLINGS,
    SHAPES,
    assert_same,
    hard_values,
    read_row,
    reference,
    sampled_reference,
    tame_values,
)

from actrace.capture.cuda.fused import ELEMENTS, plan
from actrace.capture.cuda.layout import RowLayout
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import M2, SAMPLED, Slot
from actrace.capture.kernels.tables import bin_table
from actrace.store.axis import Axis

Shape = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def run(kernel_library: ctypes.CDLL) -> Callable[..., Slot]:
    def call(
        axis: Axis,
        shape: Shape,
        *tensors: torch.Tensor,
        blocks: int = 3,
        threads: int = 64,
        copies: int = 2,
        seed: int = 1,
        aligned: bool = True,
        sampling: Sampling | None = None,
    ) -> Slot:
        layout = RowLayout.of(axis.n_bins, [shape[2]])
        words = np.stack([layout.blank()] * 3)
        slot = np.array([1], np.int64)
        by_sample, ticket = np.zeros(1 << 13), np.zeros(1, np.int32)
        reading = Sampling().record if sampling is None else sampling.record
        packed = bin_table(axis.edges).packed
        for tensor in tensors:
            p = plan(shape, aligned=aligned, blocks=blocks, threads=threads)
            numbers = [
                layout.n_words, 0, layout.starts[0], p.rows, p.cols, p.sample_rows, p.samples,
                p.block_rows,
            ]  # fmt: skip
            kernel_library.run(
                ELEMENTS[tensor.dtype], p.width, int(sampling is not None), *p.blocks, threads,
                ctypes.c_uint(seed),
                ctypes.c_void_p(tensor.data_ptr()),
                *(
                    ctypes.c_void_p(a.ctypes.data)
                    for a in (packed, words, slot, reading, by_sample, ticket)
                ),
                *map(ctypes.c_longlong, numbers),
                p.units, int(p.unit_is_row), int(p.direct), axis.n_bins,
                int(np.float32(9.999999e-09).view(np.int32)), p.tx, copies,
            )  # fmt: skip
            assert not by_sample.any(), "the scratch memory is not as it was"
            assert not ticket.any()
        for other in (0, 2):
            np.testing.assert_array_equal(words[other], layout.blank())
        partial = sampling is not None and sampling.mode == "all"
        return read_row(axis, shape[2], words[1], partial=partial)

    return call


PLAIN = {name: axis for name, axis in AXES.items() if bin_table(axis.edges).plain}


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("axis", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_are_the_reference_s(
    run: Callable[..., Slot], shape: Shape, axis: Axis, dtype: torch.dtype
) -> None:
    tensor = hard_values(axis, int(np.prod(shape)), 1).to(dtype)
    assert_same(run(axis, shape, tensor), reference(axis, tensor, shape))


@pytest.mark.parametrize("scale", [1, 1e-3, 1e-20, 1e15])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_are_the_reference_s(run: Callable[..., Slot], shape: Shape, scale: float) -> None:
    tensor = (tame_values(int(np.prod(shape)), 2) * scale).to(torch.float32)
    axis = AXES["asinh"]
    assert_same(run(axis, shape, tensor), reference(axis, tensor, shape))


@pytest.mark.parametrize(
    ("blocks", "threads", "copies", "seed", "aligned"),
    [(1, 32, 1, 2, True), (9, 128, 4, 3, False), (40, 64, 1, 4, True), (500, 256, 8, 5, False)],
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_does_not_matter_how_the_work_is_cut_up(
    run: Callable[..., Slot],
    shape: Shape,
    blocks: int,
    threads: int,
    copies: int,
    seed: int,
    aligned: bool,
) -> None:
    axis = AXES["asinh"]
    tensor = tame_values(int(np.prod(shape)), seed).to(torch.bfloat16)
    got = run(
        axis, shape, tensor, blocks=blocks, threads=threads, copies=copies, seed=seed,
        aligned=aligned,
    )  # fmt: skip
    assert_same(got, reference(axis, tensor, shape))


@pytest.mark.parametrize(("mode", "stride", "phase"), SAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_part_is_read_as_the_reference_reads_it(
    run: Callable[..., Slot], shape: Shape, mode: str, stride: int, phase: int
) -> None:
    axis, sampling = AXES["asinh"], Sampling(mode, stride, phase, whole=2400)
    dtype = list(ELEMENTS)[stride % 3]
    tensor = hard_values(axis, int(np.prod(shape)), 1).to(dtype)
    got = run(axis, shape, tensor, sampling=sampling)
    assert_same(got, sampled_reference(axis, tensor, shape, sampling))
    assert 0 <= got.tally[SAMPLED] < 2400


@pytest.mark.parametrize(
    ("blocks", "threads", "copies", "seed", "aligned"),
    [(1, 32, 1, 2, True), (9, 128, 4, 3, False), (40, 64, 1, 4, True)],
)
@pytest.mark.parametrize("mode", ["histogram", "all"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_part_is_the_same_however_the_work_is_cut_up(
    run: Callable[..., Slot],
    shape: Shape,
    mode: str,
    blocks: int,
    threads: int,
    copies: int,
    seed: int,
    aligned: bool,
) -> None:
    axis, sampling = AXES["asinh"], Sampling(mode, 3, 1, whole=0)
    tensor = tame_values(int(np.prod(shape)), seed).to(torch.float32)
    got = run(
        axis, shape, tensor, blocks=blocks, threads=threads, copies=copies, seed=seed,
        aligned=aligned, sampling=sampling,
    )  # fmt: skip
    assert_same(got, sampled_reference(axis, tensor, shape, sampling))


@pytest.mark.parametrize("mode", ["exact", "histogram", "all"])
def test_a_tensor_below_the_limit_is_read_whole(run: Callable[..., Slot], mode: str) -> None:
    axis, shape = AXES["asinh"], (40, 1, 12, 5)
    tensor = hard_values(axis, 2400, 6).to(torch.float32)
    got = run(axis, shape, tensor, sampling=Sampling(mode, 17, 3, whole=2401))
    assert_same(got, reference(axis, tensor, shape))


def test_calls_of_one_layer_add_up(run: Callable[..., Slot]) -> None:
    axis = AXES["asinh"]
    tensor = tame_values(2400, 3).to(torch.float16)
    got = run(axis, (40, 1, 12, 5), tensor, tensor * 50)
    want = reference(axis, torch.cat([tensor, tensor * 50]), (80, 1, 12, 5))
    want.tally[7] = 2
    assert_same(got, want)


def test_a_small_spread_far_from_zero_is_kept(run: Callable[..., Slot]) -> None:
    axis = AXES["asinh"]
    tensor = (1000 + 1e-2 * torch.randn(2400, dtype=torch.float64)).to(torch.float32)
    got = run(axis, (2400, 1, 1, 1), tensor)
    want = reference(axis, tensor, (2400, 1, 1, 1))
    assert got.sums[M2] == pytest.approx(want.sums[M2], rel=1e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 1e-25, np.nan, np.inf, -1e4])
def test_a_constant_is_counted(run: Callable[..., Slot], value: float) -> None:
    axis = AXES["asinh"]
    tensor = torch.full((600,), value)
    assert_same(run(axis, (10, 1, 12, 5), tensor), reference(axis, tensor, (10, 1, 12, 5)))


@pytest.mark.parametrize("shape", [*SHAPES, (256, 1, 64, 3136), (8, 1024, 4096, 1), (1, 1, 1, 1)])
def test_every_row_is_in_one_block(shape: Shape) -> None:
    p = plan(shape, aligned=True, blocks=1056)
    down = p.blocks[1]
    assert (down - 1) * p.block_rows < p.rows <= down * p.block_rows
    assert p.rows * p.cols == np.prod(shape)
    assert p.unit_is_row or p.blocks[0] * p.tx * p.width >= p.cols
