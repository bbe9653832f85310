"""The yardstick's batches are whole, the same wherever one begins, and never repeat."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.store.floor import poisson_bits
from benchmarks.store.formats import sizes
from benchmarks.store.generate import Plan, blocks, write_run
from scipy.stats import poisson

from actrace.store.reader import open_run
from actrace.store.schema import COUNTERS

PLAN = Plan(batches=192, layers=6, bins=64)
ELEMENTS = [v.name for v in COUNTERS].index("elements")


def test_every_row_holds_its_elements():
    for block in blocks(PLAN):
        elements = block.rows.counters[ELEMENTS]
        np.testing.assert_array_equal(block.rows.count.sum(-1), elements)
        assert (elements == elements[0]).all()


def test_counts_are_those_expected_and_never_a_copy():
    found = list(blocks(PLAN))
    count = np.concatenate([block.rows.count for block in found]).astype(float)
    expected = np.concatenate([block.expected for block in found])
    np.testing.assert_allclose(count.sum(0), expected.sum(0), rtol=0.02, atol=400)
    assert len(np.unique(count.reshape(192, -1), axis=0)) == 192


def test_a_stretch_is_the_same_wherever_one_begins():
    whole, part = list(blocks(PLAN)), list(blocks(PLAN, 128))
    np.testing.assert_array_equal(whole[2].rows.count, part[0].rows.count)


@pytest.mark.parametrize("mean", [1e-7, 1e-3, 0.5, 3.0, 19.0, 150.0, 201.0, 5000.0])
def test_the_floor_is_the_entropy_of_a_poisson_count(mean):
    assert poisson_bits(np.array([mean]))[0] == pytest.approx(
        float(poisson(mean).entropy()) / np.log(2), rel=1e-4, abs=1e-6
    )


def test_a_run_of_it_opens_and_its_size_is_compared(tmp_path):
    path = write_run(tmp_path / "a", PLAN)
    with open_run(path) as run:
        assert run.n_batches("train") == 192
        data = run["train"].to_dataset().isel(batch=slice(0, 64)).load()
    name, size = next(iter(sizes(data, PLAN)))
    assert name.startswith("actrace")
    assert 20 < float(size) < 1000
