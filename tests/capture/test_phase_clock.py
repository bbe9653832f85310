"""Phases, epochs and steps follow the loop, or the user's word."""

from __future__ import annotations

import pytest

from actrace.capture.phases import PhaseClock
from actrace.errors import RecorderError


def run(clock: PhaseClock, loop: str) -> list[tuple[str, int, int]]:
    """Begin a batch for each letter: t trains, v validates."""
    return [clock.begin(letter == "t") for letter in loop]


def test_a_return_to_training_begins_the_next_epoch() -> None:
    assert run(PhaseClock(), "ttvttv") == [
        ("train", 0, 0),
        ("train", 0, 1),
        ("valid", 0, 2),
        ("train", 1, 2),
        ("train", 1, 3),
        ("valid", 1, 4),
    ]


def test_a_sanity_check_before_training_opens_no_epoch() -> None:
    assert run(PhaseClock(), "vt")[-1] == ("train", 0, 0)


def test_an_epoch_named_by_hand_ends_the_guessing() -> None:
    clock = PhaseClock()
    run(clock, "tv")
    clock.set_epoch(5)
    assert [epoch for _, epoch, _ in run(clock, "tvtv")] == [5, 5, 5, 5]


def test_a_named_phase_wins_and_nests() -> None:
    clock = PhaseClock()
    clock.enter("test")
    clock.enter("inner")
    assert clock.begin(True)[0] == "inner"
    clock.leave()
    assert clock.begin(True)[0] == "test"
    clock.leave()
    assert clock.begin(True) == ("train", 0, 0)


def test_batches_are_counted_by_phase() -> None:
    clock = PhaseClock()
    places = []
    for training in (True, True, False, True, False):
        phase, *_ = clock.begin(training)
        places.append((phase, clock.nth(phase)))
    assert places == [("train", 0), ("train", 1), ("valid", 0), ("train", 2), ("valid", 1)]


@pytest.mark.parametrize("epoch", [-1, 1.5, "2", True])
def test_an_epoch_is_a_whole_number(epoch: object) -> None:
    with pytest.raises(RecorderError, match="whole number"):
        PhaseClock().set_epoch(epoch)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a/b", "output", "../x", "layer"])
def test_a_phase_whose_name_cannot_be_stored_is_refused(name: str) -> None:
    clock = PhaseClock()
    with pytest.raises(RecorderError):
        clock.enter(name)
    assert clock.begin(True)[0] == "train"
