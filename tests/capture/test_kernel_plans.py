"""A bound plan adds what `add` adds, from an address and a row; and sampling is fair."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actrace
from actrace.capture.kernels.sampling import MODES, Sampling, chosen_elements
from actrace.capture.kernels.select import KERNELS, make_kernel
from actrace.capture.kernels.slots import (
    CALLS,
    ELEMENTS,
    MAXIMUM,
    MEAN,
    MINIMUM,
    N_FINITE,
    N_SUMS,
    N_TALLIES,
    NAN,
    NORM,
    SAMPLED,
    SAMPLES,
    ZERO,
    Shape,
    Slot,
    clear_sums,
)
from actrace.capture.kernels.widen import countable_dtypes
from actrace.errors import RecorderError
from actrace.store.axis import Asinh

FAST = sorted(set(KERNELS) - {"reference"})
AXIS = Asinh()
THRESHOLD = 0.5
SHAPES = {
    "logits": (64, 1, 10, 1),
    "one unit": (5000, 1, 1, 1),
    "images": (6, 1, 5, 289),
    "small maps": (7, 1, 30, 49),
    "tiny maps": (9, 1, 300, 4),
    "samples of a block and a half": (40, 1, 6, 36),
    "tokens": (3, 50, 48, 1),
    "wide tokens": (3, 5, 1500, 1),
    "one long period": (1, 1, 7000, 1),
    "long rows": (2, 1, 3, 5000),
    "nothing": (0, 1, 4, 9),
}


def activations(shape: Shape, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Return values with zeros, NaN and both infinities among them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=int(np.prod(shape))) * 3
    values[rng.random(values.size) < 0.3] = 0.0
    if dtype.is_floating_point:
        values[rng.random(values.size) < 0.002] = np.nan
        values[rng.random(values.size) < 0.001] = np.inf
        values[rng.random(values.size) < 0.001] = -np.inf
    else:
        values = np.abs(values)
    return torch.from_numpy(values).to(dtype)


def rings(rows: int, shape: Shape) -> tuple[Slot, Slot]:
    """Return the slot of the middle one of three layers, with rows, and its neighbours."""
    units = shape[2]
    count = np.zeros((rows, 3, AXIS.n_bins), np.int64)
    tally = np.zeros((rows, 3, N_TALLIES), np.int64)
    sums = np.zeros((rows, 3, N_SUMS))
    clear_sums(sums)
    active = np.zeros((rows, 3 * units), np.int64)
    slot = Slot(count[:, 1], tally[:, 1], sums[:, 1], active[:, units : 2 * units])
    return slot, Slot(count[:, ::2], tally[:, ::2], sums[:, ::2], active[:, :units])


def row_of(slot: Slot, row: int) -> Slot:
    return Slot(slot.count[row], slot.tally[row], slot.sums[row], slot.active[row])


def assert_same(got: Slot, want: Slot) -> None:
    np.testing.assert_array_equal(got.count, want.count)
    np.testing.assert_array_equal(got.tally, want.tally)
    np.testing.assert_array_equal(got.active, want.active)
    exact = [N_FINITE, SAMPLES, MINIMUM, MAXIMUM]
    np.testing.assert_array_equal(got.sums[exact], want.sums[exact])
    np.testing.assert_allclose(got.sums, want.sums, rtol=2e-5, atol=1e-4)


def run(name: str, tensor: torch.Tensor, shape: Shape, sampling: Sampling | None = None) -> Slot:
    slot = Slot.empty(AXIS.n_bins, shape[2])
    kernel = make_kernel(name, AXIS, THRESHOLD)
    plan = kernel.bind(tensor.dtype, shape, slot, sampling)
    plan.run(tensor.data_ptr(), plan.address, 0)
    return slot


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", countable_dtypes(), ids=lambda dtype: str(dtype)[6:])
def test_a_plan_adds_to_its_row_alone_what_add_adds(name: str, dtype: torch.dtype) -> None:
    kernel = make_kernel(name, AXIS, THRESHOLD)
    for shape in SHAPES.values():
        tensor = activations(shape, dtype)
        want = Slot.empty(AXIS.n_bins, shape[2])
        make_kernel("reference", AXIS, THRESHOLD).add(tensor, shape, want)
        slot, others = rings(3, shape)
        plan = kernel.bind(dtype, shape, slot)
        plan.run(tensor.data_ptr(), plan.address, 2)
        assert_same(row_of(slot, 2), want)
        for untouched in (row_of(slot, 0), row_of(slot, 1), others):
            assert not untouched.count.any()
            assert not untouched.tally.any()
            assert not untouched.active.any()


@pytest.mark.parametrize("name", KERNELS)
def test_calls_of_one_row_merge_and_rows_do_not(name: str) -> None:
    shape = SHAPES["images"]
    parts = [activations(shape, torch.float32, seed) for seed in range(4)]
    slot, _ = rings(2, shape)
    plan = make_kernel(name, AXIS, THRESHOLD).bind(torch.float32, shape, slot)
    for at, part in enumerate(parts):
        plan.run(part.data_ptr(), plan.address, at % 2)
    for row in range(2):
        whole = torch.cat([parts[row], parts[row + 2]])
        want = run("reference", whole, (2 * shape[0], *shape[1:]))
        want.tally[CALLS] = 2
        assert_same(row_of(slot, row), want)


def test_the_whole_tensor_enters_the_histogram_unless_sampled() -> None:
    for name in KERNELS:
        shape = SHAPES["images"]
        slot = run(name, activations(shape, torch.float32), shape)
        assert slot.tally[SAMPLED] == slot.tally[ELEMENTS] == np.prod(shape)


@pytest.mark.parametrize("mode", ["histogram", "all"])
@pytest.mark.parametrize("stride", [1, 2, 5, 17])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_element_is_read_in_exactly_one_phase(mode: str, stride: int, shape: Shape) -> None:
    tensor = activations(shape, torch.float32)
    exact = run("numba", tensor, shape)
    total = Slot.empty(AXIS.n_bins, shape[2])
    sampling = Sampling(mode, stride, whole=0)
    slots = []
    for _ in range(stride):
        slots.append(run("numba", tensor, shape, sampling))
        sampling.advance()
    assert sampling.phase == 0
    total.count = np.sum([slot.count for slot in slots], axis=0)
    total.tally = np.sum([slot.tally for slot in slots], axis=0)
    np.testing.assert_array_equal(total.count, exact.count)
    assert total.tally[SAMPLED] == exact.tally[SAMPLED]
    np.testing.assert_array_equal(total.tally[:2], exact.tally[:2])
    if mode == "all":
        np.testing.assert_array_equal(total.tally[: ZERO + 1], exact.tally[: ZERO + 1])
        active = np.sum([slot.active for slot in slots], axis=0)
        np.testing.assert_array_equal(active, exact.active)
        assert sum(slot.sums[N_FINITE] for slot in slots) == exact.sums[N_FINITE]


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("mode", ["histogram", "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int8])
def test_each_phase_reads_what_the_reference_reads(
    name: str, mode: str, dtype: torch.dtype
) -> None:
    for shape in SHAPES.values():
        tensor = activations(shape, dtype)
        for phase in range(5):
            sampling = Sampling(mode, 5, phase, whole=0)
            assert_same(
                run(name, tensor, shape, sampling), run("reference", tensor, shape, sampling)
            )


@pytest.mark.parametrize("name", KERNELS)
def test_a_sampled_histogram_leaves_everything_else_exact(name: str) -> None:
    shape = SHAPES["small maps"]
    tensor = activations(shape, torch.float32)
    exact = run(name, tensor, shape)
    got = run(name, tensor, shape, Sampling("histogram", 5, 3))
    assert 0 < got.tally[SAMPLED] < exact.tally[SAMPLED]
    inside = got.tally[SAMPLED] - got.count.sum() - got.tally[:2].sum()
    assert 0 <= inside <= exact.tally[NAN:ZERO].sum()
    np.testing.assert_array_equal(got.tally[NAN:SAMPLED], exact.tally[NAN:SAMPLED])
    np.testing.assert_array_equal(got.active, exact.active)
    np.testing.assert_array_equal(got.sums, exact.sums)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_small_tensors_are_read_whole(name: str, mode: str) -> None:
    shape = SHAPES["logits"]
    tensor = activations(shape, torch.float32)
    assert_same(run(name, tensor, shape, Sampling(mode, 17)), run(name, tensor, shape))


def test_a_sampling_is_shared_and_changes_from_the_next_call_on() -> None:
    shape = SHAPES["images"]
    tensor = activations(shape, torch.float32)
    for name in KERNELS:
        kernel = make_kernel(name, AXIS, THRESHOLD)
        slot = Slot.empty(AXIS.n_bins, shape[2])
        plan = kernel.bind(torch.float32, shape, slot)
        kernel.sampling.change("all", 5)
        plan.run(tensor.data_ptr(), plan.address, 0)
        assert 0 < slot.tally[SAMPLED] < slot.tally[ELEMENTS]
        slot.clear()
        kernel.add(tensor, shape, slot)
        assert slot.tally[SAMPLED] == slot.tally[ELEMENTS]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 20_000),
    length=st.integers(1, 300),
    stride=st.integers(1, 40),
)
def test_the_phases_part_the_elements_among_them(n: int, length: int, stride: int) -> None:
    places = [chosen_elements(n, length, stride, phase) for phase in range(stride)]
    np.testing.assert_array_equal(np.sort(np.concatenate(places)), np.arange(n))


@pytest.mark.parametrize(("channels", "inner"), [(64, 1), (17, 128), (512, 49), (16, 1024)])
@pytest.mark.parametrize("stride", [5, 16, 17])
def test_no_layout_of_channels_beats_with_the_choice(
    channels: int, inner: int, stride: int
) -> None:
    """Channels of different means are all met, about as often as by chance."""
    n = 64 * channels * inner
    channel = np.arange(n) // inner % channels
    places = chosen_elements(n, 128, stride, 2)
    met = np.bincount(channel[places], minlength=channels)
    # Blocks are met, not elements: the spread is that of their number.
    expected = places.size / channels
    spread = np.sqrt(expected * min(inner, 128) * max(1, 128 / (channels * inner)))
    assert np.abs(met - expected).max() < 5 * spread + 128


@pytest.mark.parametrize("stride", [5, 17])
@pytest.mark.parametrize("mode", ["histogram", "all"])
def test_the_sampled_distribution_is_within_the_stated_bound(mode: str, stride: int) -> None:
    """Channels of different means, after a ReLU; Massart's form of DKW, a block a draw."""
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(1, 48, 1))
    values = np.maximum(rng.normal(size=(64, 48, 256)) + mean, 0).astype(np.float32)
    shape = (64, 1, 48, 256)
    tensor = torch.from_numpy(values).reshape(-1)
    exact = run("numba", tensor, shape).count.cumsum() / values.size
    worst = []
    for phase in range(stride):
        slot = run("numba", tensor, shape, Sampling(mode, stride, phase))
        drawn = int(slot.tally[SAMPLED])
        worst.append(np.abs(slot.count.cumsum() / drawn - exact).max())
    # Massart's bound for as many independent draws as there are blocks, at 1 in 1,000.
    blocks = values.size / 128 / stride
    assert max(worst) < np.sqrt(np.log(2 / 1e-3) / (2 * blocks))
    assert np.mean(worst) < 0.5 * np.sqrt(np.log(2 / 1e-3) / (2 * blocks))


def test_a_sampled_mean_and_norm_are_near_the_whole() -> None:
    shape = (40, 1, 16, 256)
    tensor = torch.randn(int(np.prod(shape)), generator=torch.Generator().manual_seed(1)) + 1
    for name in KERNELS:
        exact = run(name, tensor, shape).sums
        got = run(name, tensor, shape, Sampling("all", 5, 1)).sums
        assert got[SAMPLES] == 40
        np.testing.assert_allclose(got[MEAN], exact[MEAN], atol=0.03)
        np.testing.assert_allclose(got[NORM] / 40, exact[NORM] / 40, rtol=0.03)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "some"}, "'some'.*exact, histogram, all"),
        ({"stride": 0}, "stride 0"),
        ({"phase": -1}, "phase -1"),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(RecorderError, match=words):
        Sampling(**arguments)  # type: ignore[arg-type]


def test_a_stride_of_one_is_exact() -> None:
    assert [Sampling(mode, 1).mode for mode in MODES] == ["exact"] * 3


@pytest.mark.parametrize("wrong", ["count", "tally", "sums", "active"])
def test_a_slot_of_another_size_is_refused_before_anything_is_written(wrong: str) -> None:
    slot = Slot.empty(AXIS.n_bins, 10)
    setattr(slot, wrong, getattr(slot, wrong)[:-1])
    with pytest.raises(RecorderError, match=f"slot's {wrong} has shape"):
        make_kernel("numba", AXIS, THRESHOLD).bind(torch.float32, (64, 1, 10, 1), slot)


def test_threads_that_count_large_tensors_keep_apart() -> None:
    """Four threads, more than there are rooms for walks without the interpreter."""
    shape = (64, 1, 16, 1024)
    kernel = make_kernel("numba", AXIS, THRESHOLD)
    kernel.warm_up(torch.float32)
    tensors = [activations(shape, torch.float32, seed) for seed in range(5)]
    slots = [Slot.empty(AXIS.n_bins, 16) for _ in tensors]
    plans = [kernel.bind(torch.float32, shape, slot) for slot in slots]
    start = Barrier(len(plans))

    def work(at: int) -> None:
        start.wait()
        for _ in range(20):
            plans[at].run(tensors[at].data_ptr(), plans[at].address, 0)

    threads = [Thread(target=work, args=(at,)) for at in range(len(plans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tensor, slot in zip(tensors, slots, strict=True):
        once = run("reference", tensor, shape)
        np.testing.assert_array_equal(slot.count, 20 * once.count)
        np.testing.assert_array_equal(slot.tally, 20 * once.tally)
        np.testing.assert_array_equal(slot.active, 20 * once.active)


def test_a_tensor_that_fits_no_block_pattern_is_cut_where_its_units_are() -> None:
    for shape in ((2, 3, 700, 60), (2, 700, 48, 1), (1, 1, 3, 90_000), (2, 1, 50_000, 1)):
        tensor = activations(shape, torch.float32)
        want = run("reference", tensor, shape)
        for name in FAST:
            assert_same(run(name, tensor, shape), want)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("scale", [1e-20, 1e-30, 1e-38, 1e30, 1e38])
def test_gradients_near_the_ends_of_float32_keep_their_moments(name: str, scale: float) -> None:
    shape = SHAPES["small maps"]
    generator = torch.Generator().manual_seed(3)
    tensor = (torch.randn(int(np.prod(shape)), generator=generator).double() * scale).float()
    want = run("reference", tensor, shape).sums
    got = run(name, tensor, shape).sums
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("name", FAST)
def test_every_16_bit_number_is_read_as_it_is(name: str) -> None:
    bits = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16))
    for dtype in (torch.float16, torch.bfloat16, torch.int16):
        for part in bits.view(dtype).view(64, -1):
            at = (4, 1, 256, 1)
            assert_same(run(name, part, at), run("reference", part, at))


def test_compiling_is_spoken_of_once_and_cached_where_the_package_cannot_be_written(
    tmp_path: Path,
) -> None:
    """The package lies in a folder that refuses Numba's cache: it goes to the user's."""
    source = Path(actrace.__file__).parent.resolve()
    package = tmp_path / "site" / "actrace"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__", "integrations"))
    blocked = package / "capture" / "kernels" / "__pycache__"
    blocked.write_text("in the way, so that no folder can be made here")
    code = (
        "import torch; from actrace.capture.kernels.fused import FusedKernel; "
        "from actrace.capture.kernels import fused; from actrace.store.axis import Asinh; "
        "assert '/site/' in fused.__file__; "
        "FusedKernel(Asinh(), 0.0).warm_up(torch.float32)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        for _ in range(2)
    ]
    assert "compiling its kernels" in said[0]
    assert said[1] == ""
    assert list((tmp_path / "cache").rglob("*.nbi"))
