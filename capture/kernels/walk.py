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
from typing import Any, Final, TypeAlias, cast

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
def _next_chosen(group: Any, blocks: Any, stride: Any, phase: Any) -> Any:
    """Return the block read of this group, or of the next, and the group after it."""
    while group * stride < blocks:
        block = group * stride + _chosen(group, stride, phase)
        group += 1
        if block < blocks:
            return block, group
    return blocks, group


@inner
def _fold(flags: Any, period: Any, each: Any, units: Any, active: Any) -> Any:
    """Add the places' activity to their units and clear it."""
    left = flags.size // period
    while left > 1:
        half = left // 2
        size = half * period
        to = flags[:size]
        of = flags[(left - half) * period : left * period]
        for j in range(size):
            to[j] += of[j]
            of[j] = 0
        left -= half
    if each == 1:
        for j in range(units):
            active[j] += flags[j]
            flags[j] = 0
        return
    at = 0
    for u in range(units):
        hits = 0
        for j in range(at, at + each):
            hits += flags[j]
            flags[j] = 0
        active[u] += hits
        at += each


def _entry(dtype: Any, tiny: Any, front: int, stamp: str) -> _Function:
    """Return what plans run; the arguments are constants of the compiled code.

    Parameters
    ----------
    dtype : float32 or float64
        What the tensor is read as.
    tiny : dtype
        A block whose squares sum to less may have lost some to underflow.
    front : int
        Entries of the table of right edges before that of shifted bin 0.
    stamp : str
        Of the sources. Numba's cache notices changes of this file alone, but the
        other files are compiled in.
    """

    # Not `nogil`: for a small tensor the interpreter is kept, because whoever takes it
    # may keep it for milliseconds. A large one lets it go in between.
    @njit(cache=True, **OPTIONS)  # type: ignore[untyped-decorator]
    def run(data: Any, record: Any, at_row: Any) -> None:
        """Add the tensor at `data` to row `at_row` of a slot's arrays."""
        r = carray(pointer(record), (f.N_FIELDS,), np.int64)
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
        if n == 0 or stamp == "":
            return
        scratch = carray(pointer(r[f.SCRATCH]), (8,), np.int64)
        # The first room is for whoever holds the interpreter, so never for two at a time.
        mine = 0
        state = np.int64(0)
        if n >= r[f.RELEASE]:
            for k in range(1, r[f.SCRATCHES]):
                if mine == 0 and scratch[k] == 0:
                    mine = k
            if mine > 0:
                scratch[mine] = 1
                state = _let_go()
        room = r[f.SCRATCH] + 64 + mine * r[f.SCRATCH_STEP]
        x = carray(pointer(data), (n,), dtype)
        climb = carray(pointer(r[f.CLIMB]), (front + n_bins + 3,), dtype)
        limit = dtype(carray(pointer(record), (f.N_FIELDS,), np.float64)[f.THRESHOLD])
        sampling = carray(pointer(r[f.SAMPLING]), (4,), np.int64)
        mode = sampling[0]
        stride = sampling[1]
        phase = sampling[2]
        if n < sampling[3]:
            mode = 0
        if mode == 0:
            stride = 1
        tables = 1 if n < _SMALL * stride else 4
        h = carray(pointer(room + f.HEAD), (tables, 2 * (n_bins + 3)), np.uint32)
        near = carray(pointer(room + f.NEAR_AT), (f.BLOCK,), np.float32)
        way = f.APART if mode == _ALL else r[f.WAY]
        # Of samples longer than a chosen block, a block never holds whole ones.
        group = 0 if mode == _ALL and row > CUT else r[f.GROUP]
        span = r[f.SPAN]
        flags = carray(
            pointer(room + f.TILE_AT if r[f.FLAGS] == 0 else r[f.FLAGS]), (span,), np.int32
        )
        cut = r[f.CUT] if mode == _ALL else CUT
        blocks = (n + cut - 1) // cut
        chosen_group = np.int64(0)
        chosen = np.int64(0)
        chosen_end = np.int64(0)

        read = n if mode == 0 else 0
        at = np.int64(0)
        begin = np.int64(0)
        end = np.int64(0)
        unit = 0
        samples = 0
        seen = 0  # elements read of the sample in progress
        raw_sum = 0.0
        while True:
            if at >= end:
                if mode == _ALL:
                    chosen, chosen_group = _next_chosen(chosen_group, blocks, stride, phase)
                    begin = chosen * cut
                    if group == 0 and seen > 0 and begin // row != (at - 1) // row:
                        sums[5] += np.sqrt(raw_sum * (row / seen))
                        samples += 1
                        raw_sum = 0.0
                        seen = 0
                    if chosen == blocks:
                        break
                    end = min(begin + cut, n)
                    read += end - begin
                else:
                    if at == n:
                        break
                    begin = at
                    end = min(at + r[f.LENGTH], n)
                at = begin
            size = min(r[f.STEP], end - at)
            if mode == _ALL and group == 0:
                size = min(size, row - at % row)
            last = at + size
            xb = load_block(x, data, at, size, r, room)
            within = at - begin if span > f.TILE else 0
            raw, hits, tame = add_block(
                xb, way, limit, tiny, flags[within : within + size], tally, sums
            )

            b = at
            while b < last:
                stop = last
                if mode == _HISTOGRAM:
                    if b >= chosen_end:
                        chosen, chosen_group = _next_chosen(chosen_group, blocks, stride, phase)
                        chosen_end = min(chosen * cut + cut, n) if chosen < blocks else n + 1
                    b = max(b, chosen * cut)
                    if b >= last:
                        break
                    stop = min(chosen_end, last)
                    read += stop - b
                bin_block(xb[b - at : stop - at], data, b, r, climb, h, near)
                b = stop

            if way == f.RUNS:
                active[unit] += hits
                if last == end:
                    unit = unit + 1 if unit + 1 < units else 0
            elif way == f.APART:
                count_units(xb, at, units, each, limit, active)
            if group > 0:
                sums[5] += norms(xb, row, tame)
                samples += size // row
            else:
                raw_sum += raw
                seen += size
                if last % row == 0:
                    sums[5] += np.sqrt(raw_sum * (row / seen))
                    samples += 1
                    raw_sum = 0.0
                    seen = 0
            at = last
        if way == f.PLACES:
            _fold(flags, units * each, each, units, active)
        sums[6] += samples
        tally[8] += read
        # Negative values were counted backwards in the second half (see `BinTable.packed`).
        count = carray(pointer(r[f.COUNT] + at_row * r[f.COUNT_STEP]), (n_bins,), np.int64)
        back = 2 * n_bins + 4
        for c in range(tables):
            hc = h[c]
            tally[0] += np.int64(hc[0]) + np.int64(hc[back])
            tally[1] += np.int64(hc[n_bins + 1]) + np.int64(hc[n_bins + 3])
            up = hc[1:]
            down = hc[n_bins + 4 :]
            for k in range(n_bins):
                count[k] += np.int64(up[k]) + np.int64(down[n_bins - 1 - k])
            for k in range(hc.size):
                hc[k] = 0
        if mine > 0:
            _take_back(state)
            scratch[mine] = 0

    return cast("_Function", run)


def _stamp() -> str:
    here = Path(__file__).parent
    names = ("fields.py", "blocks.py", "bins.py", "sampling.py", "walk.py")
    return sha256(b"".join((here / name).read_bytes() for name in names)).hexdigest()


#: For float32 and what fits it; for float64 and wide integers.
run_narrow: Final = _entry(np.float32, np.float32(1e-28), 0, _stamp())
run_wide: Final = _entry(np.float64, np.float64(0), 1, _stamp())
