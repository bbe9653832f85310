"""The ring between the training and the writer: bounded, in order, given back empty."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from actrace.capture.batch import Batch
from actrace.capture.kernels.select import make_kernel
from actrace.capture.labels.outputs import KeptOutput
from actrace.capture.layer_table import LayerTable
from actrace.capture.ring import FEWEST_ROWS, KEPT_BYTES, MOST_ROWS, RING_BYTES, Ring
from actrace.store.axis import Asinh


@pytest.mark.parametrize(
    ("layers", "bins", "units", "rows"),
    [
        (1, 2, 3, MOST_ROWS),
        (6, 512, 100, MOST_ROWS),
        (60, 512, 64, 118),
        (2000, 512, 64, FEWEST_ROWS),
    ],
)
def test_its_memory_is_bounded(layers: int, bins: int, units: int, rows: int) -> None:
    ring = Ring(bins, [units] * layers)
    assert ring.n_rows == rows
    table = ring.table
    size = sum(array.nbytes for array in (table.count, table.tally, table.sums, table.active))
    assert size <= RING_BYTES or rows == FEWEST_ROWS


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_batches_come_out_in_order_and_rows_come_back_empty(bursts: list[int]) -> None:
    ring, step, seen = Ring(512, [4] * 250), 0, []
    assert ring.n_rows < 40
    for burst in bursts:
        for _ in range(min(burst, ring.n_rows)):
            assert not ring.full
            slot = ring.table.slots(ring.at)[0]
            assert not slot.count.any()
            assert not slot.tally.any()
            assert np.isinf(slot.sums[3])
            assert not slot.active.any()
            slot.count[0], slot.tally[6], slot.active[1] = step + 1, step + 1, 1
            ring.give(Batch("train", 0, step, 1))
            step += 1
        while ring.given > ring.taken:
            start, batches = ring.ready()
            stop = start + len(batches)
            assert stop <= ring.n_rows
            seen += [batch.step for batch in batches]
            counted = ring.table.count[start:stop, 0, 0].tolist()
            assert counted == [batch.step + 1 for batch in batches]
            ring.take(len(batches))
    assert seen == list(range(step))


def test_it_is_full_when_every_row_waits_or_too_much_else() -> None:
    ring = Ring(512, [4] * 2000)
    for step in range(ring.n_rows):
        assert not ring.full
        ring.give(Batch("train", 0, step, 1))
    assert ring.full
    assert not ring.has_row
    ring.take(1)
    assert not ring.full
    ring.take(ring.n_rows - 1)
    heavy = Batch("train", 0, 0, 1)
    heavy.output = KeptOutput(torch.zeros(1), 0, KEPT_BYTES)
    heavy.target = torch.zeros(4)
    ring.give(heavy)
    assert ring.waiting_bytes == KEPT_BYTES + 16
    assert ring.full
    assert ring.has_row
    ring.take(1)
    assert (ring.waiting_bytes, ring.full) == (0, False)


def test_two_threads_lose_nothing() -> None:
    ring, n, seen = Ring(512, [4] * 300), 300, []

    def take() -> None:
        while len(seen) < n:
            start, batches = ring.ready()
            for at, batch in enumerate(batches, start):
                assert ring.table.count[at, 0, 0] == batch.step
                seen.append(batch.step)
            ring.take(len(batches))
            time.sleep(0.0001)

    taker = threading.Thread(target=take)
    taker.start()
    for step in range(n):
        while ring.full:
            time.sleep(0.0001)
        ring.table.slots(ring.at)[0].count[0] = step
        ring.give(Batch("train", 0, step, 1))
    taker.join(60)
    assert seen == list(range(n))


def test_a_half_batch_takes_no_row_that_waits_for_the_writer() -> None:
    """Ctrl-C while the training waits for a row must not empty the oldest one."""
    table = LayerTable({"a": nn.ReLU()}, make_kernel("torch", Asinh(), 1e-8), 512)
    table.add(table.recorded["a"], None, torch.ones(3, 2))
    table.fix()
    ring = table.ring
    assert ring is not None
    for step in range(ring.n_rows):
        ring.table.count[ring.at] = step + 1
        ring.give(Batch("train", 0, step, 1))
    table.clear()
    assert ring.table.count[:, 0, 0].tolist() == list(range(1, ring.n_rows + 1))
    ring.take(1)
    ring.table.count[ring.at] = 7
    table.clear()
    assert not ring.table.count[ring.at].any()
