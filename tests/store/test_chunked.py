"""What is read chunk by chunk is what zarr reads, whichever cells are asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store import recording as rec

from actrace.store.chunked import chunked
from actrace.store.manifest import read_manifest
from actrace.store.reader import open_run
from actrace.store.snapshot import SnapshotStore

N = 16 * 3 + 5


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actrace.store.group.LONGEST_SHARD", 16)
        return rec.write_run(tmp_path_factory.mktemp("chunked") / "a", N)


@pytest.fixture(scope="module")
def both(path):
    """Return variable -> as we open it, and what zarr reads."""
    with open_run(path) as run:
        stored = run.stored("train", 1)
        yield {
            name: (stored[name].variable, zarr.open_array(path / "train" / name, mode="r")[...])
            for name in ("count", "mean", "step")
        }


def indices(n):
    """Return what a dimension of that length may be asked for."""
    number = st.integers(-n, n - 1)
    ends = st.none() | st.integers(-n - 1, n + 1)
    # Backwards all along: of a slice that is empty that way xarray itself makes an error.
    back = st.integers(-20, -1).map(lambda step: slice(None, None, step))
    some = st.lists(number, max_size=9).map(lambda at: np.array(at, np.int64))
    return number | st.builds(slice, ends, ends, st.integers(1, 20)) | back | some


@pytest.mark.parametrize("name", ["count", "mean", "step"])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_outer_index_gives_what_zarr_gives(both, name, data):
    variable, want = both[name]
    key = tuple(data.draw(indices(n)) for n in variable.shape)
    # From the last on, so that a dimension that goes moves none that is still to come.
    for axis in reversed(range(want.ndim)):
        want = want[(slice(None),) * axis + (key[axis],)]
    found = variable[key].values
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, want)


def test_only_the_chunks_that_are_asked_for_are_unpacked(path, monkeypatch):
    read = []
    piece = SnapshotStore.piece

    def noted(self, entry, at, number=0):
        read.append((entry.path, at, number))
        return piece(self, entry, at, number)

    monkeypatch.setattr(SnapshotStore, "piece", noted)
    with open_run(path) as run:
        stored = run.stored("train", 1)
        read.clear()
        stored["count"].isel(layer=[0, 2], batch=[3, 50, 4]).load()
        assert read == [("train/count", at, number) for at in (0, 3) for number in (0, 2)]
        read.clear()
        stored["count"].isel(batch=slice(7, 7)).load()
        assert read == []
        stored["mean"].isel(layer=1).load()
        assert read == [("train/mean", 0, 0)]


def test_it_travels_to_another_process(path):
    with open_run(path) as run:
        some = run["train"]["count"].isel(layer=1)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(some)).values, some.values)


def test_what_another_writer_encoded_or_a_network_holds_is_left_to_zarr(path, monkeypatch):
    entry = read_manifest(path).arrays["train/mean"]
    store = SnapshotStore(read_manifest(path))
    with open_run(path) as run:
        variable = run.stored("train", 1)["mean"].variable
        assert chunked(variable, entry, store) is not variable
        packed = variable.copy(deep=False)
        packed.encoding = {**variable.encoding, "scale_factor": 2.0}
        assert chunked(packed, entry, store) is packed
        monkeypatch.setattr("actrace.store.sources.directory.DirectorySource.near", False)
        assert chunked(variable, entry, store) is variable
    store.close()
