"""The compiled walk over a tensor: every statistic in one pass, from three integers.

`run_narrow` and `run_wide` take the address of a tensor's numbers, the address
of a record (see `fields` and `plans`) that says how to read them and where to add
them up, and the row of the slot's arrays. The walk goes block by block, so that
each of its loops reads from the first-level cache. It allocates nothing and raises
nothing. May import NumPy, Numba and llvmlite.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from actrace.capture.kernels import fields as f
from actrace.capture.kernels.bins import bin_block, load_block
from actrace.capture.kernels.blocks import OPTIONS, add_block, count_units, inner, norms, pointer
from actrace.capture.kernels.sampling import CUT

__all__ = ["run_narrow", "run_wide"]

#: Tensors smaller than this are counted into one histogram, not four.
_SMALL: Final = 8192
#: A block whose squares sum to less may have lost some to float32 underflow.
_TINY: Final = np.float32(1e-28)
# Modes of sampling.
_HISTOGRAM: Final = 1
_ALL: Final = 2
_Function: TypeAlias = Callable[..., Any]


@intrinsic  # type: ignore[untyped-decorator]
def _let_go(_context: Any) -> Any:
    """Release the interpreter; return the thread's state."""

    def build(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(8).as_pointer(), [])
        save = cgutils.get_or_insert_function(builder.module, kind, "PyEval_SaveThread")
        return builder.ptrtoint(builder.call(save, []), ir.IntType(64))

    return types.int64(), build


@intrinsic  # type: ignore[untyped-decorator]
def _take_back(_context: Any, state: Any) -> Any:
    """Take the interpreter again."""

    def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer])
        restore = cgutils.get_or_insert_function(builder.module, kind, "PyEval_RestoreThread")
        builder.call(restore, [builder.inttoptr(args[0], pointer)])
        return context.get_dummy_value()

    return types.none(state), build


@inner
def _chosen(group: Any, stride: Any, phase: Any) -> Any:
    """Return which block of a group of `stride` is read.

    Each block in turn as `phase` goes from 0 to stride - 1, in an order that
    differs from group to group, so that no layout beats with it.
    """
    mixed = np.uint64(group) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(33)) + np.uint64(phase)) % stride


@inner
def _walk(
    x: Any, data: Any, r: Any, at_row: Any, climb: Any, limit: Any, tiny: Any, room: Any
) -> Any:
    """Add a tensor to row `at_row` of a slot's arrays."""
    n = r[f.N]
    row = r[f.ROW]
    units = r[f.UNITS]
    each = r[f.INNER]
    n_bins = r[f.N_BINS]
    tally = carray(pointer(r[f.TALLY] + at_row * r[f.TALLY_STEP]), (9,), np.int64)
    sums = carray(pointer(r[f.SUMS] + at_row * r[f.SUMS_STEP]), (7,), np.float64)
    active = carray(pointer(r[f.ACTIVE] + at_row * r[f.ACTIVE_STEP]), (units,), np.int64)
    tally[6] += n
    tally[7] += 1
    if n == 0:
        return
    sampling = carray(pointer(r[f.SAMPLING]), (4,), np.int64)
    mode = sampling[0]
    stride = sampling[1]
    phase = sampling[2]
    if mode == 0 or n < sampling[3]:
        mode = 0
        stride = 1
    tables = 1 if n < _SMALL * stride else 4
    h = carray(pointer(room + f.HEAD), (tables, 2 * (n_bins + 3)), np.uint32)
    near = carray(pointer(room + f.NEAR_AT), (f.BLOCK,), np.float32)
    way = r[f.WAY]
    group = r[f.GROUP]
    span = r[f.SPAN]
    read = n
    raw_sum = 0.0
    samples = n // row
    if mode == _ALL:
        read = 0
        cut = r[f.CUT]
        sample = np.int64(-1)
        seen = 0
        whole = 0
        blocks = (n + cut - 1) // cut
        for g in range((blocks + stride - 1) // stride):
            k = g * stride + _chosen(g, stride, phase)
            if k >= blocks:
                continue
            at = k * cut
            stop = min(at + cut, n)
            read += stop - at
            while at < stop:
                size = stop - at
                if group == 0:
                    size = min(size, row - at % row)
                xb = load_block(x, data, at, size, r, room)
                raw, _ = add_block(xb, 2, limit, tiny, near.view(np.int32), tally, sums)
                bin_block(xb, data, at, r, climb, h, near)
                count_units(xb, at, units, each, limit, active)
                if group > 0:
                    sums[5] += norms(xb, row)
                    whole += size // row
                else:
                    if at // row != sample:
                        if seen > 0:
                            sums[5] += np.sqrt(raw_sum * (row / seen))
                            whole += 1
                        sample = at // row
                        raw_sum = 0.0
                        seen = 0
                    raw_sum += raw
                    seen += size
                at += size
        if seen > 0:
            sums[5] += np.sqrt(raw_sum * (row / seen))
            whole += 1
        samples = whole
    else:
        flags = carray(
            pointer(room + f.TILE_AT if r[f.FLAGS] == 0 else r[f.FLAGS]), (span,), np.int32
        )
        at = np.int64(0)
        unit = 0
        left = row
        while at < n:
            end = min(at + r[f.LENGTH], n)
            begin = at
            while at < end:
                size = min(r[f.STEP], end - at)
                xb = load_block(x, data, at, size, r, room)
                within = at - begin if span > f.TILE else 0
                raw, hits = add_block(
                    xb, way, limit, tiny, flags[within : within + size], tally, sums
                )
                raw_sum += raw
                if way == f.RUNS:
                    active[unit] += hits
                elif way != f.PLACES:
                    count_units(xb, at, units, each, limit, active)
                if mode == 0:
                    bin_block(xb, data, at, r, climb, h, near)
                if group > 0:
                    sums[5] += norms(xb, row)
                at += size
            if group == 0:
                left -= end - begin
                if left == 0:
                    left = row
                    sums[5] += np.sqrt(raw_sum)
                    raw_sum = 0.0
            unit += 1
            if unit == units:
                unit = 0
        if way == f.PLACES:
            at = 0
            while at < span:
                for u in range(units):
                    hits = 0
                    for j in range(each):
                        hits += flags[at + j]
                        flags[at + j] = 0
                    active[u] += hits
                    at += each
        if mode == _HISTOGRAM:
            read = 0
            cut = CUT
            blocks = (n + cut - 1) // cut
            for g in range((blocks + stride - 1) // stride):
                k = g * stride + _chosen(g, stride, phase)
                if k >= blocks:
                    continue
                at = k * cut
                size = min(cut, n - at)
                xb = load_block(x, data, at, size, r, room)
                bin_block(xb, data, at, r, climb, h, near)
                read += size
    sums[6] += samples
    tally[8] += read
    # Negative values were counted backwards in the second half (see `BinTable.packed`).
    count = carray(pointer(r[f.COUNT] + at_row * r[f.COUNT_STEP]), (n_bins,), np.int64)
    back = 2 * n_bins + 4
    for c in range(tables):
        hc = h[c]
        for k in range(n_bins):
            count[k] += np.int64(hc[k + 1]) + np.int64(hc[back - 1 - k])
        tally[0] += np.int64(hc[0]) + np.int64(hc[back])
        tally[1] += np.int64(hc[n_bins + 1]) + np.int64(hc[n_bins + 3])
        hc[:] = np.uint32(0)


@inner
def _run(x: Any, data: Any, r: Any, at_row: Any, climb: Any, limit: Any, tiny: Any) -> Any:
    """Walk in a scratch of its own: the first while holding the interpreter, others without."""
    scratch = r[f.SCRATCH]
    mine = 0
    state = np.int64(0)
    if r[f.N] >= r[f.RELEASE]:
        taken = carray(pointer(scratch), (8,), np.int64)
        for k in range(1, r[f.SCRATCHES]):
            if mine == 0 and taken[k] == 0:
                mine = k
        if mine > 0:
            taken[mine] = 1
            state = _let_go()
    _walk(x, data, r, at_row, climb, limit, tiny, scratch + 64 + mine * r[f.SCRATCH_STEP])
    if mine > 0:
        _take_back(state)
        carray(pointer(scratch), (8,), np.int64)[mine] = 0


def _entries(stamp: str) -> tuple[_Function, _Function]:
    """Return what a plan runs, compiled anew when the sources' stamp is another."""

    # Not `nogil`: for a small tensor the interpreter is kept, because whoever takes it
    # may keep it for milliseconds. A large one lets it go in between, see `_run`.
    @njit(cache=True, **OPTIONS)  # type: ignore[untyped-decorator]
    def run_narrow(data: Any, record: Any, row: Any) -> None:
        """Add a tensor of float32, or of a dtype that fits it, to a slot."""
        r = carray(pointer(record), (f.N_FIELDS,), np.int64)
        x = carray(pointer(data), (r[f.N],), np.float32)
        climb = carray(pointer(r[f.CLIMB]), (r[f.N_BINS] + 3,), np.float32)
        limit = np.float32(carray(pointer(record), (f.N_FIELDS,), np.float64)[f.THRESHOLD])
        if stamp != "":
            _run(x, data, r, row, climb, limit, _TINY)

    @njit(cache=True, **OPTIONS)  # type: ignore[untyped-decorator]
    def run_wide(data: Any, record: Any, row: Any) -> None:
        """Add a tensor of float64, or of 32-bit or 64-bit integers, to a slot."""
        r = carray(pointer(record), (f.N_FIELDS,), np.int64)
        x = carray(pointer(data), (r[f.N],), np.float64)
        climb = carray(pointer(r[f.CLIMB]), (r[f.N_BINS] + 3,), np.float64)
        limit = carray(pointer(record), (f.N_FIELDS,), np.float64)[f.THRESHOLD]
        if stamp != "":
            _run(x, data, r, row, climb, limit, 0.0)

    return run_narrow, run_wide


def _stamp() -> str:
    # Numba's cache notices changes of this file alone, but compiles the others in.
    here = Path(__file__).parent
    names = ("fields.py", "blocks.py", "bins.py", "sampling.py", "walk.py")
    return sha256(b"".join((here / name).read_bytes() for name in names)).hexdigest()


run_narrow, run_wide = _entries(_stamp())
