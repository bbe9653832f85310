"""The torch operations that count on a device count what the reference counts."""

from __future__ import annotations

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

from actrace.capture.cuda import plain
from actrace.capture.cuda.layout import RowLayout
from actrace.capture.cuda.plain import PlainPass
from actrace.capture.cuda.reading import DeviceReading
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import M2, MEAN, Slot
from actrace.capture.kernels.widen import countable_dtypes
from actrace.store.axis import Axis

CPU = torch.device("cpu")


def count(
    axis: Axis,
    shape: tuple[int, int, int, int],
    *tensors: torch.Tensor,
    sampling: Sampling | None = None,
) -> Slot:
    layout = RowLayout.of(axis.n_bins, [shape[2]])
    words = torch.from_numpy(layout.blank()).repeat(3, 1)
    slot = torch.tensor([1])
    partial = sampling is not None and sampling.mode == "all"
    reading = None if sampling is None else DeviceReading(sampling, partial, CPU)
    kernel = PlainPass(axis, 1e-8, CPU, reading)
    for tensor in tensors:
        kernel.add(tensor, shape, words, slot, 0, layout.starts[0])
    assert torch.equal(words[0], words[2])
    assert torch.equal(words[0], torch.from_numpy(layout.blank()))
    return read_row(axis, shape[2], words[1].numpy(), partial=partial)


@pytest.mark.parametrize("dtype", countable_dtypes(), ids=str)
@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_counts_are_the_reference_s(axis: Axis, dtype: torch.dtype) -> None:
    values = hard_values(axis, 2400, 1)
    if not dtype.is_floating_point:
        values = values.nan_to_num(0, 0, 0).abs().clamp(max=100)
    tensor = values.to(dtype)
    for shape in SHAPES:
        assert_same(count(axis, shape, tensor), reference(axis, tensor, shape))


@pytest.mark.parametrize("scale", [1, 1e-20, 1e15])
@pytest.mark.parametrize("shape", SHAPES)
def test_moments_are_the_reference_s(shape: tuple[int, int, int, int], scale: float) -> None:
    tensor = (tame_values(2400, 2) * scale).to(torch.float32)
    axis = AXES["asinh"]
    assert_same(count(axis, shape, tensor), reference(axis, tensor, shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int8], ids=str)
@pytest.mark.parametrize(("mode", "stride", "phase"), SAMPLINGS)
def test_a_part_is_read_as_the_reference_reads_it(
    mode: str, stride: int, phase: int, dtype: torch.dtype
) -> None:
    axis, sampling = AXES["asinh"], Sampling(mode, stride, phase, whole=2400)
    values = hard_values(axis, 2400, 1)
    if not dtype.is_floating_point:
        values = values.nan_to_num(0, 0, 0).abs().clamp(max=100)
    tensor = values.to(dtype)
    for shape in SHAPES:
        got = count(axis, shape, tensor, sampling=sampling)
        assert_same(got, sampled_reference(axis, tensor, shape, sampling))


@pytest.mark.parametrize("mode", ["exact", "histogram", "all"])
def test_a_tensor_below_the_limit_is_read_whole(mode: str) -> None:
    axis, shape = AXES["asinh"], (40, 1, 12, 5)
    tensor = hard_values(axis, 2400, 6).to(torch.float32)
    got = count(axis, shape, tensor, sampling=Sampling(mode, 17, 3, whole=2401))
    assert_same(got, reference(axis, tensor, shape))


def test_what_is_read_changes_with_the_batch_and_a_large_tensor_in_pieces_reads_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the host says from the next batch on is written where a launch reads it."""
    monkeypatch.setattr(plain, "_PIECE", 700)
    axis, shape = AXES["asinh"], (40, 1, 12, 5)
    tensor = tame_values(2400, 6).to(torch.float32)
    sampling = Sampling("all", 5, whole=0)
    reading = DeviceReading(sampling, True, CPU)
    kernel = PlainPass(axis, 1e-8, CPU, reading)
    layout = RowLayout.of(axis.n_bins, [shape[2]], partial=True)
    for change in (lambda: None, sampling.advance, lambda: sampling.change("all", 3, 2)):
        change()
        reading.follow()
        words = torch.from_numpy(layout.blank()).view(1, -1)
        kernel.add(tensor, shape, words, torch.tensor([0]), 0, layout.starts[0])
        got = read_row(axis, shape[2], words[0].numpy(), partial=True)
        assert_same(got, sampled_reference(axis, tensor, shape, sampling))


def test_calls_of_one_layer_add_up() -> None:
    axis = AXES["asinh"]
    tensor = tame_values(2400, 3).to(torch.bfloat16)
    got = count(axis, (40, 1, 12, 5), tensor, tensor * 50)
    both = torch.cat([tensor, tensor * 50])
    want = reference(axis, both, (80, 1, 12, 5))
    want.tally[7] = 2
    assert_same(got, want)


def test_a_small_spread_far_from_zero_is_kept() -> None:
    axis = AXES["asinh"]
    tensor = (1000 + 1e-3 * torch.randn(2400, dtype=torch.float64)).to(torch.float64)
    got = count(axis, (2400, 1, 1, 1), tensor)
    want = reference(axis, tensor, (2400, 1, 1, 1))
    assert got.sums[MEAN] == pytest.approx(want.sums[MEAN], rel=1e-9)
    assert got.sums[M2] == pytest.approx(want.sums[M2], rel=1e-6)


def test_a_call_with_nothing_in_it_is_a_call() -> None:
    got = count(AXES["asinh"], (0, 1, 4, 1), torch.zeros(0))
    assert got.tally.tolist() == [0] * 7 + [1, 0]
    assert got.sums[MEAN] == 0
