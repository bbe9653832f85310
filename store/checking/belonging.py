"""Which files belong to a run, and whether its documents agree.

The root document holds a copy of every other one, so the two tell of damage to
each other. Imports nothing beyond the standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from actrace.errors import DamagedRunError
from actrace.store.checking.pieces import PieceReader
from actrace.store.checking.report import Damage
from actrace.store.manifest import MAX_DOCUMENT, Manifest
from actrace.store.paths import LOCK_NAME, ROOT_DOCUMENT

__all__ = ["check_documents", "count_files", "refuse_absent", "unreferenced"]

#: Chunk files that a root document may name beyond those that are there. Going
#: through more would take hours to say that all of them are missing.
_ABSENT: Final = 100_000
#: Attributes of a group that a commit changes.
_MOVING: Final = frozenset({"last_step", "last_epoch"})


def count_files(manifest: Manifest) -> int:
    """Return how many chunk files the run should have."""
    return sum(entry.n_files for entry in manifest.arrays.values())


def refuse_absent(manifest: Manifest) -> None:
    """Refuse a root document that names far more files than there are.

    Raises
    ------
    DamagedRunError
        It does.
    """
    most = count_files(manifest)
    if most <= _ABSENT:
        return
    there = sum(1 for _ in _walk(manifest.directory))
    if most > there + _ABSENT:
        raise DamagedRunError(
            f"run {str(manifest.directory)!r} is damaged: its {ROOT_DOCUMENT} names {most:,} chunk "
            f"files and {there:,} files are there; restore the run from a copy"
        )


def check_documents(reader: PieceReader, *, growing: bool) -> Iterator[Damage]:
    """Yield the arrays and groups whose own document is missing or says otherwise.

    Parameters
    ----------
    reader : PieceReader
        Of the run.
    growing : bool
        The run is being written or was interrupted: documents may be ahead.
    """
    nodes = json.loads(reader.manifest.text)["consolidated_metadata"]["metadata"]
    for path, node in nodes.items():
        key = f"{path}/{ROOT_DOCUMENT}"
        try:
            found = json.loads(reader.read_file(key, MAX_DOCUMENT))
        except DamagedRunError as error:
            reason = "missing" if "is missing" in str(error) else "not readable"
            yield Damage(path, f"its {ROOT_DOCUMENT} is {reason}", key)
            continue
        except (ValueError, RecursionError):
            yield Damage(path, f"its {ROOT_DOCUMENT} is not JSON", key)
            continue
        if found != node and not (growing and _is_ahead(node, found)):
            yield Damage(path, f"its {ROOT_DOCUMENT} differs from its copy in the root's", key)


def unreferenced(manifest: Manifest) -> Iterator[str]:
    """Yield the files below the run that are no part of it."""
    nodes = {ROOT_DOCUMENT, LOCK_NAME}
    nodes |= {f"{path}/{ROOT_DOCUMENT}" for path in (*manifest.groups, *manifest.arrays)}
    for key in _walk(manifest.directory):
        if key not in nodes and not _is_chunk(manifest, key):
            yield key


def _is_ahead(node: Any, found: Any) -> bool:
    """Return whether a document is that of a later commit than the root's copy."""
    if not isinstance(found, dict) or node.keys() != found.keys():
        return False
    if node.get("node_type") == "array":
        ours, theirs = node["shape"], found["shape"]
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            return False
        grown = theirs[:-1] == ours[:-1] and isinstance(theirs[-1], int) and theirs[-1] >= ours[-1]
        return bool(grown) and {**found, "shape": ours} == node
    attributes, others = node.get("attributes"), found.get("attributes")
    if not isinstance(attributes, dict) or not isinstance(others, dict):
        return False
    moved = {name: attributes[name] for name in _MOVING & attributes.keys()}
    return bool({**found, "attributes": others | moved} == node)


def _is_chunk(manifest: Manifest, key: str) -> bool:
    path, _, rest = key.partition("/c/")
    entry = manifest.arrays.get(path)
    parts = rest.split("/")
    if entry is None or not all(p.isascii() and p.isdigit() and str(int(p)) == p for p in parts):
        return False
    index = tuple(map(int, parts))
    return len(index) == len(entry.grid) and all(
        at < n for at, n in zip(index, entry.grid, strict=True)
    )


def _walk(directory: Path) -> Iterator[str]:
    """Yield every file below a directory, links not followed, as it is named below it."""
    for head, folders, names in os.walk(directory):
        links = [name for name in folders if os.path.islink(os.path.join(head, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(head, name), directory).replace(os.sep, "/")
