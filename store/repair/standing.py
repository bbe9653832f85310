"""The arrays of a run that stand still: what they held, or what else in the run tells it.

May import NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actrace.errors import AxisError
from actrace.store.axis import axis_from_dict
from actrace.store.checking.pieces import PieceReader
from actrace.store.layout import encode_chunk, encode_strings
from actrace.store.manifest import ArrayEntry
from actrace.store.schema import UNIT_GROUP

__all__ = ["encoded", "substitute"]

#: Integers that say that nothing is known, where that is not 0.
_UNKNOWN = {"layer_order": -1}


def substitute(reader: PieceReader, entry: ArrayEntry) -> tuple[NDArray[Any], bool]:
    """Return what a damaged array holds from now on, and whether that is what it held.

    The edges of bins follow from their axis, the units from their layers and the
    other way round, the roles from the task; the same list may stand in another
    phase. Names that are lost become numbers.
    """
    n = entry.shape[0]
    for found in (_edges(reader, entry), _roles(reader, entry), _units(reader, entry)):
        if found is not None and len(found) == n:
            return found, True
    group, _, name = entry.path.rpartition("/")
    for path, other in reader.manifest.arrays.items():
        alike = path != entry.path and path.rpartition("/")[2] == name
        if alike and group and (other.shape, other.dtype) == (entry.shape, entry.dtype):
            values = read_whole(reader, other)
            if values is not None:
                # Likely the same; nothing proves it.
                return values, False
    if entry.dtype == "string":
        named = np.empty(n, object)
        named[:] = [f"{name} {at}" if entry.path == "layer" else str(at) for at in range(n)]
        return (named if name == entry.dims[0] else np.full(n, "", object)), False
    fill = np.nan if entry.dtype.startswith("float") else _UNKNOWN.get(name, 0)
    return np.full(n, fill, np.dtype(entry.dtype)), False


def read_whole(reader: PieceReader, entry: ArrayEntry) -> NDArray[Any] | None:
    """Return an array of one chunk, None if it is damaged."""
    if entry.grid != (1,):
        return None
    pieces = list(reader.read(entry, (0,)))
    if len(pieces) != 1 or pieces[0].problem:
        return None
    return pieces[0].values


def encoded(entry: ArrayEntry, values: NDArray[Any]) -> bytes:
    """Return the chunk of an array that stands still."""
    if entry.dtype == "string":
        return encode_strings([str(value) for value in values])
    return encode_chunk(np.ascontiguousarray(values, np.dtype(entry.dtype).newbyteorder("<")))


def _edges(reader: PieceReader, entry: ArrayEntry) -> NDArray[Any] | None:
    group, _, name = entry.path.rpartition("/")
    if name not in ("bin_left", "bin_right", "gradient_bin_left", "gradient_bin_right"):
        return None
    attributes = reader.manifest.groups[group] if group else reader.manifest.attributes
    try:
        axis = axis_from_dict(attributes.get("axis") or {})
    except (AxisError, TypeError, ValueError):
        return None
    return axis.left if name.endswith("left") else axis.right


def _roles(reader: PieceReader, entry: ArrayEntry) -> NDArray[Any] | None:
    group, _, name = entry.path.rpartition("/")
    if name != "role" or group not in reader.manifest.groups:
        return None
    regression = reader.manifest.groups[group].get("task") == "regression"
    return np.array(["prediction", "target"] if regression else ["yes", "no"], object)


def _units(reader: PieceReader, entry: ArrayEntry) -> NDArray[Any] | None:
    """Return the units of each layer, or the layer and number of each unit."""
    arrays = reader.manifest.arrays
    name = entry.path.rpartition("/")[2]
    if name in ("unit_layer", "unit_channel"):
        many = read_whole(reader, arrays["layer_units"])
        if many is None or int(many.sum(dtype=np.int64)) != entry.shape[0] or many.min() < 0:
            return None
        layer = np.repeat(np.arange(len(many)), many)
        channel = np.arange(len(layer)) - (np.cumsum(many) - many)[layer]
        return np.asarray(layer if name == "unit_layer" else channel, np.int32)
    if entry.path == "layer_units":
        for phase in reader.manifest.phases:
            other = arrays.get(f"{phase}/{UNIT_GROUP}/unit_layer")
            units = None if other is None else read_whole(reader, other)
            if units is not None and units.min() >= 0 and units.max() < entry.shape[0]:
                return np.bincount(units, minlength=entry.shape[0]).astype(np.int32)
    return None
