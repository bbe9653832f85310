"""Batches share columns exactly, whatever their number."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from actrace.analysis.charts.grammar import columns as module
from actrace.analysis.charts.grammar.columns import (
    choose_columns,
    sum_counters,
    sum_counts,
    sum_moments,
)
from actrace.errors import ChartError


@given(st.integers(1, 5000), st.integers(1, 300))
def test_columns_are_few_and_hold_every_batch_once(n, most):
    columns = choose_columns(n, most)
    assert 1 <= len(columns) <= most
    assert columns.batches.sum() == n
    assert columns.width & (columns.width - 1) == 0
    assert (np.diff(columns.starts) == columns.width).all()
    # No wider than needed: half the width would be too many columns.
    assert columns.width == 1 or -(-n // (columns.width // 2)) > most


def test_columns_of_a_part_start_at_its_first_batch():
    columns = choose_columns(100, 10, (30, 70))
    assert columns.starts[0] == 30
    assert columns.batches.sum() == 40


def test_a_part_that_reaches_past_the_end_is_cut_there():
    assert choose_columns(10, 100, (4, 99)).batches.sum() == 6


@pytest.mark.parametrize("batches", [(5, 5), (7, 3), (-1, 4)])
def test_a_part_that_is_none_is_refused(batches):
    with pytest.raises(ChartError, match=r"first, stop.*10 batches"):
        choose_columns(10, 100, batches)


def test_no_columns_at_all_is_refused():
    with pytest.raises(ChartError, match="at least 1"):
        choose_columns(10, 0)


@given(st.integers(1, 70), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_sums_are_exact_also_past_the_width_of_a_count(n, most, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**32, (5, n), dtype=np.uint32)
    columns = choose_columns(n, most)
    got = sum_counts(xr.DataArray(values, dims=("bin", "batch")), columns)
    want = [
        values[:, first : first + size].sum(axis=1, dtype=np.uint64)
        for first, size in zip(columns.starts, columns.batches, strict=True)
    ]
    np.testing.assert_array_equal(got, np.stack(want, axis=1))


def test_sums_do_not_depend_on_the_slabs_or_chunks_they_are_read_in(monkeypatch):
    values = np.random.default_rng(0).integers(0, 9, (4, 103), dtype=np.uint32)
    count = xr.DataArray(values, dims=("bin", "batch"))
    columns = choose_columns(103, 20)
    whole = sum_counts(count, columns)
    monkeypatch.setattr(module, "SLAB", 16)
    np.testing.assert_array_equal(sum_counts(count, columns), whole)
    np.testing.assert_array_equal(sum_counts(count.chunk(batch=7), columns), whole)


def test_moments_of_a_column_are_those_of_its_samples(monkeypatch):
    """Held against NumPy on the very samples, with batches of unlike sizes and one empty."""
    monkeypatch.setattr(module, "SLAB", 4)
    rng = np.random.default_rng(1)
    samples = [rng.normal(100.0, 1.0 + i, 3 * i) for i in range(11)]
    blank = np.full((1, 11), np.nan)
    data = {name: blank.copy() for name in ("mean", "std", "min", "max")}
    counters = {name: np.zeros((1, 11), np.uint32) for name in ("nan", "posinf", "neginf")}
    counters["nan"][0, 5] = 4
    counters["elements"] = np.array([[len(s) for s in samples]], np.uint32) + counters["nan"]
    for i, values in enumerate(samples):
        if len(values):
            for name in data:
                data[name][0, i] = getattr(np, name)(values)
    phase = xr.Dataset({k: (("layer", "batch"), v) for k, v in (data | counters).items()})
    columns = choose_columns(11, 3)
    sums = sum_counters(phase, tuple(counters), columns)
    got = sum_moments(phase, sums, columns)
    for c, (first, size) in enumerate(zip(columns.starts, columns.batches, strict=True)):
        joined = np.concatenate(samples[first : first + size])
        for name in data:
            np.testing.assert_allclose(got[name][0, c], getattr(np, name)(joined), rtol=1e-12)


def test_a_column_without_finite_elements_has_no_moments():
    zeros = {n: (("layer", "batch"), np.zeros((1, 2))) for n in ("posinf", "neginf")}
    data = {n: (("layer", "batch"), np.full((1, 2), np.nan)) for n in ("mean", "std", "min", "max")}
    whole = {n: (("layer", "batch"), np.full((1, 2), 8, np.uint32)) for n in ("elements", "nan")}
    phase = xr.Dataset(zeros | data | whole)
    columns = choose_columns(2, 5)
    sums = sum_counters(phase, ("elements", "nan", "posinf", "neginf"), columns)
    for values in sum_moments(phase, sums, columns).values():
        assert np.isnan(values).all()
