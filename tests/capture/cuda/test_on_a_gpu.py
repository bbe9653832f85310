"""What only a GPU shows: ``pytest tests/capture/cuda`` on a machine with one runs all of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.capture.cuda.agreement import (
    AXES,
    SAMPLINGS,
    SHAPES,
    assert_same,
    hard_values,
    reference,
    sampled_reference,
    tame_values,
)

from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.captured import capture_layer, stray_calls
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import Slot
from actrace.capture.tensors import flat_view
from actrace.store.axis import Axis

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]
AXIS = AXES["asinh"]
Shape = tuple[int, int, int, int]


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Let torch raise on whatever waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def make(axis: Axis = AXIS, sampling: Sampling | None = None) -> DeviceCapture[int]:
    said: list[str] = []
    capture: DeviceCapture[int] = DeviceCapture.on(
        torch.device("cuda", 0), axis, 1e-8, said.append, sampling,
        partial=sampling is not None and sampling.mode == "all",
    )  # fmt: skip
    assert said == [], "the compiled kernel must be there"
    return capture


def ready(
    units: list[int], axis: Axis = AXIS, sampling: Sampling | None = None
) -> DeviceCapture[int]:
    """Return a capture whose ring is there and empty."""
    capture = make(axis, sampling)
    capture.begin()
    capture.lay_out(units, list(range(len(units))))
    capture.end(None)
    return capture


def taken(capture: DeviceCapture[int], units: list[int]) -> list[tuple[int, list[Slot]]]:
    found = []
    while (first := capture.first()) is not None:
        slots = [Slot.empty(AXIS.n_bins, n) for n in units]
        capture.read(first[1], slots)
        found.append((first[0], slots))
        capture.pop()
    return found


def count(axis: Axis, tensor: torch.Tensor, shape: Shape, sampling: Sampling | None = None) -> Slot:
    capture = ready([shape[2]], axis, sampling)
    capture.begin()
    capture.add(0, tensor.cuda(), shape)
    capture.end(1)
    capture.flush()
    first = capture.first()
    assert first is not None
    slot = Slot.empty(axis.n_bins, shape[2])
    capture.read(first[1], [slot])
    return slot


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int32], ids=str
)
@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_are_the_cpu_s(shape: Shape, axis: Axis, dtype: torch.dtype) -> None:
    values = hard_values(axis, int(np.prod(shape)), 1)
    if not dtype.is_floating_point:
        values = values.nan_to_num(0, 0, 0).clamp(-1000, 1000)
    tensor = values.to(dtype)
    assert_same(count(axis, tensor, shape), reference(axis, tensor, shape))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str
)
@pytest.mark.parametrize(("mode", "stride", "phase"), SAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_part_is_read_as_the_cpu_reads_it(
    shape: Shape, mode: str, stride: int, phase: int, dtype: torch.dtype
) -> None:
    sampling = Sampling(mode, stride, phase, whole=2400)
    tensor = hard_values(AXIS, int(np.prod(shape)), 1).to(dtype)
    want = sampled_reference(AXIS, tensor, shape, sampling)
    assert_same(count(AXIS, tensor, shape, sampling), want)


@pytest.mark.parametrize("mode", ["histogram", "all"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_a_part_of_large_images_is_read_in_both_layouts(last: bool, mode: str) -> None:
    image = tame_values(32 * 48 * 57 * 56, 4).to(torch.bfloat16).view(32, 48, 57, 56)
    image = image.to(memory_format=torch.channels_last) if last else image
    flat, shape = flat_view(image, 1)
    for phase in (0, 16):
        sampling = Sampling(mode, 17, phase)
        want = sampled_reference(AXIS, flat, shape, sampling)
        assert_same(count(AXIS, flat, shape, sampling), want)


def test_a_replayed_graph_reads_the_part_that_is_due() -> None:
    sampling, shape = Sampling("all", 5, whole=0), (640, 1, 16, 1)
    capture = ready([16], AXIS, sampling)
    values = tame_values(640 * 16, 5).to(torch.float32)
    x = values.cuda()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        capture_layer(capture, 0, x, shape)
    want = []
    for number in range(20):
        sampling.advance()
        if number == 10:
            sampling.change("all", 3, 2)
        want.append(sampled_reference(AXIS, values, shape, sampling))
        capture.begin()
        graph.replay()
        capture.rest()
        capture.end(number)
    capture.flush()
    for number, slots in taken(capture, [16]):
        assert_same(slots[0], want[number])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_large_images_are_counted_in_both_layouts(last: bool, dtype: torch.dtype) -> None:
    n = 32 * 48 * 57 * 56
    image = tame_values(n, 4).to(dtype).view(32, 48, 57, 56)
    image = image.to(memory_format=torch.channels_last) if last else image
    flat, shape = flat_view(image, 1)
    assert shape[3] == 1 if last else shape[3] > 1
    assert_same(count(AXIS, flat, shape), reference(AXIS, flat, shape))


def test_steps_never_wait_and_rows_come_in_order(no_waiting: None) -> None:
    torch.cuda.set_sync_debug_mode("default")
    capture = ready([16, 10])
    x = torch.randn(64, 16, device="cuda").relu()
    y = torch.randn(64, 10, device="cuda", dtype=torch.bfloat16)
    capture.begin()
    capture.add(0, x.view(-1), (64, 1, 16, 1))
    capture.end(None)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    found = []
    for number in range(200):
        found += [batch for batch, _ in taken(capture, [16, 10])]
        capture.begin()
        capture.add(0, x.view(-1), (64, 1, 16, 1))
        capture.add(1, y.view(-1), (64, 1, 10, 1))
        capture.loss(y.sum())
        assert capture.host_copy(y) is not None
        capture.end(number)
    torch.cuda.set_sync_debug_mode("default")
    capture.flush()
    found += [batch for batch, _ in taken(capture, [16, 10])]
    assert found == list(range(200))


def test_a_replayed_graph_writes_to_the_open_row() -> None:
    capture = ready([16])
    x = torch.zeros(64, 16, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        capture_layer(capture, 0, (x + 1).view(-1), (64, 1, 16, 1))
    for number in range(100):
        x.fill_(number)
        graph.replay()
        capture.begin()
        graph.replay()
        capture.rest()
        capture.end(number)
        graph.replay()
        for got, slots in taken(capture, [16]):
            assert slots[0].sums[1] == got + 1
    assert stray_calls(capture) == 200
    capture.flush()
    for got, slots in taken(capture, [16]):
        assert slots[0].sums[1] == got + 1


def test_memory_is_the_same_after_a_thousand_batches() -> None:
    capture = ready([16])
    x = torch.randn(4096, 16, device="cuda", dtype=torch.bfloat16)

    def batches(n: int) -> None:
        for number in range(n):
            taken(capture, [16])
            capture.begin()
            capture.add(0, x.view(-1), (4096, 1, 16, 1))
            capture.end(number)

    batches(200)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    batches(1000)
    torch.cuda.synchronize()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before


def test_a_training_is_bitwise_the_same() -> None:
    def train(capture: DeviceCapture[int] | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(32, 4)
        ).cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for number in range(20):
            x = torch.randn(64, 16, device="cuda")
            if capture is not None:
                taken(capture, [32, 32, 32, 4])
                capture.begin()
            for at, module in enumerate(model):
                x = module(x)
                if capture is not None:
                    capture.add(at, x.detach().reshape(-1), (64, 1, x.shape[1], 1))
            if capture is not None:
                capture.end(number)
            optimizer.zero_grad()
            x.square().mean().backward()
            optimizer.step()
        return [parameter.detach().cpu() for parameter in model.parameters()]

    plain = train(None)
    assert all(map(torch.equal, plain, train(ready([32, 32, 32, 4]))))
