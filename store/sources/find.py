"""Which source a path or URL of the user's means: of one run, or of its ranks.

Imports nothing beyond the standard library and the store's own names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actrace.store.manifest import read_manifest
from actrace.store.paths import ROOT_DOCUMENT, find_run, rank_paths
from actrace.store.sources.bucket import bucket_sources, is_url
from actrace.store.sources.directory import DirectorySource
from actrace.store.sources.source import Source
from actrace.store.sources.zipped import zip_sources

__all__ = ["Found", "find_sources"]


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a path or URL.

    Attributes
    ----------
    place : str
        For messages.
    path : Path or None
        The directory or file, None elsewhere than on this machine.
    sources : mapping of int or None to Source
        Rank -> its files, in the order of ranks; None alone for one process.
    """

    place: str
    path: Path | None
    sources: Mapping[int | None, Source]

    @property
    def name(self) -> str:
        """The run's name, without any ending."""
        last = self.place.rstrip("/").rpartition("/")[2]
        return last.removesuffix(".zip").removesuffix(".zarr")


def find_sources(
    path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> Found:
    """Return the files of the run at `path`.

    Parameters
    ----------
    path : str or path
        A run's directory with or without its ``.zarr``, a folder of ranks, a zip
        file, or a URL ``s3://...``.
    storage_options : mapping, optional
        For a URL; see `connect`.

    Raises
    ------
    NotARunError, DamagedRunError
        Nothing there, or something else.
    MissingDependencyError, RemoteError
        As `connect`.
    """
    if is_url(path):
        url = str(path)
        return Found(url.rstrip("/"), None, bucket_sources(url, storage_options))
    folder = find_run(path)
    if folder.is_file():
        return Found(str(folder), folder, zip_sources(folder))
    whole = os.path.isfile(folder / ROOT_DOCUMENT)
    ranks = {} if whole else rank_paths(folder)
    if ranks:
        parts: dict[int | None, Source] = {
            rank: DirectorySource(part) for rank, part in ranks.items()
        }
        return Found(str(folder), folder, parts)
    if not whole:
        # It says best what stands there instead.
        read_manifest(path)
    return Found(str(folder), folder, {None: DirectorySource(folder)})
