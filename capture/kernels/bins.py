"""Finding the bins of one block, compiled; and widening it, where it is narrow.

The top 16 bits of a float32 lead to its bin (see `tables`). May import NumPy and Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import carray, types
from numba.extending import overload

from actrace.capture.kernels.blocks import OPTIONS, as_float, inner, pointer
from actrace.capture.kernels.fields import FIRST, KIND, PACKED, PLAIN, VALUES

__all__ = ["bin_block", "load_block"]

_Function: TypeAlias = Callable[..., Any]


def load_block(x: Any, data: Any, at: Any, size: Any, r: Any, room: Any) -> Any:
    """Return a block as float32 or float64, widened into `room` where it is not."""
    raise NotImplementedError("runs only inside compiled code")


def _load_narrow(x: Any, data: Any, at: Any, size: Any, r: Any, room: Any) -> Any:
    kind = r[KIND]
    if kind == 0:
        return x[at : at + size]
    out = carray(pointer(room), (size,), np.float32)
    if kind == 4:
        short = carray(pointer(data + at), (size,), np.uint8)
        value = carray(pointer(r[VALUES]), (256,), np.float32)
        for j in range(size):
            out[j] = value[short[j]]
        return out
    half = carray(pointer(data + 2 * at), (size,), np.uint16)
    if kind == 1:
        bits = out.view(np.uint32)
        for j in range(size):
            bits[j] = np.uint32(half[j]) << np.uint32(16)
    elif kind == 2:
        for j in range(size):
            b = np.uint32(half[j])
            m = np.int32(b & np.uint32(0x7FFF))
            # The exponent's bias goes from 15 to 127; infinity's and NaN's to the top.
            wide = (m << np.int32(13)) + np.int32(112 << 23)
            top = as_float(np.uint32(wide + np.int32(112 << 23)))
            value = top if m >= np.int32(0x7C00) else as_float(np.uint32(wide))
            value = np.float32(m) * np.float32(2.0**-24) if m < np.int32(0x400) else value
            out[j] = -value if b > np.uint32(0x7FFF) else value
    else:
        value = carray(pointer(r[VALUES]), (65536,), np.float32)
        for j in range(size):
            out[j] = value[half[j]]
    return out


def _load_wide(x: Any, data: Any, at: Any, size: Any, r: Any, room: Any) -> Any:
    kind = r[KIND]
    if kind == 0:
        return x[at : at + size]
    out = carray(pointer(room), (size,), np.float64)
    if kind == 1:
        i4 = carray(pointer(data + 4 * at), (size,), np.int32)
        for j in range(size):
            out[j] = np.float64(i4[j])
    elif kind == 2:
        i8 = carray(pointer(data + 8 * at), (size,), np.int64)
        for j in range(size):
            out[j] = np.float64(i8[j])
    elif kind == 3:
        u4 = carray(pointer(data + 4 * at), (size,), np.uint32)
        for j in range(size):
            out[j] = np.float64(u4[j])
    else:
        u8 = carray(pointer(data + 8 * at), (size,), np.uint64)
        for j in range(size):
            out[j] = np.float64(u8[j])
    return out


def bin_block(xb: Any, data: Any, at: Any, r: Any, climb: Any, h: Any, near: Any) -> Any:
    """Count a block's bins."""
    raise NotImplementedError("runs only inside compiled code")


def _bin_narrow(xb: Any, data: Any, at: Any, r: Any, climb: Any, h: Any, near: Any) -> Any:
    # Four histograms in turn, so that equal neighbours do not wait for each other.
    apart = 1 if h.shape[0] == 4 else 0
    h0 = h[0]
    h1 = h[apart]
    h2 = h[2 * apart]
    h3 = h[3 * apart]
    one = np.uint32(1)
    size = xb.size
    quarter = size >> 2
    bb = xb.view(np.uint32)
    high = np.uint32(16)
    if not r[PLAIN]:
        first = carray(pointer(r[FIRST]), (65536,), np.uint16)
        for j in range(size):
            x = xb[j]
            i = np.uint64(first[np.uint64(bb[j] >> high)])
            while x >= climb[i]:
                i += np.uint64(1)
            h0[i] += one
        return
    packed = carray(pointer(r[PACKED]), (65536,), np.uint32)
    for j in range(quarter):
        k = np.uint64(j) << np.uint64(2)
        b0 = bb[k]
        b1 = bb[k | np.uint64(1)]
        b2 = bb[k | np.uint64(2)]
        b3 = bb[k | np.uint64(3)]
        h0[np.uint64(np.uint32(packed[np.uint64(b0 >> high)] + b0) >> high)] += one
        h1[np.uint64(np.uint32(packed[np.uint64(b1 >> high)] + b1) >> high)] += one
        h2[np.uint64(np.uint32(packed[np.uint64(b2 >> high)] + b2) >> high)] += one
        h3[np.uint64(np.uint32(packed[np.uint64(b3 >> high)] + b3) >> high)] += one
    for j in range(quarter << 2, size):
        b0 = bb[j]
        h0[np.uint64(np.uint32(packed[np.uint64(b0 >> high)] + b0) >> high)] += one


@inner
def _settled(x: Any, cell: Any, climb: Any, n_bins: Any) -> Any:
    """Return the shifted bin of a float64 that is in `cell` or next to it."""
    k = np.uint64(cell)
    # The last of `climb` is not a number, so nothing climbs out of overflow.
    k = k + np.uint64(x >= climb[k + np.uint64(1)]) - np.uint64(x < climb[k])
    return k if abs(x) < np.inf else np.uint64(n_bins + 2)


def _bin_wide(xb: Any, data: Any, at: Any, r: Any, climb: Any, h: Any, near: Any) -> Any:
    """Start from each value's float32 neighbour; `climb` has one more in front, -inf."""
    for j in range(xb.size):
        near[j] = np.float32(xb[j])
    bb = near.view(np.uint32)
    h0 = h[0]
    n_bins = climb.size - 4
    high = np.uint32(16)
    one = np.uint32(1)
    if r[PLAIN]:
        # No two edges share a float32 neighbour: the bin is the neighbour's or next to it.
        h1 = h[1 if h.shape[0] == 4 else 0]
        packed = carray(pointer(r[PACKED]), (65536,), np.uint32)
        top = np.int32(n_bins + 1)
        back = np.int32(2 * n_bins + 4)
        cells = near.view(np.int32)
        for j in range(xb.size):
            b = bb[j]
            cell = np.int32(np.uint32(packed[np.uint64(b >> high)] + b) >> high)
            cell = cell if cell <= top + 1 else np.int32(back - cell)
            # What is beyond float32 is beyond the axis or not finite.
            cells[j] = min(max(cell, np.int32(0)), top)
        for j in range(xb.size >> 1):
            k = np.uint64(j) << np.uint64(1)
            h0[_settled(xb[k], cells[k], climb, n_bins)] += one
            h1[_settled(xb[k | np.uint64(1)], cells[k | np.uint64(1)], climb, n_bins)] += one
        if xb.size & 1:
            h0[_settled(xb[xb.size - 1], cells[xb.size - 1], climb, n_bins)] += one
        return
    first = carray(pointer(r[FIRST]), (65536,), np.uint16)
    for j in range(xb.size):
        x = xb[j]
        i: Any = np.int64(first[np.uint64(bb[j] >> high)])
        if i == n_bins + 2 and abs(x) < np.inf:
            i = n_bins + 1 if x > 0 else 0
        if i <= n_bins + 1:
            while i <= n_bins and x >= climb[i + 1]:
                i += 1
            while i > 0 and x < climb[i]:
                i -= 1
        h0[np.uint64(i)] += one


def _choose_load(x: Any, data: Any, at: Any, size: Any, r: Any, room: Any) -> _Function:
    return _load_narrow if x.dtype is types.float32 else _load_wide


def _choose_bin(xb: Any, data: Any, at: Any, r: Any, climb: Any, h: Any, near: Any) -> _Function:
    return _bin_narrow if xb.dtype is types.float32 else _bin_wide


overload(load_block, jit_options=OPTIONS)(_choose_load)
overload(bin_block, jit_options=OPTIONS)(_choose_bin)
