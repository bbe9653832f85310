"""Every kernel counts exactly what the NumPy reference counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actrace.capture.kernels.select import KERNELS, make_kernel
from actrace.capture.kernels.slots import (
    CALLS,
    ELEMENTS,
    M2,
    MAXIMUM,
    MEAN,
    MINIMUM,
    N_FINITE,
    NORM,
    SAMPLES,
    Slot,
)
from actrace.capture.kernels.widen import countable_dtypes, widened
from actrace.errors import RecorderError
from actrace.store.axis import Asinh, Axis, Edges, Linear

FAST = sorted(set(KERNELS) - {"reference"})

AXES = {
    "asinh": Asinh(),
    "linear": Linear(-10, 10, 200),
    "one-sided": Linear(0, 1, 7),
    "many": Asinh(-3, 1e6, 40_000, 1e-3),
    "close": Edges([-1e300, -1, -1e-40, 0, 1e-45, 1e-3, 1, 1 + 1e-12, 1 + 1e-9, 1e39]),
    "crowded": Edges(np.cumsum(np.full(3000, 1.1e-4)) + 1),
}


def hard_values(axis: Axis, n: int, seed: int) -> np.ndarray:
    """Return values that sit on edges, next to them, far outside, and nowhere."""
    rng = np.random.default_rng(seed)
    edges = rng.choice(axis.edges, 60)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -1e-45, 3.4e38, -1e308]
    pool = np.concatenate(
        [
            rng.normal(size=300) * 3,
            rng.normal(size=100) * 10.0 ** rng.uniform(-44, 38, 100),
            edges,
            np.nextafter(edges, np.inf),
            np.nextafter(edges, -np.inf),
            torch.from_numpy(edges).float().double().numpy(),
            special,
        ]
    )
    return rng.choice(pool, n)


def as_dtype(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return values as a tensor; integers have neither NaN nor infinity."""
    tensor = torch.from_numpy(values)
    if not dtype.is_floating_point:
        tensor = tensor.nan_to_num(0, 0, 0).clamp(-9e18, 9e18)
        if dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64):
            tensor = tensor.abs().clamp(max=250)
    return tensor.to(dtype)


def measure(name: str, axis: Axis, tensor: torch.Tensor, shape: tuple[int, int, int, int]) -> Slot:
    slot = Slot.empty(axis.n_bins, shape[2])
    make_kernel(name, axis, 1e-8).add(tensor, shape, slot)
    return slot


def assert_same(got: Slot, want: Slot) -> None:
    np.testing.assert_array_equal(got.count, want.count)
    np.testing.assert_array_equal(got.tally, want.tally)
    np.testing.assert_array_equal(got.active, want.active)
    exact = [N_FINITE, SAMPLES, MINIMUM, MAXIMUM]
    np.testing.assert_array_equal(got.sums[exact], want.sums[exact])
    if np.isfinite(want.sums).all() and want.sums[N_FINITE]:
        spread = np.sqrt(want.sums[M2] / want.sums[N_FINITE])
        np.testing.assert_allclose(got.sums[MEAN], want.sums[MEAN], rtol=1e-5, atol=1e-6 * spread)
        np.testing.assert_allclose(got.sums[[M2, NORM]], want.sums[[M2, NORM]], rtol=2e-5)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", countable_dtypes(), ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_counts_equal_the_reference_for_every_dtype_and_axis(
    name: str, dtype: torch.dtype, axis: Axis
) -> None:
    tensor = as_dtype(hard_values(axis, 2400, seed=1), dtype)
    for shape in ((2400, 1, 1, 1), (40, 2, 5, 6), (1, 1, 2400, 1), (2, 1, 24, 50)):
        assert_same(measure(name, axis, tensor, shape), measure("reference", axis, tensor, shape))


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_the_reference_itself_is_numpy_histogram(axis: Axis) -> None:
    values = hard_values(axis, 2400, seed=2)
    slot = measure("reference", axis, torch.from_numpy(values), (2400, 1, 1, 1))
    finite = values[np.isfinite(values)]
    inside = finite[(finite >= axis.edges[0]) & (finite <= axis.edges[-1])]
    np.testing.assert_array_equal(slot.count, np.histogram(inside, axis.edges)[0])
    assert slot.count.sum() + slot.tally[:5].sum() == slot.tally[ELEMENTS] == values.size


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(
        st.integers(0, 5),
        st.integers(1, 4),
        st.integers(1, 70),
        st.sampled_from([1, 3, 31, 32, 70]),
    ),
    seed=st.integers(0, 2**16),
    axis=st.sampled_from(["asinh", "close"]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_any_shape_gives_the_reference(
    name: str, shape: tuple[int, int, int, int], seed: int, axis: str, dtype: torch.dtype
) -> None:
    tensor = as_dtype(hard_values(AXES[axis], int(np.prod(shape)), seed), dtype)
    assert_same(
        measure(name, AXES[axis], tensor, shape), measure("reference", AXES[axis], tensor, shape)
    )


@pytest.mark.parametrize(
    "shape", [(3, 1, 2, 5000), (2, 3, 2100, 1), (3, 1, 700, 3), (9000, 1, 1, 1)]
)
def test_rows_longer_and_shorter_than_a_block_keep_their_units_apart(
    shape: tuple[int, int, int, int],
) -> None:
    values = np.random.default_rng(3).normal(size=int(np.prod(shape)))
    values[::3] = 0.0
    tensor = torch.from_numpy(values.astype(np.float32))
    got = measure("numba", AXES["asinh"], tensor, shape)
    assert_same(got, measure("reference", AXES["asinh"], tensor, shape))


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 50), seed=st.integers(0, 2**16))
def test_two_calls_equal_one_on_the_whole(name: str, cut: int, seed: int) -> None:
    axis = AXES["asinh"]
    values = np.random.default_rng(seed).normal(3, 2, size=(50, 4)).astype(np.float32)
    tensor = torch.from_numpy(values)
    whole = measure(name, axis, tensor.reshape(-1), (50, 1, 4, 1))
    kernel, parts = make_kernel(name, axis, 1e-8), Slot.empty(axis.n_bins, 4)
    kernel.add(tensor[:cut].reshape(-1), (cut, 1, 4, 1), parts)
    kernel.add(tensor[cut:].reshape(-1), (50 - cut, 1, 4, 1), parts)
    assert parts.tally[CALLS] == 2
    parts.tally[CALLS] = 1
    assert_same(parts, whole)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("mean", "spread"), [(0, 1), (1000, 1), (-1e6, 1e3), (1e-20, 1e-23), (1e30, 1e27), (3, 0)]
)
def test_moments_are_those_of_float64_numpy(
    name: str, dtype: torch.dtype, mean: float, spread: float
) -> None:
    values = np.random.default_rng(4).normal(mean, spread, 20_000)
    tensor = torch.from_numpy(values).to(dtype)
    exact = tensor.to(torch.float64).numpy()
    sums = measure(name, AXES["asinh"], tensor, (20, 1, 10, 100)).sums
    np.testing.assert_allclose(sums[MEAN], exact.mean(), rtol=1e-5, atol=1e-6 * exact.std())
    np.testing.assert_allclose(
        np.sqrt(sums[M2] / sums[N_FINITE]), exact.std(), rtol=1e-5, atol=1e-12 * abs(mean)
    )
    norms = np.linalg.norm(exact.reshape(20, -1), axis=1)
    np.testing.assert_allclose(sums[NORM] / sums[SAMPLES], norms.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_a_mean_that_drifts_from_sample_to_sample_keeps_its_spread(name: str) -> None:
    rng = np.random.default_rng(5)
    values = (rng.normal(size=(64, 2000)) + 100 * np.arange(64)[:, None]).astype(np.float32)
    sums = measure(name, AXES["asinh"], torch.from_numpy(values).view(-1), (64, 1, 2000, 1)).sums
    exact = values.astype(np.float64)
    np.testing.assert_allclose(sums[MEAN], exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(sums[M2] / exact.size), exact.std(), rtol=1e-6)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("threshold", [0.0, 1e-8, 0.1, 0.5])
def test_active_is_above_the_threshold_and_never_nan(name: str, threshold: float) -> None:
    values = torch.tensor([0.0, -0.0, 0.1, -0.1, 0.5, -0.6, float("nan"), float("inf"), 1e-8, 1e-9])
    slot = Slot.empty(512, 10)
    make_kernel(name, Asinh(), threshold).add(values, (1, 1, 10, 1), slot)
    exact = values.to(torch.float64).numpy()
    np.testing.assert_array_equal(slot.active, np.abs(exact) > threshold)


def test_wide_integers_are_converted_as_numpy_converts_them() -> None:
    axis = Edges([0, 2.0**53, 2.0**53 + 2, 2.0**54])
    values = torch.tensor([2**53, 2**53 + 1, 2**53 + 2, 2**53 + 3, 2**54, -1])
    for name in KERNELS:
        slot = measure(name, axis, values, (6, 1, 1, 1))
        as_float = values.numpy().astype(np.float64)
        inside = as_float[as_float >= 0]
        np.testing.assert_array_equal(slot.count, np.histogram(inside, axis.edges)[0])


@pytest.mark.parametrize("dtype", countable_dtypes(), ids=lambda dtype: str(dtype)[6:])
def test_widening_loses_nothing(dtype: torch.dtype) -> None:
    wide = widened(dtype)
    assert wide in (torch.float32, torch.float64)
    values = as_dtype(np.linspace(0, 100, 101), dtype)
    assert torch.equal(values.to(wide).to(torch.float64), values.to(torch.float64))


def test_complex_numbers_are_not_widened() -> None:
    assert widened(torch.complex64) is None


def test_an_unknown_kernel_is_refused_with_the_known_names() -> None:
    with pytest.raises(RecorderError, match=r"'cuda'.*numba, reference, torch"):
        make_kernel("cuda", Asinh(), 1e-8)
