"""Which batches and windows of the ranks are one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actrace.store.merging.alignment import align_batches, align_windows


def aligned(*ranks):
    """Align ranks given as (steps, epochs), or steps alone."""
    pairs = [rank if isinstance(rank, tuple) else (rank, [0] * len(rank)) for rank in ranks]
    return align_batches(*([np.array(side, int) for side in sides] for sides in zip(*pairs)))  # noqa: B905


def places(alignment):
    return [at.tolist() for at in alignment.at]


def test_equal_steps_are_taken_as_they_stand():
    found = aligned(range(5), range(5))
    assert places(found) == [[0, 1, 2, 3, 4]] * 2
    assert found.ranks.tolist() == [2] * 5


def test_a_rank_that_died_or_lost_a_batch_leaves_the_others_where_they_were():
    found = aligned([0, 1, 2, 3, 4], [0, 2, 3])
    assert places(found) == [[0, 1, 2, 3, 4], [0, -1, 1, 2, -1]]
    assert found.ranks.tolist() == [2, 1, 2, 2, 1]


def test_batches_of_an_evaluation_share_a_step_and_are_told_by_their_number():
    found = aligned([4, 4, 4, 8, 8], [4, 4, 8, 8, 8])
    assert found.step.tolist() == [4, 4, 4, 8, 8, 8]
    assert places(found) == [[0, 1, 2, 3, 4, -1], [0, 1, -1, 2, 3, 4]]


def test_a_rank_that_alone_validates_begins_an_epoch_that_the_others_do_not_see():
    found = aligned((range(6), [0, 0, 0, 1, 1, 1]), (range(6), [0] * 6))
    assert places(found) == [[0, 1, 2, 3, 4, 5]] * 2
    assert found.epoch.tolist() == [0, 0, 0, 1, 1, 1]


def test_epochs_of_different_lengths_are_matched_by_the_number_in_the_epoch():
    found = aligned((range(6), [0, 0, 0, 1, 1, 1]), (range(8), [0, 0, 0, 0, 1, 1, 1, 1]))
    assert places(found) == [[0, 1, 2, -1, 3, 4, 5, -1], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert found.step.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_gap_that_a_kill_left_is_no_drift_of_epochs():
    steps = [0, 1, 2, 5, 6, 7]
    found = aligned((range(8), [0] * 4 + [1] * 4), (steps, [0, 0, 0, 1, 1, 1]))
    assert found.step.tolist() == list(range(8))
    assert places(found)[1] == [0, 1, 2, -1, -1, 3, 4, 5]


def test_evaluations_after_epochs_of_different_lengths_are_matched_too():
    found = aligned(([3, 3, 6, 6], [0, 0, 1, 1]), ([4, 4, 8, 8], [0, 0, 1, 1]))
    assert places(found) == [[0, 1, 2, 3]] * 2
    assert found.step.tolist() == [4, 4, 8, 8]


def test_ranks_without_a_batch_have_none():
    assert places(aligned([], [])) == [[], []]
    assert places(aligned([0, 1], [])) == [[0, 1], [-1, -1]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=12).map(sorted), min_size=1, max_size=4))
def test_every_batch_of_every_rank_is_kept_once_and_in_order(ranks):
    found = aligned(*ranks)
    for at, steps in zip(found.at, ranks, strict=True):
        assert at[at >= 0].tolist() == list(range(len(steps)))
        assert found.step[at >= 0].tolist() == steps
    assert (found.ranks > 0).all()
    assert (np.diff(found.step) >= 0).all()


def windows(alignment, *ranks):
    firsts = [np.cumsum(lengths) - lengths for lengths in map(np.array, ranks)]
    plan = align_windows(alignment, firsts, [np.array(lengths) for lengths in ranks])
    return plan.first_batch.tolist(), plan.batches.tolist(), [p.tolist() for p in plan.lengths]


def test_windows_end_where_no_ranks_window_goes_on():
    whole = aligned(range(8), range(8))
    assert windows(whole, [2, 2, 2, 2], [2, 2, 2, 2]) == ([0, 2, 4, 6], [2] * 4, [[1] * 4] * 2)
    assert windows(whole, [2, 2, 2, 2], [3, 1, 4]) == ([0, 4], [4, 4], [[2, 2], [2, 1]])
    assert windows(whole, [1, 1, 6], [8]) == ([0], [8], [[3], [1]])


def test_batches_that_are_in_no_window_of_a_rank_leave_a_gap():
    whole = aligned(range(6), range(6))
    assert windows(whole, [2, 2, 2], [2, 2])[:2] == ([0, 2], [2, 2])
    assert windows(whole, [6], [2, 2])[:2] == ([], [])


def test_a_rank_that_has_no_batch_of_a_window_does_not_hold_it_up():
    found = aligned(range(6), range(3))
    assert windows(found, [2, 2, 2], [2, 1]) == ([0, 2, 4], [2, 2, 2], [[1, 1, 1], [1, 1, 0]])


def test_windows_beyond_the_batches_take_no_part():
    whole = aligned(range(4), range(4))
    assert windows(whole, [2, 2, 9], [2, 2])[:2] == ([0, 2], [2, 2])


@given(
    st.lists(
        st.lists(st.integers(1, 5), min_size=1, max_size=8).filter(lambda x: sum(x) >= 8),
        min_size=1,
        max_size=4,
    )
)
def test_merged_windows_cover_what_all_cover_and_hold_whole_windows(ranks):
    n = min(map(sum, ranks))
    ranks = [[x for x, end in zip(r, np.cumsum(r), strict=True) if end <= n] for r in ranks]
    ranks = [[*r, n - sum(r)] if sum(r) < n else r for r in ranks]
    first, batches, lengths = windows(aligned(*[range(n)] * len(ranks)), *ranks)
    assert first == [0, *np.cumsum(batches)[:-1]]
    assert sum(batches) == n
    for mine, own in zip(ranks, lengths, strict=True):
        ends = np.cumsum(mine)
        assert ends[np.cumsum(own) - 1].tolist() == np.cumsum(batches).tolist()
