"""Bytes that we encode are Zarr v3's own, and chunks have the sizes that were promised."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec, Crc32cCodec

from actrace.errors import DamagedRunError
from actrace.store.group import plan_layout
from actrace.store.layout import (
    SHARD_BYTES,
    Layout,
    chunk_length,
    decode_strings,
    encode_strings,
)
from actrace.store.schema import PHASE_VARIABLES, UNIT_VARIABLES, Variable, output_variables

CODECS = [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()]


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(
        st.sampled_from(["<u4", "<u8", "<f4", "<f8", "<i4"]),
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    ),
    length=st.integers(1, 12),
    sharded=st.booleans(),
)
def test_zarr_reads_what_we_encode_and_we_read_what_zarr_encodes(values, length, sharded):
    """Rows first in memory, last on disk; values bit for bit."""
    rows = values[:length]
    fixed = rows.shape[1:]
    sharded = sharded and len(fixed) > 1
    layout = Layout(("x",) * rows.ndim, rows.dtype, fixed, length, sharded)
    store = zarr.storage.MemoryStore()
    extra = {"shards": layout.chunk} if sharded else {}
    array = zarr.create_array(
        store,
        shape=(*fixed, length),
        chunks=layout.inner,
        dtype=rows.dtype,
        compressors=CODECS,
        fill_value=0,
        config={"write_empty_chunks": True},
        **extra,
    )
    data = layout.encode(rows)
    key = layout.key(0)
    prototype = zarr.core.buffer.default_buffer_prototype()
    zarr.core.sync.sync(store.set(key, prototype.buffer.from_bytes(data)))
    want = np.empty((*fixed, length), rows.dtype)
    want.view(np.uint8)[:] = 255
    want[..., : len(rows)] = np.moveaxis(rows, 0, -1)
    assert np.asarray(array[:]).tobytes() == want.tobytes()
    array[:] = want
    theirs = zarr.core.sync.sync(store.get(key, prototype)).to_bytes()
    assert np.ascontiguousarray(layout.decode(theirs, "x")[: len(rows)]).tobytes() == rows.tobytes()


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_names_round_trip(texts):
    assert decode_strings(encode_strings(texts), "names") == texts


def test_zarr_reads_our_names(tmp_path):
    names = ["conv1", "", "ü", "a/b", "\U0001f600"]
    array = zarr.create_array(
        tmp_path / "a", shape=(5,), dtype=np.dtypes.StringDType(), compressors=CODECS
    )
    (tmp_path / "a" / "c").mkdir()
    (tmp_path / "a" / "c" / "0").write_bytes(encode_strings(names))
    assert array[:].tolist() == names


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 40])
def test_damaged_bytes_are_refused(damage):
    layout = Layout(("a", "b"), np.dtype("<u4"), (2,), 3, sharded=False)
    sharded = Layout(("a", "b", "c"), np.dtype("<u4"), (2, 2), 3, sharded=True)
    for each in (layout, sharded):
        with pytest.raises(DamagedRunError, match="here"):
            each.decode(damage, "here")
    with pytest.raises(DamagedRunError, match="here"):
        decode_strings(damage, "here")


def test_a_chunk_of_another_size_is_refused():
    small = Layout(("a", "b"), np.dtype("<u4"), (2,), 3, sharded=False)
    large = Layout(("a", "b"), np.dtype("<u4"), (2,), 4, sharded=False)
    data = small.encode(np.zeros((3, 2), "<u4"))
    with pytest.raises(DamagedRunError, match="unpacks to 24 bytes, expected 32"):
        large.decode(data, "here")


@given(
    row=st.integers(0, 2**40),
    budget=st.integers(1, 2**30),
    low=st.integers(0, 4),
    more=st.integers(0, 8),
)
def test_chunk_lengths_are_powers_of_two_within_bounds(row, budget, low, more):
    smallest, largest = 2**low, 2 ** (low + more)
    length = chunk_length(row, budget=budget, smallest=smallest, largest=largest)
    assert smallest <= length <= largest
    assert length & (length - 1) == 0
    assert length == smallest or length * row <= budget
    assert length == largest or 2 * length * max(row, 1) > budget


@given(layers=st.integers(1, 5000), bins=st.integers(2, 4096), units=st.integers(1, 2000))
def test_a_shard_stays_within_32_mb_and_16_to_1024_batches(layers, bins, units):
    sizes = {"layer": layers, "bin": bins, "unit": units, "role": 2}
    sizes |= {"output_unit": units, "target_class": units}
    count = np.dtype("uint32")
    found = [*PHASE_VARIABLES, *UNIT_VARIABLES, *output_variables("single-label", units, units)]
    for variable in found:
        if variable.dims[-1] not in ("batch", "window"):
            continue
        layout = plan_layout(variable, sizes, count)
        size = np.prod(layout.chunk, dtype=object) * layout.dtype.itemsize
        smallest = 1 if variable.dims[-1] == "window" else 16
        assert size <= SHARD_BYTES or layout.length <= max(smallest, 256)
        assert layout.sharded == ("bin" in variable.dims)
        if layout.sharded:
            assert smallest <= layout.length <= 1024
            assert size <= SHARD_BYTES or layout.length == smallest


def test_the_default_run_has_shards_of_512_batches():
    variable = Variable("count", ("layer", "bin", "batch"), "count", "")
    layout = plan_layout(variable, {"layer": 20, "bin": 512}, np.dtype("uint32"))
    assert layout.chunk == (20, 512, 512)
    assert layout.inner == (1, 512, 512)
