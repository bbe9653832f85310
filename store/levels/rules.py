"""How neighbouring rows of a phase, or of a level, become one column of a level.

Pure rules on arrays with the rows first; the mathematics is that of
`actrace.store.merging.rules`. Imports NumPy and that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actrace.store.merging.rules import pooled_mean, pooled_moments
from actrace.store.schema import BATCH_SCALARS, COUNTERS

__all__ = ["merge_layers", "merge_scalars", "weight_of"]

Rows: TypeAlias = Mapping[str, NDArray[Any]]

_COUNTER_NAMES: Final = tuple(variable.name for variable in COUNTERS)
_SCALAR_NAMES: Final = frozenset(variable.name for variable in BATCH_SCALARS)
_NOT_FINITE: Final = ("nan", "posinf", "neginf")
#: Below this a sum fits 32 bits and is not the mark of a row that is not there.
_FITS: Final = 2**32 - 1


def weight_of(attributes: Mapping[str, Any]) -> str:
    """Return the name of the count of elements that a run's moments are of.

    Examples
    --------
    >>> weight_of({"sample": {"mode": "all"}}), weight_of({})
    ('sampled', 'elements')
    """
    sample = attributes.get("sample")
    read_in_part = isinstance(sample, Mapping) and sample.get("mode") == "all"
    return "sampled" if read_in_part else "elements"


def merge_layers(rows: Rows, width: int, weight: str) -> dict[str, NDArray[Any]]:
    """Return what is by layer, `width` rows a column.

    Parameters
    ----------
    rows : mapping of str to ndarray, shape (n * width, n_layers, ...)
        ``count``, the counters, the moments and maybe ``sampled`` of rows that
        follow each other.
    width : int
    weight : {"elements", "sampled"}
        How many elements the moments are of.

    Returns
    -------
    dict of str to ndarray, shape (n, n_layers, ...)
        Counts summed, exactly; ``mean`` and ``std`` merged in float64; ``min``
        and ``max``; ``norm`` and ``activation_rate`` as means weighted with
        elements, which unlike samples say in which of the rows a layer was; and
        the smallest ``death_rate``, an upper bound: a unit that is dead in all
        rows is dead in each.
    """
    folded = {name: _fold(values, width) for name, values in rows.items()}
    found: dict[str, NDArray[Any]] = {
        name: folded[name].sum(axis=1, dtype=np.uint64)
        for name in (*_COUNTER_NAMES, "sampled")
        if name in rows
    }
    # No bin holds more than the layer has elements, so where those fit, all do, and the
    # one large array is summed without being widened.
    fits = found["elements"].max(initial=0) < _FITS
    narrow = fits and folded["count"].dtype == np.uint32
    found["count"] = folded["count"].sum(axis=1, dtype=np.uint32 if narrow else np.uint64)
    found["min"] = np.fmin.reduce(folded["min"], axis=1)
    found["max"] = np.fmax.reduce(folded["max"], axis=1)
    found["death_rate"] = np.fmin.reduce(folded["death_rate"], axis=1)
    size = rows[weight].astype(np.int64)
    finite = np.maximum(size - sum(rows[name].astype(np.int64) for name in _NOT_FINITE), 0)
    lengths = np.full(len(size) // width, width)
    mean, std = pooled_moments(finite.T, rows["mean"].T, rows["std"].T, lengths)
    found |= {"mean": mean.T, "std": std.T}
    for name in ("norm", "activation_rate"):
        found[name] = pooled_mean(size.T, rows[name].T, lengths).T
    return found


def merge_scalars(rows: Rows, width: int) -> dict[str, NDArray[Any]]:
    """Return what is by batch alone, `width` batches a column.

    Parameters
    ----------
    rows : mapping of str to ndarray, shape (n * width,)
        The batches' own: from merged ones nobody could tell in how many of them
        a loss was seen or a value logged.
    width : int

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``step`` and ``epoch`` of the first batch, ``time`` of the last, the sum
        of ``samples``, the mean ``loss`` weighted with samples, and the plain
        mean of what the user logged.
    """
    n = len(rows["step"]) // width
    lengths = np.full(n, width)
    found: dict[str, NDArray[Any]] = {
        "step": rows["step"][::width],
        "epoch": rows["epoch"][::width],
        "samples": _fold(rows["samples"], width).sum(axis=1),
        "loss": pooled_mean(rows["samples"], rows["loss"], lengths),
        "time": rows["time"][width - 1 :: width],
    }
    for name in rows.keys() - _SCALAR_NAMES:
        found[name] = pooled_mean(np.ones(n * width), rows[name], lengths)
    return found


def _fold(values: NDArray[Any], width: int) -> NDArray[Any]:
    return values.reshape(-1, width, *values.shape[1:])
