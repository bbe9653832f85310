"""A recorded run as a lazy xarray tree, checked before it is believed.

May import zarr, xarray and dask.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from actrace.errors import DamagedRunError
from actrace.store.check import check_schema
from actrace.store.chunked import chunked
from actrace.store.levels.shelf import LevelShelf, without_levels
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.merging.ranks import open_ranks
from actrace.store.rewriting.guard import guarded
from actrace.store.rewriting.marks import thinned_of
from actrace.store.run import Run
from actrace.store.schema import LEVELS_GROUP
from actrace.store.snapshot import SnapshotStore
from actrace.store.sources.find import find_sources
from actrace.store.sources.source import Source

__all__ = ["open_run"]

#: Batches in one dask block of one layer's histograms. Shorter ones swamp a
#: scheduler with tasks; 512 bins of this length are 32 MB.
BATCHES = 16_384
#: Bytes that a list of names may take.
MOST_TEXT = 2**27
#: Raw size up to which the histograms of several layers of a level share a dask block.
LEVEL_BYTES = 4 * 2**20
#: Raw size of a dask block of the small variables.
BLOCK_BYTES = 32 * 2**20
#: Of more classes than this a block holds all, in fewer windows: a task a class and
#: part of a file each would take longer than reading whole files does.
MANY = 64


def open_run(
    path: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Run:
    """Return the run at `path`: an `xarray.DataTree`, lazy, one consistent state.

    A run that is still recording is seen as of its last commit; open it again
    to see more.

    A run of several processes is the merged run of its ranks, which
    ``run.ranks`` holds one by one; a rank's own directory opens that rank alone.

    Parameters
    ----------
    path : str or path
        The run, with or without its ``.zarr``; a zip file of one, read in place; or
        the URL of one in an object store, ``s3://bucket/run.zarr``.
    storage_options : mapping, optional
        For a URL: ``endpoint``, ``access_key_id``, ``secret_access_key``, ``region``
        and what else `obstore.store.S3Store` takes. Default: the environment's
        ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and so on.

    Raises
    ------
    NotARunError
        There is no run at `path`; the message says what is.
    NewerSchemaError
        A later actrace wrote it.
    DamagedRunError
        Something that was committed is missing or damaged; also raised later,
        when the data in question are read. Of several ranks the others are then
        opened, with a warning that says which are missing.
    RankMismatchError
        The ranks recorded what cannot be merged.
    MissingDependencyError
        A URL needs ``pip install "actrace[remote]"``.
    RemoteError
        The object store cannot be reached, or refuses.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> run = open_run(folder.name + "/a")
    >>> run.status, run.phases
    ('finished', ())
    >>> run.close()
    >>> folder.cleanup()
    """
    found = find_sources(path, storage_options)
    if None in found.sources:
        run = _open_one(found.sources[None])
    else:
        openers = {
            rank: partial(_open_one, source, len(found.sources))
            for rank, source in found.sources.items()
            if rank is not None
        }
        run = open_ranks(found.place, openers)
    run.name = found.name
    if found.path is not None:
        run.place(found.path)
    return run


def _open_one(source: Source, ranks: int = 1) -> Run:
    """Return the run of one process; `ranks` of them share the files kept open."""
    manifest = source.manifest()
    check_schema(manifest)
    store = SnapshotStore(without_levels(manifest), ranks, source)
    if not store.is_current():
        # Replaced between the opening of its directory and the reading of its document.
        return _open_one(source.again(), ranks)
    status = str(manifest.attributes.get("status"))
    if status == "recording" and not source.is_being_written():
        # The writer may have closed the run between the two looks.
        if source.manifest().text != manifest.text:
            return _open_one(source.again(), ranks)
        status = "interrupted"
    run = _build(manifest, store, status)
    if source.directory is not None:
        run.place(source.directory)
    return run


def _build(manifest: Manifest, store: SnapshotStore, status: str) -> Run:
    tree = _open_tree(store, manifest)
    root = _settle(tree, manifest, "", store)
    root.attrs["status"] = status
    # zarr lists groups by name; readers want them as they came.
    children = {
        phase: _subtree(tree.children[phase], manifest, phase, store) for phase in manifest.phases
    }
    run = Run(dataset=root, children=children, name=manifest.directory.stem)
    shelf = LevelShelf(manifest, store, _open_group)
    run.set_levels(shelf)
    run.set_close(shelf.close)
    return run


def _open_group(store: SnapshotStore, manifest: Manifest, path: str, blocks: bool) -> xr.Dataset:
    """Return one group of a store, in dask blocks or as it is read from the store."""
    node = _open_tree(store, manifest)[path]
    return _settle(node, manifest, path, store, blocks)  # type: ignore[arg-type]


def _open_tree(store: SnapshotStore, manifest: Manifest) -> xr.DataTree:
    try:
        return xr.open_datatree(
            store,  # type: ignore[arg-type]
            engine="zarr",
            consolidated=True,
            chunks=None,
            cache=False,
            zarr_format=3,
        )
    except (
        ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
        struct.error,
    ) as error:  # fmt: skip
        store.close()
        raise DamagedRunError(
            f"{manifest.where} cannot be read: {error}; its metadata contradict themselves"
        ) from error


def _subtree(node: xr.DataTree, manifest: Manifest, path: str, store: SnapshotStore) -> xr.DataTree:
    children = {
        str(name): _subtree(child, manifest, f"{path}/{name}", store)
        for name, child in node.children.items()
    }
    return xr.DataTree(dataset=_settle(node, manifest, path, store), children=children)


def _settle(
    node: xr.DataTree, manifest: Manifest, path: str, store: SnapshotStore, blocks: bool = True
) -> xr.Dataset:
    """Return a group's dataset with names in memory and numbers in dask blocks, if asked."""
    dataset = node.to_dataset(inherit=False)
    coordinates = set(dataset.coords)
    settled: dict[str, xr.Variable] = {}
    token = store.identity
    for name, variable in dataset.variables.items():
        entry = manifest.arrays[f"{path}/{name}" if path else str(name)]
        if entry.dtype == "string":
            values = _names(variable.values, entry, manifest)
            settled[str(name)] = xr.Variable(variable.dims, values, variable.attrs)
        elif path and entry.dims[-1] in ("batch", "window") and entry.shape[-1]:
            chunks: dict[Any, Any] = _blocks(entry)
            variable = chunked(variable, entry, store)
            marks = thinned_of(manifest.attributes, entry.path)
            if marks is not None:
                rows = chunks[entry.dims[-1]]
                variable, chunks[entry.dims[-1]] = guarded(variable, marks, path, rows)
            if blocks:
                variable = variable.chunk(chunks, name=f"{path}/{name}-{token}", inline_array=True)
            settled[str(name)] = variable
        else:
            settled[str(name)] = variable.load()
    return xr.Dataset(
        {name: v for name, v in settled.items() if name not in coordinates},
        {name: v for name, v in settled.items() if name in coordinates},
        dataset.attrs,
    )


def _names(values: np.ndarray[Any, Any], entry: ArrayEntry, manifest: Manifest) -> Any:
    """Return names as an array of text, whose cells are all as long as the longest."""
    names = [str(name) for name in np.asarray(values, dtype=object).flat]
    size = 4 * len(names) * max(map(len, names), default=0)
    if size > MOST_TEXT:
        raise DamagedRunError(
            f"{manifest.where} is damaged: {entry.path!r} has names of "
            f"{max(map(len, names)):,} letters, and no model has such"
        )
    return np.array(names, dtype=str).reshape(values.shape)


def _blocks(entry: ArrayEntry) -> dict[str, int]:
    """Return the dask block of an array: long in time, whole chunk files."""
    length = entry.chunk[-1]
    chunks = dict(zip(entry.dims, entry.shape, strict=True))
    if entry.sharded and not (entry.dims[-1] == "window" and entry.shape[0] > MANY):
        chunks[entry.dims[0]] = 1
        rows = BATCHES
        if entry.path.startswith(f"{LEVELS_GROUP}/"):
            # A level is short: a task for each of its layers would cost more than reading.
            layer = math.prod(entry.shape[1:]) * np.dtype(entry.dtype).itemsize
            chunks[entry.dims[0]] = min(max(1, LEVEL_BYTES // max(1, layer)), entry.shape[0])
    else:
        row = math.prod(entry.shape[:-1]) * np.dtype(entry.dtype).itemsize
        rows = BLOCK_BYTES // max(1, row)
    chunks[entry.dims[-1]] = max(1, rows // length) * length
    return chunks
