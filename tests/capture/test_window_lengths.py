"""Windows grow with what they hold and stay short against an epoch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actrace.capture.windows import EpochLengths, output_length, unit_length, window_parts


@given(n_classes=st.integers(1, 5000), n_layers=st.integers(1, 300))
def test_a_length_is_the_least_power_of_two_that_suffices(n_classes: int, n_layers: int) -> None:
    length = output_length(n_classes, n_layers)
    assert length & (length - 1) == 0
    assert length >= 4 * n_classes / n_layers
    assert length == 1 or length / 2 < 4 * n_classes / n_layers


def test_few_units_need_no_more_than_one_batch() -> None:
    assert unit_length(10, 5, 512) == 1
    assert unit_length(0, 0, 512) == 1


def test_the_first_epoch_counts_itself_and_later_ones_the_one_before() -> None:
    lengths = EpochLengths()
    for _ in range(64):
        lengths.add("train", 0)
    assert lengths.limit("train") == 4
    lengths.add("train", 1)
    assert lengths.limit("train") == 4
    assert lengths.limit("valid") == 1


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_a_window_ends_at_multiples_so_that_processes_meet_again(epochs: list[int]) -> None:
    """Wherever a commit cut the one before, and it is never longer than it may be."""
    lengths, since = EpochLengths(), 0
    for epoch, batches in enumerate(epochs):
        since = 0
        for _ in range(batches):
            number, limit = lengths.add("train", epoch)
            assert (number, limit) == (lengths.batches["train"], lengths.limit("train"))
            since += 1
            assert limit & (limit - 1) == 0
            if window_parts([(number, limit)], 8)[0][2]:
                assert number % min(8, limit) == 0
                since = 0
            assert since < min(8, limit)
