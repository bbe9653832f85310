"""A sum through a level is that of the batches, to the last count, and reads less."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.rewriting import thinning

import actrace
from actrace.analysis.through_levels import sum_of_counts
from actrace.store.snapshot import SnapshotStore

N = 32 * 16 + 5
EPOCHS = {e: slice(100 * e, 100 * (e + 1)) for e in range(5)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.levels.ladder.FEWEST", 1)
        patch.setattr("actrace.store.group.LONGEST_SHARD", 16)
        return thinning.write_run(tmp_path_factory.mktemp("levels") / "a", N, epoch=100)


@pytest.fixture(scope="module")
def run(path):
    with actrace.open(path) as run:
        yield run


@pytest.fixture(scope="module")
def count(run):
    return run["train"]["count"].values


@pytest.fixture
def read(monkeypatch):
    """Return the histograms' chunks that were read."""
    seen: list[tuple[str, int, int]] = []
    piece = SnapshotStore.piece

    def noted(self, entry, at, number=0):
        if entry.path.endswith("count"):
            seen.append((entry.path, at, number))
        return piece(self, entry, at, number)

    monkeypatch.setattr(SnapshotStore, "piece", noted)
    return seen


ends = st.tuples(st.integers(0, N), st.integers(0, N)).map(lambda pair: slice(*sorted(pair)))
gaps = st.sets(st.integers(0, N - 1), min_size=1).map(lambda at: np.array(sorted(at)))


@given(st.lists(ends.filter(lambda part: part.stop > part.start) | gaps, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_parts_are_the_sums_of_their_batches(run, count, parts) -> None:
    found = sum_of_counts(run, "train", np.array([2, 0]), dict(enumerate(parts)))
    assert (found.dtype, found.chunks is not None) == (np.uint64, True)
    for at, part in enumerate(parts):
        want = count[[2, 0]][..., part].sum(-1)
        np.testing.assert_array_equal(found.values[..., at], want)


@pytest.mark.parametrize("layers", [1, np.array([1]), np.array([0, 1, 2])])
def test_of_long_stretches_a_chunk_at_each_end_is_read_and_the_level(
    run, count, read, layers
) -> None:
    found = sum_of_counts(run, "train", layers, EPOCHS).values
    numbers = np.atleast_1d(layers).tolist()
    assert sorted(read) == sorted(
        [
            *(("levels/train/x16/count", at, n) for at in (0, 1) for n in numbers),
            *(("train/count", at, n) for at in (6, 12, 18, 31) for n in numbers),
        ]
    )
    for epoch, part in EPOCHS.items():
        np.testing.assert_array_equal(found[..., epoch], count[layers][..., part].sum(-1))


def test_a_stretch_within_a_chunk_reads_that_alone(run, read) -> None:
    sum_of_counts(run, "train", 0, {0: slice(3, 9)}).compute()
    assert {at for _, at, _ in read} == {0}
    assert {name for name, _, _ in read} == {"train/count"}


def test_a_level_that_was_damaged_is_not_asked(path, count, read, tmp_path) -> None:
    damaged = shutil.copytree(path, tmp_path / "a.zarr")
    (damaged / "levels/train/x16/count/c/0/0/1").unlink()
    actrace.repair(damaged, in_place=True)
    read.clear()
    with actrace.open(damaged) as run:
        assert "levels/train/x16/count" in run.attrs["damaged"]
        found = sum_of_counts(run, "train", 1, EPOCHS).values
    assert {name for name, _, _ in read} == {"train/count"}
    for epoch, part in EPOCHS.items():
        np.testing.assert_array_equal(found[..., epoch], count[1][..., part].sum(-1))
