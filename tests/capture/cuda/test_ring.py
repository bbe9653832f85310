"""The ring of device rows: order, no waiting, and what happens when the host lags."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.capture.cuda.doubles import HandDevice

from actrace.capture.cuda.layout import RowLayout
from actrace.capture.cuda.ring import DeviceRing
from actrace.errors import RecorderError

LAYOUT = RowLayout.of(4, [2])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(n_rows: int = 8) -> tuple[DeviceRing[int], HandDevice, Clock]:
    device, clock = HandDevice(), Clock()
    return DeviceRing(LAYOUT, device, n_rows, clock=clock), device, clock


def write(ring: DeviceRing[int], number: int) -> None:
    """Do what a kernel does: write where the device's own counter says."""
    ring.words[ring.slot[0], 0] += number


def batch(ring: DeviceRing[int], number: int) -> None:
    ring.begin()
    write(ring, number)
    ring.end(number)


def taken(ring: DeviceRing[int]) -> list[tuple[int, int]]:
    found = []
    while (first := ring.first()) is not None:
        found.append((first[0], int(first[1][0])))
        ring.pop()
    return found


def test_nothing_is_copied_until_half_of_the_ring_is_full_and_then_all_at_once() -> None:
    ring, device, _ = make()
    for number in (1, 2, 3):
        batch(ring, number)
    assert device.events == []
    batch(ring, 4)
    assert len(device.events) == 1
    assert taken(ring) == []
    device.finish()
    assert taken(ring) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert device.waits == 0


def test_batches_come_in_order_round_after_round() -> None:
    ring, device, _ = make(5)
    seen = []
    for number in range(1, 40):
        batch(ring, number)
        device.finish()
        seen += taken(ring)
    ring.fetch_all()
    seen += taken(ring)
    assert seen == [(n, n) for n in range(1, 40)]
    assert ring.waited_seconds == 0


def test_a_full_ring_waits_for_its_oldest_copy_and_clocks_it() -> None:
    ring, device, clock = make(4)
    seen = []

    def slow(event: object = None) -> None:
        clock.now += 0.25

    for number in range(1, 5):
        batch(ring, number)
        seen += taken(ring)
    device.events[0].synchronize, wait = (
        lambda: (slow(), wait())[1],
        device.events[0].synchronize,
    )
    batch(ring, 5)
    assert device.waits == 1
    assert ring.waited_seconds == 0.25
    assert taken(ring) == [(1, 1), (2, 2)]
    device.finish()
    ring.fetch_all()
    assert taken(ring) == [(3, 3), (4, 4), (5, 5)]


def test_an_old_batch_is_fetched_though_the_ring_is_nearly_empty() -> None:
    ring, device, clock = make(64)
    batch(ring, 1)
    clock.now = 2.0
    batch(ring, 2)
    device.finish()
    assert taken(ring) == [(1, 1), (2, 2)]


def test_a_dropped_batch_leaves_no_trace() -> None:
    ring, _, _ = make()
    batch(ring, 1)
    ring.begin()
    write(ring, 99)
    ring.end(None)
    ring.begin()  # never ended
    batch(ring, 2)
    ring.fetch_all()
    assert ring.held == 2
    assert taken(ring) == [(1, 1), (2, 2)]
    assert ring.held == 0


def test_a_batch_that_was_looked_at_stays_until_it_is_popped() -> None:
    ring, _, _ = make()
    batch(ring, 1)
    ring.fetch_all()
    assert ring.first() is not None
    assert taken(ring) == [(1, 1)]


def test_what_a_graph_writes_goes_to_the_open_row_or_to_the_spare_one() -> None:
    ring, _, _ = make()

    def graph() -> None:  # reads on the device where to write, whenever it is replayed
        write(ring, 5)

    graph()
    for number in range(1, 4):
        ring.begin()
        graph()
        ring.rest()
        graph()
        ring.end(number)
    graph()
    batch(ring, 4)
    assert ring.strays()[0] == 25
    ring.fetch_all()
    assert taken(ring) == [(1, 5), (2, 5), (3, 5), (4, 4)]


def test_nothing_is_fetched_into_a_graph() -> None:
    ring, device, _ = make(4)
    batch(ring, 1)
    ring.begin()
    write(ring, 2)
    device.captures = True
    ring.end(2)
    assert ring.first() is None
    assert ring.peek() is None
    assert device.events == []
    device.captures = False
    ring.fetch_all()
    assert taken(ring) == [(1, 1), (2, 2)]


def test_memory_is_the_same_after_a_thousand_batches() -> None:
    ring, device, _ = make()
    places = ring.words.data_ptr(), ring.slot.data_ptr(), ring._host.data_ptr()
    for number in range(1000):
        batch(ring, number)
        device.finish()
        taken(ring)
    assert places == (ring.words.data_ptr(), ring.slot.data_ptr(), ring._host.data_ptr())
    assert len(ring._ready) + len(ring._copies) == 0


def test_rows_that_were_not_taken_yet_are_kept_when_others_need_their_place() -> None:
    ring, device, _ = make(4)
    for number in range(1, 6):
        batch(ring, number)
        device.finish()
    ring.fetch_all()
    assert taken(ring) == [(n, n) for n in range(1, 6)]


def test_rows_that_nobody_ever_takes_are_an_error_and_not_a_leak() -> None:
    ring, device, _ = make(4)

    def go_on() -> None:
        for number in range(1, 20):
            batch(ring, number)
            device.finish()

    with pytest.raises(RecorderError, match="between two batches"):
        go_on()


def test_a_ring_of_one_row_is_refused() -> None:
    with pytest.raises(RecorderError, match="at least 2 rows, got 1"):
        make(1)


def test_a_blank_row_reads_as_nothing() -> None:
    row = LAYOUT.blank()
    assert np.isnan(LAYOUT.loss_of(row))
    assert torch.equal(make()[0].words[0], torch.from_numpy(row))
