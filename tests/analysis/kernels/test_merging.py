"""Merged moments and unit rates, against all elements at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actrace.analysis.kernels.moments import merge_moments
from actrace.analysis.kernels.units import unit_rates

values = arrays(np.float64, st.integers(0, 8), elements=st.floats(-1e3, 1e3))


@given(st.lists(values, min_size=1, max_size=6))
def test_merging_parts_gives_the_moments_of_all_elements(parts) -> None:
    whole = np.concatenate(parts)
    means = [p.mean() if p.size else np.nan for p in parts]
    stds = [p.std() if p.size else np.nan for p in parts]
    n, mean, std = merge_moments([p.size for p in parts], means, stds)
    assert n == whole.size
    if whole.size:
        np.testing.assert_allclose(mean, whole.mean(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(std, whole.std(), rtol=1e-6, atol=1e-6)
    else:
        assert np.isnan(mean)
        assert np.isnan(std)


def test_merging_loses_nothing_far_from_zero() -> None:
    x = 1e8 + np.random.default_rng(0).normal(0, 1, (50, 200))
    _, mean, std = merge_moments(np.full(50, 200), x.mean(axis=1), x.std(axis=1))
    np.testing.assert_allclose(std, x.std(), rtol=1e-6)
    np.testing.assert_allclose(mean, x.mean(), rtol=1e-14)


def test_rates_of_units_are_those_of_their_elements() -> None:
    rng = np.random.default_rng(1)
    total = rng.integers(0, 3, (4, 9)) * 10
    active = rng.binomial(total, 0.3)
    active[:, 3] = 0
    owner = np.array([0, 0, 0, 0, 2, 2, 2, 2, 2])
    rate, death = unit_rates(active, total, owner, 4)
    for window in range(4):
        for layer in range(4):
            mine = (owner == layer) & (total[window] > 0)
            if not mine.any():
                assert np.isnan(rate[window, layer])
                assert np.isnan(death[window, layer])
                continue
            share = active[window, mine] / total[window, mine]
            np.testing.assert_allclose(rate[window, layer], share.mean())
            np.testing.assert_allclose(death[window, layer], (share == 0).mean())
