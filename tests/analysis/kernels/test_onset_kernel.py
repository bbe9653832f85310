"""Where validation turned for the worse while training went on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actrace.analysis.kernels.onset import find_parting, first_stretch

LEARNS = [2.0, 1.0, 0.6, 0.4, 0.2, 0.1]
TURNS = [2.1, 1.2, 1.0, 1.2, 1.4, 1.6]
NARROW = [0.05] * 6


def parting(train=LEARNS, valid=TURNS, band=NARROW, patience=2, rise=0.05):
    return find_parting(train, valid, band, patience=patience, rise=rise)


def test_the_onset_follows_the_best_epoch_and_is_confirmed_after_patience() -> None:
    found = parting()
    assert (found.best, found.onset, found.confirmed) == (2, 3, 4)
    assert parting(patience=3).confirmed == 5
    assert parting(patience=4).onset is None


def test_a_validation_that_goes_on_has_no_onset() -> None:
    found = parting(valid=[2.1, 1.2, 1.0, 0.9, 0.8, 0.8])
    assert (found.best, found.onset) == (4, None)


def test_a_rise_below_the_threshold_is_none() -> None:
    assert parting(valid=[2.1, 1.2, 1.0, 1.04, 1.03, 1.04]).onset is None
    assert parting(valid=[2.1, 1.2, 1.0, 1.04, 1.03, 1.04], rise=0.02).onset == 3


def test_a_gap_that_training_windows_show_too_is_none() -> None:
    assert parting(band=[2.0] * 6).onset is None


def test_a_training_that_falls_apart_with_its_validation_is_none() -> None:
    assert parting(train=[2.0, 1.0, 0.6, 0.7, 0.9, 1.1]).onset is None


def test_a_gap_that_was_always_there_is_none() -> None:
    """Dropout makes training look worse, a hard validation set better, all along."""
    for offset in (0.5, -0.5):
        train = np.array([2.0, 1.5, 1.2, 1.1, 1.05, 1.0])
        assert parting(train=train, valid=train + offset).onset is None


def test_wrong_labels_hide_the_gap_and_not_the_onset() -> None:
    assert parting(train=np.array(LEARNS) + 1.5).onset == 3


def test_an_unknown_band_is_taken_as_the_widest_known() -> None:
    assert parting(band=[np.nan, 0.05, np.nan, np.nan, np.nan, 0.05]).onset == 3
    assert parting(band=[3.0, np.nan, np.nan, np.nan, np.nan, np.nan]).onset is None
    assert parting(band=[np.nan] * 6).onset == 3


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_the_first_stretch_is_that_of_a_slow_search(held: list[bool], length: int) -> None:
    starts = [i for i in range(len(held) - length + 1) if all(held[i : i + length])]
    assert first_stretch(held, length) == (starts[0] if starts else None)


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_an_onset_does_not_depend_on_the_unit_of_the_error(pairs, patience) -> None:
    train, valid = np.array(pairs).T
    band = np.full(len(train), 0.1)
    one = parting(train, valid, band, patience)
    if one.onset is not None:
        assert one.best + 1 == one.onset < len(train)
        assert one.confirmed >= one.onset + patience - 1
        assert valid[one.best] == valid.min()
    with_unit = parting(train * 4.0, valid * 4.0, band * 4.0, patience)
    assert with_unit == one


def test_one_epoch_is_its_own_best() -> None:
    assert parting([1.0], [1.0], [0.1]) == parting([1.0], [2.0], [np.nan])
    with pytest.raises(ValueError, match="empty"):
        parting([], [], [])
