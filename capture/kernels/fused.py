"""The fused CPU kernel: everything about a tensor in one compiled pass.

float32 and float64 are read as they are; every other dtype is widened first,
exactly, in pieces that stay in the cache. The pass goes block by block, so that
each of its loops reads from the first-level cache. May import NumPy, Numba and
torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from actrace.capture.kernels.slots import CALLS, Shape, Slot
from actrace.capture.kernels.tables import bin_table
from actrace.capture.kernels.widen import pieces
from actrace.store.axis import Axis

__all__ = ["FusedKernel"]

# Reordering sums is allowed, assuming away NaN and infinity is not.
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "contract", "arcp"},
}
_INLINED = {name: value for name, value in _OPTIONS.items() if name != "cache"}
_Function: TypeAlias = Callable[..., Any]
_compiled: Callable[[_Function], _Function] = njit(**_OPTIONS)
_BLOCK = 1024
#: Tensors smaller than this are counted into one histogram, not four.
_SMALL = 8192
#: Elements whose statistics share one shift, before it moves to the new mean.
_GROUP = 1024
#: Rows of `inner` at least this long are counted one by one.
_LONG_ROW = 32
#: A block whose squares sum to less may have lost some to float32 underflow.
_TINY = 1e-28


@_compiled
def _block_sums(xb: Any, shift: Any) -> Any:
    """Return sums of x - shift, of its square, of x squared, and the zeros."""
    total = xb.dtype.type(0)
    squares = xb.dtype.type(0)
    raw = xb.dtype.type(0)
    zeros = np.int32(0)
    for j in range(xb.size):
        x = xb[j]
        d = x - shift
        total += d
        squares += d * d
        raw += x * x
        zeros += np.int32(x == 0)
    return total, squares, raw, zeros


@_compiled
def _block_extremes(kb: Any, down: Any, mask: Any) -> Any:
    """Return the extremes of a block as keys: bit patterns put in the values' order.

    Integers, because a float minimum is not vectorised while NaN counts.
    """
    low = kb[0] ^ ((kb[0] >> down) & mask)
    high = low
    for j in range(kb.size):
        b = kb[j]
        k = b ^ ((b >> down) & mask)
        low = min(low, k)
        high = max(high, k)
    return low, high


@_compiled
def _careful_block(xb: Any, shift: Any, tally: Any, sums: Any) -> Any:
    """Do a block in float64, setting aside what is not finite."""
    total = 0.0
    squares = 0.0
    raw = 0.0
    finite = 0
    for j in range(xb.size):
        x = np.float64(xb[j])
        if x != x:
            tally[2] += 1
        elif x == np.inf:
            tally[3] += 1
        elif x == -np.inf:
            tally[4] += 1
        else:
            d = x - shift
            total += d
            squares += d * d
            raw += x * x
            finite += 1
            sums[3] = x if x < sums[3] else sums[3]
            sums[4] = x if x > sums[4] else sums[4]
    return total, squares, raw, finite


@_compiled
def _merge(sums: Any, n: Any, total: Any, squares: Any, shift: Any) -> Any:
    """Merge n elements, summed about `shift`, into `sums` (see `merge_moments`)."""
    mean = shift + total / n
    m2 = max(squares - total * total / n, 0.0)
    before = sums[0]
    after = before + n
    sums[0] = after
    if before == 0:
        sums[1] = mean
        sums[2] = m2
        return
    delta = mean - sums[1]
    sums[1] += delta * (n / after)
    sums[2] += m2 + delta * delta * (before * (n / after))


def _count_block(xb: Any, table: Any, h: Any) -> Any:
    """Count a block's bins; compiled in the form that suits the block's dtype."""
    raise NotImplementedError("runs only inside compiled code")


def _count_float32(xb: Any, table: Any, h: Any) -> Any:
    """Count a block's bins: one look and an addition each where the axis allows it."""
    packed, first, climb, plain = table
    bb = xb.view(np.uint32)
    half = np.uint32(16)
    if not plain:
        h0 = h[0]
        for j in range(xb.size):
            x = xb[j]
            i = np.uint64(first[np.uint64(bb[j] >> half)])
            while x >= climb[i]:
                i += np.uint64(1)
            h0[i] += np.uint32(1)
        return
    # Four histograms in turn, so that equal neighbours do not wait for each other.
    apart = 1 if h.shape[0] == 4 else 0
    h0 = h[0]
    h1 = h[apart]
    h2 = h[2 * apart]
    h3 = h[3 * apart]
    quarter = xb.size >> 2
    for j in range(quarter):
        k = np.uint64(j) << np.uint64(2)
        b0 = bb[k]
        b1 = bb[k | np.uint64(1)]
        b2 = bb[k | np.uint64(2)]
        b3 = bb[k | np.uint64(3)]
        h0[np.uint64(np.uint32(packed[np.uint64(b0 >> half)] + b0) >> half)] += np.uint32(1)
        h1[np.uint64(np.uint32(packed[np.uint64(b1 >> half)] + b1) >> half)] += np.uint32(1)
        h2[np.uint64(np.uint32(packed[np.uint64(b2 >> half)] + b2) >> half)] += np.uint32(1)
        h3[np.uint64(np.uint32(packed[np.uint64(b3 >> half)] + b3) >> half)] += np.uint32(1)
    for j in range(quarter << 2, xb.size):
        b0 = bb[j]
        h0[np.uint64(np.uint32(packed[np.uint64(b0 >> half)] + b0) >> half)] += np.uint32(1)


def _count_float64(xb: Any, table: Any, h: Any) -> Any:
    """Count a block's bins, starting from each value's float32 neighbour."""
    _, first, climb, _ = table
    near = np.empty(xb.size, np.float32)
    for j in range(xb.size):
        near[j] = np.float32(xb[j])
    bb = near.view(np.uint32)
    h0 = h[0]
    n_bins = climb.size - 3
    for j in range(xb.size):
        x = xb[j]
        i: Any = np.int64(first[np.uint64(bb[j] >> np.uint32(16))])
        if i == n_bins + 2 and abs(x) < np.inf:
            # Finite, but beyond float32.
            i = n_bins + 1 if x > 0 else 0
        if i <= n_bins + 1:
            while i <= n_bins and x >= climb[i]:
                i += 1
            while i > 0 and x < climb[i - 1]:
                i -= 1
        h0[np.uint64(i)] += np.uint32(1)


def _choose_count(xb: Any, table: Any, h: Any) -> _Function:  # noqa: ARG001  # as _count_block
    return _count_float32 if xb.dtype is types.float32 else _count_float64


overload(_count_block, jit_options=_INLINED)(_choose_count)


@_compiled
def _add(
    x: Any,
    keys: Any,
    down: Any,
    mask: Any,
    shape: Any,
    table: Any,
    threshold: Any,
    count: Any,
    tally: Any,
    sums: Any,
    active: Any,
) -> Any:
    """Add a flat array, read as `shape`, to a slot's arrays."""
    samples, outer, units, inner = shape
    period = units * inner
    row = outer * period
    n = samples * row
    n_bins = count.size
    if n == 0:
        return
    h = np.zeros((1 if n < _SMALL else 4, 2 * (n_bins + 3)), np.uint32)
    key = np.empty(2, keys.dtype)
    value = key.view(x.dtype)

    # Blocks never cut a period (or, where rows are long, a row of one unit) unless
    # it is longer than a block, so unit bookkeeping is a plain walk.
    by_row = inner >= _LONG_ROW
    unbroken = inner if by_row else period
    if unbroken <= _BLOCK:
        step = unbroken * (_BLOCK // unbroken)
        span = step
    else:
        step = _BLOCK
        span = unbroken
    flags = np.zeros(1 if by_row else span, np.int32)

    shift64 = sums[1]
    if sums[0] == 0:
        # The shift only has to be near the mean: the first values' own will do.
        known = 0
        guess = 0.0
        for j in range(min(n, 64)):
            if np.isfinite(x[j]):
                known += 1
                guess += (np.float64(x[j]) - guess) / known
        shift64 = guess
    shift = x.dtype.type(shift64)
    shift64 = np.float64(shift)
    g_n = 0
    g_total = 0.0
    g_squares = 0.0
    zeros = 0

    for s in range(samples):
        at = s * row
        end = at + row
        within = 0  # place within the span
        raw_sum = 0.0
        unit = 0
        while at < end:
            size = min(step, span - within, end - at)
            xb = x[at : at + size]
            total, squares, raw, z = _block_sums(xb, shift)
            low, high = _block_extremes(keys[at : at + size], down, mask)
            key[0] = low ^ ((low >> down) & mask)
            key[1] = high ^ ((high >> down) & mask)
            zeros += z
            fine = np.isfinite(squares) and np.isfinite(raw)
            if fine and raw < _TINY:
                fine = value[0] == 0 and value[1] == 0
            if fine and squares < _TINY:
                fine = value[0] == value[1]
            if fine:
                g_n += size
                g_total += total
                g_squares += squares
                raw_sum += raw
                sums[3] = min(sums[3], np.float64(value[0]))
                sums[4] = max(sums[4], np.float64(value[1]))
            else:
                c_total, c_squares, c_raw, c_n = _careful_block(xb, shift64, tally, sums)
                g_n += c_n
                g_total += c_total
                g_squares += c_squares
                raw_sum += c_raw
            if g_n >= _GROUP:
                _merge(sums, g_n, g_total, g_squares, shift64)
                g_n = 0
                g_total = 0.0
                g_squares = 0.0
                shift = x.dtype.type(sums[1])
                shift64 = np.float64(shift)

            _count_block(xb, table, h)

            if by_row:
                k = 0
                while k < size:
                    stretch = min(inner, size - k)
                    rb = xb[k : k + stretch]
                    hits: Any = np.int32(0)
                    for j in range(rb.size):
                        hits += np.int32(abs(rb[j]) > threshold)
                    active[unit] += hits
                    k += stretch
                    if inner <= _BLOCK or within + k == span:
                        unit += 1
                        if unit == units:
                            unit = 0
            else:
                fb = flags[within : within + size]
                for j in range(xb.size):
                    fb[j] += np.int32(abs(xb[j]) > threshold)
            at += size
            within += size
            if within == span:
                within = 0
        sums[5] += np.sqrt(raw_sum)
    if g_n > 0:
        _merge(sums, g_n, g_total, g_squares, shift64)
    sums[6] += samples

    if not by_row:
        at = 0
        while at < span:
            for u in range(units):
                hits = 0
                for j in range(inner):
                    hits += flags[at + j]
                active[u] += hits
                at += inner
    # Negative values were counted backwards in the second half (see `BinTable.packed`).
    back = 2 * n_bins + 4
    for c in range(h.shape[0]):
        hc = h[c]
        for k in range(n_bins):
            count[k] += np.int64(hc[k + 1]) + np.int64(hc[back - 1 - k])
        tally[0] += np.int64(hc[0]) + np.int64(hc[back])
        tally[1] += np.int64(hc[n_bins + 1]) + np.int64(hc[n_bins + 3])
    tally[5] += zeros
    tally[6] += n


@_compiled
def _add_float32(
    x: Any, shape: Any, table: Any, threshold: Any, count: Any, tally: Any, sums: Any, active: Any
) -> Any:
    keys = x.view(np.int32)
    down = np.int32(31)
    mask = np.int32(0x7FFFFFFF)
    limit = np.float32(threshold)
    _add(x, keys, down, mask, shape, table, limit, count, tally, sums, active)


@_compiled
def _add_float64(
    x: Any, shape: Any, table: Any, threshold: Any, count: Any, tally: Any, sums: Any, active: Any
) -> Any:
    keys = x.view(np.int64)
    down = np.int64(63)
    mask = np.int64(0x7FFFFFFFFFFFFFFF)
    _add(x, keys, down, mask, shape, table, threshold, count, tally, sums, active)


class FusedKernel:
    """The compiled kernel, bound to an axis and a threshold.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.
    """

    name = "numba"

    def __init__(self, axis: Axis, threshold: float) -> None:
        self._n_bins = axis.n_bins
        self._threshold64 = float(threshold)
        # Above the largest float32 that is at most the threshold: the same test.
        below = np.float32(threshold)
        if float(below) > threshold:
            below = np.nextafter(below, np.float32(-np.inf))
        self._threshold32 = float(below)
        table = bin_table(axis.edges)
        self._narrow = (table.packed, table.first, table.climb, table.plain)
        self._wide = (table.packed, table.first, table.climb_wide, table.plain)

    def add(self, tensor: torch.Tensor, shape: Shape, slot: Slot) -> None:
        """Add a flat CPU tensor in memory order, of any countable dtype, to `slot`."""
        slot.tally[CALLS] += 1
        if tensor.dtype is torch.float32:
            self._add(tensor.numpy(), shape, slot)
            return
        samples, outer, units, inner = shape
        for start, stop, piece in pieces(tensor, samples):
            self._add(piece.numpy(), (stop - start, outer, units, inner), slot)

    def warm_up(self, dtype: torch.dtype) -> None:
        """Compile, or load from the cache, what `dtype` needs."""
        slot = Slot.empty(self._n_bins, 1)
        self.add(torch.zeros(1, dtype=dtype), (1, 1, 1, 1), slot)

    def _add(self, x: NDArray[Any], shape: Shape, slot: Slot) -> None:
        if x.dtype == np.float32:
            table: Any = self._narrow
            threshold, run = self._threshold32, _add_float32
        else:
            table, threshold, run = self._wide, self._threshold64, _add_float64
        run(x, shape, table, threshold, slot.count, slot.tally, slot.sums, slot.active)
