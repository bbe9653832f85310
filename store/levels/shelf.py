"""The levels of an opened run, each opened when somebody first looks at it.

Opening an array costs xarray about a millisecond, and a long run has over a
hundred of them in levels, so a run is opened without. May import xarray.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import xarray as xr

from actrace.store.levels.ladder import factors, level_path
from actrace.store.manifest import Manifest, parse_manifest
from actrace.store.schema import LEVELS_GROUP
from actrace.store.snapshot import SnapshotStore

__all__ = ["LevelShelf", "only", "without_levels"]


def without_levels(manifest: Manifest) -> Manifest:
    """Return what the manifest says of everything but levels."""
    return _part(manifest, lambda path: path.split("/")[0] != LEVELS_GROUP)


def only(manifest: Manifest, group: str) -> Manifest:
    """Return what the manifest says of one group with its arrays, and the groups above it."""
    return _part(
        manifest,
        lambda path: path.rpartition("/")[0] == group or f"{group}/".startswith(f"{path}/"),
    )


def _part(manifest: Manifest, keep: Callable[[str], bool]) -> Manifest:
    groups = {path: found for path, found in manifest.groups.items() if keep(path)}
    arrays = {path: found for path, found in manifest.arrays.items() if keep(path)}
    if len(groups) + len(arrays) == len(manifest.groups) + len(manifest.arrays):
        return manifest
    document = json.loads(manifest.text)
    nodes = document["consolidated_metadata"]["metadata"]
    document["consolidated_metadata"]["metadata"] = {p: n for p, n in nodes.items() if keep(p)}
    return replace(manifest, text=json.dumps(document).encode(), groups=groups, arrays=arrays)


class LevelShelf:
    """The levels of one run at one state.

    Parameters
    ----------
    manifest : Manifest
        All of the run's.
    store : SnapshotStore
        Of the run without its levels.
    open_group : callable
        Opens one group of a store that holds it, lazily, in dask blocks or without.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: SnapshotStore,
        open_group: Callable[[SnapshotStore, Manifest, str, bool], xr.Dataset],
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._open_group = open_group
        self._found: dict[tuple[str, bool], tuple[xr.Dataset, SnapshotStore]] = {}
        self._guard = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        found = self._manifest
        return {
            "directory": found.directory,
            "text": found.text,
            "place": found.place,
            "store": self._store,
            "open": self._open_group,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        manifest = parse_manifest(state["directory"], state["text"], state["place"])
        self.__init__(manifest, state["store"], state["open"])  # type: ignore[misc]

    def columns(self, phase: str) -> dict[int, int]:
        """Return batches in a column -> number of columns, of each level of `phase`."""
        return {
            factor: self._manifest.length(level_path(phase, factor))
            for factor in factors(self._manifest.groups, phase)
        }

    def level(self, phase: str, factor: int, *, blocks: bool = True) -> xr.Dataset:
        """Return a level that `columns` names, lazily, dims (layer, bin, batch).

        With `blocks` in those of dask; without, each look reads what it asks for alone.
        """
        return self._group(level_path(phase, factor), blocks)

    def batches(self, phase: str) -> xr.Dataset:
        """Return a phase itself, lazily, not in blocks."""
        return self._group(phase, False)

    def _group(self, path: str, blocks: bool) -> xr.Dataset:
        key = (path, blocks)
        with self._guard:
            if key not in self._found:
                part = only(self._manifest, path)
                store = self._store.with_part(part)
                self._found[key] = (self._open_group(store, part, path, blocks), store)
            return self._found[key][0]

    def close(self) -> None:
        """Close every file, the run's own too; reading again is an error."""
        with self._guard:
            for _, store in self._found.values():
                store.close()
            self._found.clear()
            self._store.close()
