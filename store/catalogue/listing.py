"""Which runs a directory holds, from their root documents alone.

Fast and safe over thousands of runs: no array is opened, and of a document
only the attributes are parsed, unless they hold no summary. What is damaged
further down is for the opener to find. Imports nothing heavier than NumPy.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.catalogue.in_bucket import list_runs_below
from actrace.store.catalogue.summary import (
    RunSummary,
    quick_summary,
    summary_of_manifest,
    summary_of_ranks,
)
from actrace.store.check import check_schema
from actrace.store.lock import is_being_written
from actrace.store.manifest import MAX_DOCUMENT, read_manifest
from actrace.store.paths import ROOT_DOCUMENT, SUFFIX, rank_paths, size_on_disk
from actrace.store.sources.bucket import is_url

__all__ = ["list_runs", "select_runs"]

#: What a run can be asked for by its status.
STATUSES: Final = ("recording", "finished", "failed", "interrupted", "damaged", "newer")


def list_runs(
    directory: str | os.PathLike[str],
    *,
    depth: int = 4,
    storage_options: Mapping[str, Any] | None = None,
) -> list[RunSummary]:
    """Return the runs in `directory` and below, by path; damaged ones too.

    Parameters
    ----------
    directory : str or path
        A folder of runs, or one run; or ``s3://bucket/path``.
    depth : int, default 4
        How many folders down to look; links are not followed.
    storage_options : mapping, optional
        For a URL, as for `actrace.open`.

    Raises
    ------
    NotARunError
        `directory` is not there or not a directory.
    MissingDependencyError, RemoteError
        Of a URL, as `actrace.open`.
    """
    if is_url(directory):
        return list_runs_below(str(directory), depth=depth, storage_options=storage_options)
    root = Path(os.path.abspath(os.path.expanduser(os.fspath(directory))))
    if not root.is_dir():
        found = "it is a file" if root.exists() else "nothing is there"
        raise NotARunError(
            f"cannot list runs in {str(root)!r}: {found}; give a directory that holds runs"
        )
    summaries = (_summarise(path, _name(path, root)) for path in _candidates(root, depth))
    return [run for run in summaries if run is not None]


def select_runs(
    runs: Iterable[RunSummary],
    *,
    name: str | None = None,
    status: str | Iterable[str] | None = None,
    tags: str | Iterable[str] = (),
    config: Mapping[str, Any] | None = None,
) -> list[RunSummary]:
    """Return those of the runs that are as asked; see `actrace.runs`.

    Raises
    ------
    ValueError
        A status that no run has.
    """
    states = None if status is None else {status} if isinstance(status, str) else set(status)
    for state in states or ():
        if state not in STATUSES:
            raise ValueError(f"status is one of {', '.join(STATUSES)}; got {state!r}")
    wanted = {tags} if isinstance(tags, str) else set(tags)
    return [
        run
        for run in runs
        if (name is None or fnmatch.fnmatchcase(run.name, name))
        and (states is None or run.status in states)
        and wanted <= set(run.tags)
        and all(_has(run.config, key, value) for key, value in (config or {}).items())
    ]


def _has(config: Mapping[str, Any], key: str, wanted: Any) -> bool:
    """Return whether a config holds a value, or one that a function says yes to."""
    found: Any = config
    if key in config:
        found = config[key]
    else:
        for part in key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
    return bool(wanted(found)) if callable(wanted) else bool(found == wanted)


def _name(path: Path, root: Path) -> str:
    """Return a run's path below the directory that is listed, in one spelling everywhere."""
    below = path.name if path == root else path.relative_to(root).as_posix()
    return below.removesuffix(SUFFIX)


def _candidates(directory: Path, depth: int) -> Iterator[Path]:
    if directory.name.endswith(SUFFIX) or (directory / ROOT_DOCUMENT).is_file():
        yield directory
        return
    if depth < 0:
        return
    ranks = set(rank_paths(directory).values())
    if ranks:
        yield directory
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        # Hidden folders hold runs that are just being made or replaced.
        hidden = entry.name.startswith(".") or Path(entry.path) in ranks
        if entry.is_dir(follow_symlinks=False) and not hidden:
            yield from _candidates(Path(entry.path), depth - 1)


def _open_plain(path: Path) -> int:
    """Open a file without following a link or waiting for a pipe."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _summarise(path: Path, name: str) -> RunSummary | None:
    """Return the summary of the run at `path`, None for another kind of store."""
    try:
        with os.fdopen(_open_plain(path / ROOT_DOCUMENT), "rb") as file:
            text = file.read(MAX_DOCUMENT + 1)
    except FileNotFoundError:
        ranks = rank_paths(path)
        return summary_of_ranks(
            name, path, {rank: _summarise(part, name) for rank, part in ranks.items()}
        )
    except OSError:
        text = b""
    return _alive(quick_summary(name, path, text)) or _summarise_slowly(path, name)


def _summarise_slowly(path: Path, name: str) -> RunSummary | None:
    """Return the same from the whole document, or what is wrong with it."""
    size = size_on_disk(path)
    try:
        manifest = read_manifest(path)
        check_schema(manifest)
    except NotARunError:
        return None
    except NewerSchemaError as error:
        return RunSummary(name, path, "newer", size=size, problem=str(error))
    except DamagedRunError as error:
        return RunSummary(name, path, "damaged", size=size, problem=str(error))
    return _alive(summary_of_manifest(name, path, manifest, size))


def _alive(run: RunSummary | None) -> RunSummary | None:
    """Return the run, "interrupted" where it says it is recording and nobody writes it."""
    if run is None or run.status != "recording" or is_being_written(Path(run.path)):
        return run
    return replace(run, status="interrupted")
