"""The compiled loops over one block: moments, extremes, zeros and activity.

A block fits the first-level cache. None of this allocates or raises. May import
NumPy, Numba and llvmlite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from actrace.capture.kernels.fields import PLACES, RUNS

__all__ = ["OPTIONS", "add_block", "as_float", "count_units", "inner", "norms", "pointer"]

#: Reordering sums is allowed, assuming away NaN and infinity is not.
OPTIONS: Final[dict[str, Any]] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "nsz", "contract", "arcp"},
}
_Function: TypeAlias = Callable[..., Any]
#: Compiles what only compiled code calls.
inner: Final[Callable[[_Function], _Function]] = njit(**OPTIONS)


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_context: Any, address: Any) -> Any:
    """Return an address as the pointer that `numba.carray` takes."""

    def build(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), build


@intrinsic  # type: ignore[untyped-decorator]
def as_float(_context: Any, bits: Any) -> Any:
    """Return the float32 of these bits."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(bits), build


def _choice(operator: str) -> Any:
    # As though there were no NaN, without which it is not vectorised. Where there
    # is one, what comes out is never looked at.
    flags = ("nnan", "nsz")

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        chosen = builder.fcmp_ordered(operator, args[0], args[1], flags=flags)
        return builder.select(chosen, args[0], args[1], flags=flags)

    return build


@intrinsic  # type: ignore[untyped-decorator]
def _lower(_context: Any, a: Any, b: Any) -> Any:
    return a(a, b), _choice("<")


@intrinsic  # type: ignore[untyped-decorator]
def _higher(_context: Any, a: Any, b: Any) -> Any:
    return a(a, b), _choice(">")


@intrinsic  # type: ignore[untyped-decorator]
def _plus(_context: Any, n: Any, condition: Any) -> Any:
    """Return n + 1 where the condition holds, in n's own width (Numba's sum is wider)."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bit = builder.trunc(args[1], ir.IntType(1))
        return builder.add(args[0], builder.zext(bit, args[0].type))

    return n(n, condition), build


@inner
def _moments(xb: Any) -> Any:
    """Return the sum, that of squares, the extremes and the zeros."""
    total = xb.dtype.type(0)
    raw = total
    low = xb[0]
    high = low
    zeros = np.int32(0)
    for j in range(xb.size):
        x = xb[j]
        total += x
        raw += x * x
        low = _lower(x, low)
        high = _higher(x, high)
        zeros = _plus(zeros, x == 0)
    return total, raw, low, high, zeros


@inner
def _moments_run(xb: Any, threshold: Any) -> Any:
    """Return the same and how many are active."""
    total = xb.dtype.type(0)
    raw = total
    low = xb[0]
    high = low
    zeros = np.int32(0)
    hits = np.int32(0)
    for j in range(xb.size):
        x = xb[j]
        total += x
        raw += x * x
        low = _lower(x, low)
        high = _higher(x, high)
        zeros = _plus(zeros, x == 0)
        hits = _plus(hits, abs(x) > threshold)
    return total, raw, low, high, zeros, hits


@inner
def _moments_places(xb: Any, threshold: Any, flags: Any) -> Any:
    """Return the same as `_moments`; add to `flags` where one is active."""
    total = xb.dtype.type(0)
    raw = total
    low = xb[0]
    high = low
    zeros = np.int32(0)
    for j in range(xb.size):
        x = xb[j]
        total += x
        raw += x * x
        low = _lower(x, low)
        high = _higher(x, high)
        zeros = _plus(zeros, x == 0)
        flags[j] = _plus(flags[j], abs(x) > threshold)
    return total, raw, low, high, zeros


@inner
def _about(xb: Any, shift: Any) -> Any:
    """Return the sums of x - shift and of its square."""
    total = xb.dtype.type(0)
    squares = total
    for j in range(xb.size):
        d = xb[j] - shift
        total += d
        squares += d * d
    return total, squares


@inner
def _merge(sums: Any, n: Any, mean: Any, m2: Any, low: Any, high: Any) -> Any:
    """Merge n elements into `sums` (see `merge_moments`)."""
    before = sums[0]
    after = before + n
    sums[0] = after
    sums[3] = min(sums[3], low)
    sums[4] = max(sums[4], high)
    if before == 0:
        sums[1] = mean
        sums[2] = m2
        return
    delta = mean - sums[1]
    part = n / after
    sums[1] += delta * part
    sums[2] += m2 + delta * delta * (before * part)


@inner
def _wide_block(xb: Any, low: Any, high: Any, tally: Any, sums: Any) -> Any:
    """Merge a block in float64, setting aside what is not finite; return the squares' sum."""
    n = xb.size
    total = 0.0
    raw = 0.0
    for j in range(n):
        x = np.float64(xb[j])
        total += x
        raw += x * x
    if abs(raw) < np.inf:
        mean = total / n
        rest, squares = 0.0, 0.0
        for j in range(n):
            d = np.float64(xb[j]) - mean
            rest += d
            squares += d * d
        _merge(
            sums, n, mean, max(squares - rest * rest / n, 0.0), np.float64(low), np.float64(high)
        )
        return raw
    total = 0.0
    raw = 0.0
    finite = 0
    nans = 0
    above = 0
    least = np.inf
    most = -np.inf
    for j in range(n):
        x = np.float64(xb[j])
        plain = abs(x) < np.inf
        tame = x if plain else 0.0
        total += tame
        raw += tame * tame
        finite = _plus(finite, plain)
        nans = _plus(nans, x != x)
        above = _plus(above, x == np.inf)
        least = _lower(x if plain else np.inf, least)
        most = _higher(x if plain else -np.inf, most)
    tally[2] += nans
    tally[3] += above
    tally[4] += n - finite - nans - above
    if finite > 0:
        mean = total / finite
        squares = 0.0
        for j in range(n):
            x = np.float64(xb[j])
            d = x - mean if abs(x) < np.inf else 0.0
            squares += d * d
        _merge(sums, np.int64(finite), mean, squares, least, most)
    return raw


@inner
def add_block(
    xb: Any, way: Any, threshold: Any, tiny: Any, flags: Any, tally: Any, sums: Any
) -> Any:
    """Merge a block's moments.

    Returns the sum of its squares, the active ones where `way` counts them, and whether
    the block's own dtype held its squares.
    """
    hits: Any = np.int32(0)
    if way == RUNS:
        total, raw, low, high, zeros, hits = _moments_run(xb, threshold)
    elif way == PLACES:
        total, raw, low, high, zeros = _moments_places(xb, threshold, flags)
    else:
        total, raw, low, high, zeros = _moments(xb)
    tally[5] += zeros
    if abs(raw) < np.inf and (raw >= tiny or (low == 0 and high == 0)):
        n = xb.size
        squares = np.float64(raw)
        mean = np.float64(total) / n
        m2 = squares - mean * np.float64(total)
        if m2 * 16 >= squares:
            _merge(sums, n, mean, m2, np.float64(low), np.float64(high))
            return squares, hits, True
        # Far from zero against its spread: once more, about the mean.
        shift = xb.dtype.type(mean)
        total, about = _about(xb, shift)
        if about >= tiny or low == high:
            mean = np.float64(total) / n
            m2 = max(np.float64(about) - mean * np.float64(total), 0.0)
            _merge(sums, n, np.float64(shift) + mean, m2, np.float64(low), np.float64(high))
            return squares, hits, True
    return _wide_block(xb, low, high, tally, sums), hits, False


@inner
def count_units(xb: Any, at: Any, units: Any, each: Any, threshold: Any, active: Any) -> Any:
    """Count the active of a stretch that begins at the flat index `at`, unit by unit."""
    run = at // each
    unit = run % units
    left = each - (at - run * each)
    k = 0
    if each == 1:
        while k < xb.size:
            size = min(units - unit, xb.size - k)
            rb = xb[k : k + size]
            ab = active[unit : unit + size]
            for j in range(size):
                ab[j] = _plus(ab[j], abs(rb[j]) > threshold)
            k += size
            unit = 0
        return
    while k < xb.size:
        size = min(left, xb.size - k)
        rb = xb[k : k + size]
        hits = np.int32(0)
        for j in range(rb.size):
            hits = _plus(hits, abs(rb[j]) > threshold)
        active[unit] += hits
        k += size
        left = each
        unit += 1
        if unit == units:
            unit = 0


@inner
def norms(xb: Any, row: Any, tame: Any) -> Any:
    """Return the sum of the norms of samples of `row` elements."""
    total = 0.0
    if tame:
        if row == 1:
            for j in range(xb.size):
                total += np.float64(abs(xb[j]))
            return total
        for k in range(0, xb.size, row):
            rb = xb[k : k + row]
            part = xb.dtype.type(0)
            for j in range(rb.size):
                part += rb[j] * rb[j]
            total += np.sqrt(np.float64(part))
        return total
    for k in range(0, xb.size, row):
        rb = xb[k : k + row]
        raw = 0.0
        for j in range(rb.size):
            x = np.float64(rb[j])
            raw += x * x if abs(x) < np.inf else 0.0
        total += np.sqrt(raw)
    return total
