"""`export_run`: one consistent state of a run, read with every check and written elsewhere.

The root document is read first and decides what is copied, so that a run being
recorded gives its last commit, whatever is written meanwhile.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actrace.errors import NotARunError
from actrace.store.check import check_schema
from actrace.store.export.bucket import BucketTarget
from actrace.store.export.directory import DirectoryTarget
from actrace.store.export.target import Target
from actrace.store.export.zipped import ZipTarget
from actrace.store.manifest import Manifest
from actrace.store.paths import ROOT_DOCUMENT, SUFFIX, run_folder, run_path
from actrace.store.progress import counting
from actrace.store.snapshot import SnapshotStore
from actrace.store.sources.bucket import is_url
from actrace.store.sources.find import find_sources

__all__ = ["export_run"]


def export_run(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> str:
    """Copy a run into a zip file, a bucket or another directory, and return where it is.

    Every chunk is checked as it is read, and what was written is checked too. Of a run
    that is being recorded the last commit is copied. The copy opens with `actrace.open`,
    and with plain xarray.

    Parameters
    ----------
    path : str or path
        The run: a directory, a zip file or a URL; of several processes, all of it.
    to : str or path
        ``something.zip``; or ``s3://bucket/path``; or a directory, to whose name
        ``.zarr`` is added if missing. A run that is in the bucket already is brought up
        to date.
    overwrite : bool
        Replace the zip, or the other run, that stands there.
    storage_options : mapping, optional
        For a URL, as for `actrace.open`.
    progress : bool, optional
        True for a bar at once, False for none; by default one after two seconds, on a
        terminal.

    Raises
    ------
    NotARunError, NewerSchemaError, DamagedRunError
        There is no whole run at `path`.
    RunExistsError
        Something stands at `to`.
    StoreWriteError
        It cannot be written there.
    MissingDependencyError, RemoteError
        Of an object store, as `actrace.open`.

    Examples
    --------
    >>> import tempfile
    >>> import actrace
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> zipped = export_run(folder.name + "/a", folder.name + "/a.zip")
    >>> run = actrace.open(zipped)
    >>> run.status
    'finished'
    >>> run.close()
    >>> folder.cleanup()
    """
    found = find_sources(path, storage_options)
    stores: dict[str, SnapshotStore] = {}
    manifests: dict[str, Manifest] = {}
    try:
        for rank, source in found.sources.items():
            folder = "" if rank is None else f"rank-{rank}{SUFFIX}/"
            manifests[folder] = source.manifest()
            check_schema(manifests[folder])
            stores[folder] = SnapshotStore(manifests[folder], len(found.sources), source)
            if not stores[folder].is_current():
                raise NotARunError(
                    f"run {source.place!r} was replaced by another just now; try again"
                )
        target = _target(to, manifests, overwrite=overwrite, options=storage_options)
        total = sum(1 for manifest in manifests.values() for _ in _keys(manifest))
        with target, counting(total, f"exporting {found.name}", progress=progress) as advance:
            for folder, store in stores.items():
                _copy(store, manifests[folder], target, folder, advance)
            target.finish()
    finally:
        for store in stores.values():
            store.close()
    return target.place


def _target(
    to: str | os.PathLike[str],
    runs: Mapping[str, Manifest],
    *,
    overwrite: bool,
    options: Mapping[str, Any] | None,
) -> Target:
    several = "" not in runs
    if is_url(to):
        url = str(to).rstrip("/").removesuffix(SUFFIX) + ("" if several else SUFFIX)
        return BucketTarget(url, options, runs, overwrite=overwrite)
    path = Path(os.path.abspath(os.path.expanduser(os.fspath(to))))
    if path.suffix.lower() == ".zip":
        return ZipTarget(path, overwrite=overwrite)
    return DirectoryTarget(run_folder(path) if several else run_path(path), overwrite=overwrite)


def _chunks(manifest: Manifest) -> Iterator[str]:
    """Yield the keys of the committed chunk files, in a fixed order."""
    for path in sorted(manifest.arrays):
        yield from manifest.arrays[path].keys()


def _documents(manifest: Manifest) -> list[str]:
    return [f"{path}/{ROOT_DOCUMENT}" for path in sorted({*manifest.groups, *manifest.arrays})]


def _keys(manifest: Manifest) -> Iterator[str]:
    return itertools.chain(_chunks(manifest), _documents(manifest), [ROOT_DOCUMENT])


def _copy(
    store: SnapshotStore,
    manifest: Manifest,
    target: Target,
    folder: str,
    advance: Callable[[], None],
) -> None:
    """Copy one run in the order of a commit: chunks, documents, the root document."""

    def copy(key: str) -> None:
        target.put(folder + key, store.read(key))

    for keys in (_chunks(manifest), _documents(manifest), [ROOT_DOCUMENT]):
        if target.workers == 1:
            for key in keys:
                copy(key)
                advance()
        else:
            with ThreadPoolExecutor(target.workers) as pool:
                for _ in pool.map(copy, keys):
                    advance()
        target.settle()
