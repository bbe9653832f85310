"""A recording on a device: the first batch, the ring, losses, and a kernel that fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.capture.cuda.agreement import AXES, assert_same, reference, tame_values
from tests.capture.cuda.doubles import HandDevice

from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.kernels.slots import Slot

AXIS = AXES["asinh"]
SHAPES = {3: (20, 1, 6, 5), 7: (20, 1, 10, 1)}


def make(**more: object) -> tuple[DeviceCapture[int], HandDevice, list[str]]:
    device, said = HandDevice(), []
    return DeviceCapture(AXIS, 1e-8, device, said.append, n_rows=4, **more), device, said


def tensors(seed: int) -> dict[int, torch.Tensor]:
    return {
        number: tame_values(int(np.prod(shape)), seed + number).to(torch.float16)
        for number, shape in SHAPES.items()
    }


def slots() -> list[Slot]:
    return [Slot.empty(AXIS.n_bins, shape[2]) for shape in SHAPES.values()]


def run(capture: DeviceCapture[int], n: int) -> list[tuple[int, list[Slot], float]]:
    found = []

    def take() -> None:
        while (first := capture.first()) is not None:
            into = slots()
            loss = capture.read(first[1], into)
            found.append((first[0], into, loss))
            capture.pop()

    for number in range(n):
        take()
        capture.begin()
        for at, (name, tensor) in enumerate(tensors(number).items()):
            capture.add(name if capture.ring is None else at, tensor, SHAPES[name])
        if number != 2:
            capture.loss(torch.tensor([1.0, number]))
        if capture.ring is None:
            capture.lay_out([6, 10], [3, 7])
        capture.end(number)
    capture.flush()
    take()
    return found


def test_every_batch_comes_back_whole_and_in_order_the_first_one_too() -> None:
    capture, _, said = make()
    found = run(capture, 11)
    assert [batch for batch, _, _ in found] == list(range(11))
    for batch, got, loss in found:
        for slot, (name, tensor) in zip(got, tensors(batch).items(), strict=True):
            assert_same(slot, reference(AXIS, tensor, SHAPES[name]))
        assert loss == (1 + batch) / 2 or (batch == 2 and np.isnan(loss))
    assert said == []


def test_a_batch_that_is_dropped_before_the_layers_are_known_is_forgotten() -> None:
    capture, _, _ = make()
    capture.begin()
    capture.add(3, tensors(50)[3], SHAPES[3])
    capture.end(None)
    got = run(capture, 1)[0][1]
    assert_same(got[0], reference(AXIS, tensors(0)[3], SHAPES[3]))


def test_one_layer_can_be_taken_back_in_the_first_batch() -> None:
    capture, _, _ = make()
    capture.begin()
    for name, tensor in tensors(0).items():
        capture.add(name, tensor, SHAPES[name])
    capture.forget(3)
    capture.lay_out([6, 10], [3, 7])
    capture.end(0)
    capture.flush()
    first = capture.first()
    assert first is not None
    got = slots()
    capture.read(first[1], got)
    assert got[0].tally.sum() == 0
    assert_same(got[1], reference(AXIS, tensors(0)[7], SHAPES[7]))


def test_a_call_with_other_units_is_counted_without_them() -> None:
    capture, _, _ = make()
    run(capture, 1)
    capture.begin()
    capture.add(0, tensors(1)[3], (20, 1, 5, 6))
    capture.end(1)
    capture.flush()
    first = capture.first()
    assert first is not None
    got = slots()
    capture.read(first[1], got)
    assert got[0].tally[6] == 600
    assert got[0].active.sum() == 0


class BrokenKernel:
    def add(self, *args: object, **more: object) -> bool:
        raise RuntimeError("no such kernel")


def test_a_kernel_that_fails_is_given_up_and_nothing_is_lost() -> None:
    capture, _, said = make(fused=BrokenKernel())
    found = run(capture, 2)
    assert [slot.tally[6] for slot in found[1][1]] == [600, 200]
    assert len(said) == 1
    assert "no such kernel" in said[0]


def test_a_copy_on_the_host_is_one_of_its_own() -> None:
    capture, _, _ = make()
    tensor = torch.arange(5.0, requires_grad=True)
    copy = capture.host_copy(tensor)
    assert copy is not None
    assert copy.data_ptr() != tensor.data_ptr()
    assert not copy.requires_grad
    assert capture.host_copy(torch.zeros(5 * 2**20)) is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_counts_where_no_gradients_are_taken(mode: type) -> None:
    capture, _, _ = make()
    with mode():
        found = run(capture, 3)
    assert [batch for batch, _, _ in found] == [0, 1, 2]
