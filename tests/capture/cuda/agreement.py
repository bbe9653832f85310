"""Tensors that are hard to count, and what every kernel must agree on."""

from __future__ import annotations

import numpy as np
import torch

from actrace.capture.cuda.layout import RowLayout
from actrace.capture.kernels.reference import ReferenceKernel
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import (
    M2,
    MAXIMUM,
    MEAN,
    MINIMUM,
    N_FINITE,
    NORM,
    SAMPLES,
    Slot,
)
from actrace.store.axis import Asinh, Axis, Edges, Linear

AXES = {
    "asinh": Asinh(),
    "linear": Linear(-10, 10, 200),
    "above zero": Linear(1, 2, 7),
    "close": Edges([-1e300, -1, -1e-40, 0, 1e-45, 1e-3, 1, 1 + 1e-12, 1 + 1e-9, 1e39]),
}
SHAPES = [
    (2400, 1, 1, 1),
    (40, 2, 30, 1),
    (8, 1, 12, 25),
    (3, 1, 8, 100),
    (1, 1, 2400, 1),
    (2, 1, 24, 50),
    (600, 1, 4, 1),
    (5, 96, 5, 1),
    (4, 3, 8, 25),
    (2, 1, 1, 1200),
]
#: How a part of a tensor is read: mode, stride and phase.
SAMPLINGS = [
    (mode, stride, phase)
    for mode in ("histogram", "all")
    for stride, phase in ((2, 0), (5, 3), (17, 11), (257, 200))
]


def hard_values(axis: Axis, n: int, seed: int) -> torch.Tensor:
    """Return float64 values on edges, beside them, tiny, huge and not finite."""
    rng = np.random.default_rng(seed)
    edges = rng.choice(axis.edges, 60)
    pool = np.concatenate(
        [
            rng.normal(size=300) * 3,
            np.zeros(100),
            rng.normal(size=100) * 10.0 ** rng.uniform(-44, 38, 100),
            edges,
            np.nextafter(edges, np.inf),
            np.nextafter(edges, -np.inf),
            torch.from_numpy(edges).float().double().numpy(),
            [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324, -1e-45, 3.4e38],
        ]
    )
    return torch.from_numpy(rng.choice(pool, n))


def tame_values(n: int, seed: int) -> torch.Tensor:
    """Return what layers give: normal values about 3, a third of them zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, generator=generator, dtype=torch.float64) * 2 + 3
    values[::3] = 0
    return values


def reference(axis: Axis, tensor: torch.Tensor, shape: tuple[int, int, int, int]) -> Slot:
    slot = Slot.empty(axis.n_bins, shape[2])
    ReferenceKernel(axis, 1e-8).add(tensor, shape, slot)
    return slot


def sampled_reference(
    axis: Axis, tensor: torch.Tensor, shape: tuple[int, int, int, int], sampling: Sampling
) -> Slot:
    """Return what the reference counts of the part that `sampling` says."""
    slot = Slot.empty(axis.n_bins, shape[2])
    ReferenceKernel(axis, 1e-8).bind(tensor.dtype, shape, slot, sampling).add(tensor, slot)
    return slot


def read_row(axis: Axis, units: int, row: np.ndarray, *, partial: bool = False) -> Slot:
    slot = Slot.empty(axis.n_bins, units)
    RowLayout.of(axis.n_bins, [units], partial=partial).read(row, [slot])
    return slot


def assert_same(got: Slot, want: Slot) -> None:
    """Counts are the same, one by one; moments are to six digits."""
    np.testing.assert_array_equal(got.count, want.count)
    np.testing.assert_array_equal(got.tally, want.tally)
    np.testing.assert_array_equal(got.active, want.active)
    exact = [N_FINITE, SAMPLES, MINIMUM, MAXIMUM]
    np.testing.assert_array_equal(got.sums[exact], want.sums[exact])
    if np.isfinite(want.sums).all() and want.sums[N_FINITE]:
        spread = np.sqrt(want.sums[M2] / want.sums[N_FINITE])
        np.testing.assert_allclose(got.sums[MEAN], want.sums[MEAN], rtol=1e-6, atol=1e-6 * spread)
        np.testing.assert_allclose(got.sums[[M2, NORM]], want.sums[[M2, NORM]], rtol=2e-6)
