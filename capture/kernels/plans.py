"""A tensor's way into a slot, worked out once: what the compiled walk is told.

A `Plan` is made for a dtype, a shape and a slot; from then on a tensor is its
address alone. The record holds addresses, so the plan keeps alive what they
point to. May import NumPy and torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.kernels.fields import APART, BLOCK, FIELDS, HEAD, PLACES, RUNS, TILE
from actrace.capture.kernels.sampling import CUT, Sampling, block_length
from actrace.capture.kernels.slots import N_SUMS, N_TALLIES, Shape, Slot
from actrace.errors import RecorderError

__all__ = ["NARROW", "RELEASE", "WIDE", "CompiledPlan", "Scratch", "geometry", "slot_fields"]

#: Tensors with fewer elements are read without letting the interpreter go.
RELEASE: Final = 16_384
#: Samples shorter than this are read several at a time.
_SHORT: Final = 256
#: Runs of one unit at least this long are counted with the moments.
_LONG_RUN: Final = 256
#: A period longer than this has no place of its own for every element's activity.
_LONGEST_SPAN: Final = 1 << 18


def _kinds(*names: tuple[str, int]) -> dict[torch.dtype, int]:
    # Some exist only in later versions of torch.
    return {getattr(torch, name): kind for name, kind in names if hasattr(torch, name)}


#: How the walk reads a dtype: what fits float32 ...
NARROW: Final = _kinds(
    ("float32", 0),
    ("bfloat16", 1),
    ("float16", 2),
    ("int16", 3),
    ("uint16", 3),
    ("float8_e4m3fn", 4),
    ("float8_e5m2", 4),
    ("float8_e4m3fnuz", 4),
    ("float8_e5m2fnuz", 4),
    ("int8", 4),
    ("uint8", 4),
    ("bool", 4),
)
#: ... and what does not.
WIDE: Final = _kinds(("float64", 0), ("int32", 1), ("int64", 2), ("uint32", 3), ("uint64", 4))


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """How a tensor of one dtype and shape is added to one slot.

    ``plan.run(tensor.data_ptr(), plan.address, row)`` adds a flat CPU tensor in
    memory order to row `row` of the slot's arrays (0 where they have no rows). The
    tensor must be of the dtype and number of elements the plan was made for, and
    one thread at a time may run plans of one slot.

    Attributes
    ----------
    run : callable of (int, int, int)
    address : int
        Of the record that `run` reads.
    n : int
        Elements the tensor must have.
    kept : tuple
        What the record points to.
    """

    run: Callable[[int, int, int], None]
    address: int
    n: int
    kept: tuple[Any, ...]


class Scratch:
    """Room for walks that go on at the same time.

    The first is for whoever holds the interpreter, so it is never used twice at a
    time; the others are for walks that let it go. If all are taken, a walk keeps
    the interpreter and takes the first.

    Parameters
    ----------
    n_bins : int
    """

    #: Walks at the same time, of those that let the interpreter go one less.
    ROOMS: Final = 4

    def __init__(self, n_bins: int) -> None:
        each = HEAD + 4 * 4 * 2 * (n_bins + 3)
        self.step = (each + 63) // 64 * 64
        self.memory = np.zeros(64 + 64 + self.ROOMS * self.step, np.uint8)
        self.address = (self.memory.ctypes.data + 63) // 64 * 64


def geometry(shape: Shape) -> dict[str, int]:
    """Return how a tensor read as `shape` is cut into blocks.

    A block cuts neither a sample nor a period (units x inner) that is longer than
    it, and otherwise holds whole ones, so that units are found by walking.
    """
    samples, outer, units, inner = shape
    period = units * inner
    row = outer * period
    n = samples * row
    if n == 0:
        return {"n": 0, "row": row, "units": units, "inner": inner, "cut": CUT}
    group = max(1, TILE // row) if row < _SHORT else 0
    way, span, unit, length = APART, TILE, 1, group * row or row
    if inner >= _LONG_RUN:
        way, length = RUNS, inner
    elif inner < 32 and period <= TILE:
        way, unit = PLACES, period
        span = period * min(TILE // period, samples * outer)
    elif inner < 32 and samples * outer >= 4 and period <= _LONGEST_SPAN:
        way, span, length = PLACES, period, period
    most = TILE if way == PLACES and span <= TILE else BLOCK
    pieces = -(-length // (most // unit * unit))
    step = -(-length // (pieces * unit)) * unit
    return {
        "n": n,
        "row": row,
        "units": units,
        "inner": inner,
        "span": span,
        "step": step,
        "length": length,
        "group": group,
        "way": way,
        "cut": block_length(row),
    }


def _rows(name: str, array: NDArray[Any], kinds: tuple[Any, ...], size: int) -> tuple[int, int]:
    """Return the address of an array and the bytes from one of its rows to the next."""
    ok = (
        array.dtype in kinds
        and array.ndim in (1, 2)
        and array.shape[-1] == size
        and (array.strides[-1] == array.itemsize or size <= 1)
        and array.flags.writeable
    )
    if not ok:
        raise RecorderError(
            f"a slot's {name} has shape {array.shape}, dtype {array.dtype}, strides "
            f"{array.strides}; expected {size} writeable numbers side by side, of dtype "
            f"{' or '.join(np.dtype(kind).name for kind in kinds)}, with or without rows of them"
        )
    return array.ctypes.data, array.strides[0] if array.ndim == 2 else 0


def slot_fields(slot: Slot, n_bins: int, units: int) -> dict[str, int]:
    """Return where a slot's arrays lie.

    Raises
    ------
    RecorderError
        An array has another dtype, size or order than a slot's.
    """
    integers = (np.int64, np.uint64)
    fields: dict[str, int] = {}
    for name, array, kinds, size in (
        ("count", slot.count, integers, n_bins),
        ("tally", slot.tally, integers, N_TALLIES),
        ("sums", slot.sums, (np.float64,), N_SUMS),
        ("active", slot.active, integers, units),
    ):
        fields[name], fields[f"{name}_step"] = _rows(name, array, kinds, size)
    return fields


def compiled_plan(
    run: Callable[[int, int, int], None],
    fields: dict[str, int],
    threshold: float,
    sampling: Sampling,
    kept: tuple[Any, ...],
) -> CompiledPlan:
    """Return the plan of a filled-in record.

    Parameters
    ----------
    run : callable
    fields : dict of str to int
        Of `FIELDS`; what is missing is 0.
    threshold : float
        An element is active above it.
    sampling : Sampling
    kept : tuple
        What the fields point to.
    """
    flags = None
    if fields.get("way") == PLACES and fields["span"] > TILE:
        flags = np.zeros(fields["span"], np.int32)
        fields["flags"] = flags.ctypes.data
    record = np.array([fields.get(name, 0) for name in FIELDS], np.int64)
    record.view(np.float64)[FIELDS.index("threshold")] = threshold
    record[FIELDS.index("sampling")] = sampling.address
    return CompiledPlan(run, record.ctypes.data, fields["n"], (record, flags, sampling, *kept))
