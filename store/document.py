"""The metadata documents of a run, built in memory: arrays, groups, the root.

The root document holds a copy of every other one (consolidated metadata), so
replacing it is what commits. Asking zarr to collect it again costs 0.1 to 0.8
seconds for a large run; the writer knows it all. Imports NumPy for JSON's sake
and the schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from actrace.store.layout import Layout
from actrace.store.schema import Variable

__all__ = [
    "array_document",
    "dumps",
    "group_document",
    "json_ready",
    "names_document",
    "root_document",
    "strict",
]

_CRC: Final = {"name": "crc32c"}
_BYTES: Final = {"name": "bytes", "configuration": {"endian": "little"}}


def _blosc(typesize: int) -> dict[str, Any]:
    return {
        "name": "blosc",
        "configuration": {
            "typesize": typesize,
            "cname": "zstd",
            "clevel": 3,
            "shuffle": "bitshuffle",
            "blocksize": 0,
        },
    }


def dumps(document: Mapping[str, Any]) -> bytes:
    """Return a document as strict JSON."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def strict(document: Mapping[str, Any]) -> bytes:
    """Return a document as strict JSON; a number that JSON lacks becomes its text."""
    try:
        return dumps(document)
    except ValueError:
        ready: dict[str, Any] = json_ready(document)
        return dumps(ready)


def json_ready(value: Any) -> Any:
    """Return `value` as JSON can hold it; what JSON lacks becomes its text.

    Examples
    --------
    >>> json_ready({"lr": float("inf"), 3: (1, 2)})
    {'lr': 'inf', '3': [1, 2]}
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # A lone surrogate cannot be written as UTF-8.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(json_ready(str(key))): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((json_ready(item) for item in value), key=str)
    return json_ready(str(value))


def _attributes(variable: Variable) -> dict[str, Any]:
    attributes = {"long_name": variable.long_name}
    if variable.dtype != "string":
        attributes["units"] = variable.units
    if "since" in variable.units:
        attributes["calendar"] = "proleptic_gregorian"
    return attributes


def _array(
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    data_type: str,
    fill: Any,
    codecs: list[dict[str, Any]],
    variable: Variable,
) -> dict[str, Any]:
    return {
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": _attributes(variable),
        "dimension_names": list(variable.dims),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def array_document(variable: Variable, layout: Layout, length: int) -> dict[str, Any]:
    """Return the ``zarr.json`` of an array of numbers.

    Parameters
    ----------
    variable : Variable
        Its row of the schema.
    layout : Layout
    length : int
        Rows along the last dimension.
    """
    codecs: list[dict[str, Any]] = [_BYTES, _blosc(layout.dtype.itemsize), _CRC]
    if layout.sharded:
        codecs = [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": list(layout.inner),
                    "codecs": codecs,
                    "index_codecs": [_BYTES, _CRC],
                    "index_location": "end",
                },
            }
        ]
    fill: Any = 0 if layout.dtype.kind in "iu" else "NaN"
    shape = (*layout.fixed, length)
    return _array(shape, layout.chunk, layout.dtype.name, fill, codecs, variable)


def names_document(variable: Variable, length: int) -> dict[str, Any]:
    """Return the ``zarr.json`` of a list of `length` strings, in one chunk."""
    codecs: list[dict[str, Any]] = [
        {"name": "vlen-utf8", "configuration": {}},
        _blosc(1),
        _CRC,
    ]
    return _array((length,), (max(1, length),), "string", "", codecs, variable)


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``zarr.json`` of a group below the root."""
    return {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}


def root_document(
    attributes: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the root's ``zarr.json`` with every other document inside it.

    Parameters
    ----------
    attributes : mapping
        The run's own attributes.
    nodes : mapping of str to mapping
        Path below the root -> document.
    """
    return {
        "attributes": dict(attributes),
        "zarr_format": 3,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {path: dict(nodes[path]) for path in sorted(nodes)},
        },
        "node_type": "group",
    }
