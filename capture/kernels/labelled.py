"""Counting an output layer by class and unit, compiled.

A loop over samples and units that puts each output into the histograms of its
unit and of its sample's class, so that a thousand classes cost no more a number
than ten. May import NumPy and Numba; `labelled_plain` does the same without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit

__all__ = ["binary", "multi_label", "regression", "single_label"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_Function: TypeAlias = Callable[..., Any]
_compiled: Callable[[_Function], _Function] = njit(**_OPTIONS)


@_compiled
def _find(x: Any, edges: Any) -> Any:
    """Return the shifted bin of a finite value: 0 below the axis, n_bins + 1 above."""
    n = edges.size
    if x == edges[n - 1]:
        return n - 1
    low = 0
    high = n
    while low < high:
        middle = (low + high) >> 1
        if x >= edges[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def _put(x: Any, k: Any, row: Any, role: Any, count: Any, tally: Any, sums: Any) -> Any:
    """Add a value, found to be in shifted bin k (-1: not finite), to one cell."""
    tally[row, role, 3] += 1
    if k < 0:
        tally[row, role, 2] += 1
        return
    sums[row, role, 0] += x
    sums[row, role, 1] += x * x
    if k == 0:
        tally[row, role, 0] += 1
    elif k == count.shape[2] + 1:
        tally[row, role, 1] += 1
    else:
        count[row, role, k - 1] += 1


@_compiled
def _put_matrix(x: Any, k: Any, c: Any, u: Any, matrix: Any) -> Any:
    if k >= 0 and matrix.shape[0] > 0:
        matrix[c, u, 0] += 1
        matrix[c, u, 1] += x
        matrix[c, u, 2] += x * x


@_compiled
def single_label(
    values: Any,
    target: Any,
    edges: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
    confusion: Any,
) -> Any:
    """Add samples with one class each; see `LabelledSums` for the arrays."""
    u_count, u_tally, u_sums = units
    c_count, c_tally, c_sums = classes
    for i in range(values.shape[0]):
        c = target[i]
        best = -1
        for u in range(values.shape[1]):
            x = values[i, u]
            k = _find(x, edges) if np.isfinite(x) else -1
            role = 0 if u == c else 1
            _put(x, k, u, role, u_count, u_tally, u_sums)
            _put(x, k, c, role, c_count, c_tally, c_sums)
            _put_matrix(x, k, c, u, matrix)
            if x == x and (best < 0 or x > values[i, best]):
                best = u
        totals[c, 0] += 1
        if best == c:
            totals[c, 1] += 1
        if best >= 0 and confusion.shape[0] > 0:
            confusion[c, best] += 1


@_compiled
def binary(
    values: Any,
    target: Any,
    edges: Any,
    threshold: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
) -> Any:
    """Add samples with one output that says yes (class 1) or no (class 0)."""
    u_count, u_tally, u_sums = units
    c_count, c_tally, c_sums = classes
    for i in range(values.shape[0]):
        c = target[i]
        x = values[i, 0]
        k = _find(x, edges) if np.isfinite(x) else -1
        role = 0 if c == 1 else 1
        _put(x, k, 0, role, u_count, u_tally, u_sums)
        _put(x, k, c, role, c_count, c_tally, c_sums)
        _put_matrix(x, k, c, 0, matrix)
        totals[c, 0] += 1
        if x == x and (x > threshold) == (c == 1):
            totals[c, 1] += 1


@_compiled
def multi_label(
    values: Any,
    target: Any,
    edges: Any,
    threshold: Any,
    units: Any,
    classes: Any,
    totals: Any,
    matrix: Any,
) -> Any:
    """Add samples each of which may have any of the labels."""
    u_count, u_tally, u_sums = units
    c_count, c_tally, c_sums = classes
    bins = np.empty(values.shape[1], np.int64)
    for i in range(values.shape[0]):
        for u in range(values.shape[1]):
            x = values[i, u]
            bins[u] = _find(x, edges) if np.isfinite(x) else -1
            _put(x, bins[u], u, 0 if target[i, u] else 1, u_count, u_tally, u_sums)
        for c in range(values.shape[1]):
            if not target[i, c]:
                continue
            totals[c, 0] += 1
            if values[i, c] > threshold:
                totals[c, 1] += 1
            for u in range(values.shape[1]):
                x = values[i, u]
                _put_matrix(x, bins[u], c, u, matrix)
                if u == c:
                    _put(x, bins[u], c, 0, c_count, c_tally, c_sums)
                elif not target[i, u]:
                    _put(x, bins[u], c, 1, c_count, c_tally, c_sums)


@_compiled
def regression(values: Any, target: Any, edges: Any, units: Any, squared: Any) -> Any:
    """Add predictions (role 0) and targets (role 1) on one axis."""
    count, tally, sums = units
    for i in range(values.shape[0]):
        for u in range(values.shape[1]):
            x = values[i, u]
            y = target[i, u]
            _put(x, _find(x, edges) if np.isfinite(x) else -1, u, 0, count, tally, sums)
            _put(y, _find(y, edges) if np.isfinite(y) else -1, u, 1, count, tally, sums)
            if np.isfinite(x) and np.isfinite(y):
                squared[u] += (x - y) * (x - y)
