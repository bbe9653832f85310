"""Windows grow with what they hold and stay short against an epoch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actrace.capture.windows import EpochLengths, output_length, unit_length


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
