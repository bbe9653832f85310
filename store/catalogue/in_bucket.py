"""Which runs lie below a URL, from their root documents alone.

As `listing` for a directory: a request for each folder, and one for each run.
Opt-in: the package that talks to object stores is imported for a URL alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.catalogue.summary import (
    RunSummary,
    quick_summary,
    summary_of_manifest,
    summary_of_ranks,
)
from actrace.store.check import check_schema
from actrace.store.manifest import parse_manifest
from actrace.store.paths import ROOT_DOCUMENT, SUFFIX
from actrace.store.sources.bucket import BucketSource, connect, rank_named, rank_url, remote_errors

__all__ = ["list_runs_below"]

#: Requests at once.
_REQUESTS: Final = 8


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What looks like a run: its URL, its name in the list, and its ranks if it has any."""

    url: str
    name: str
    ranks: tuple[int, ...] = ()


def list_runs_below(
    url: str, *, depth: int = 4, storage_options: Mapping[str, Any] | None = None
) -> list[RunSummary]:
    """Return the runs below a URL, by name; damaged ones too.

    Parameters
    ----------
    url : str
        ``s3://bucket/path``, of some runs or of one.
    depth : int, default 4
        How many folders down to look.
    storage_options : mapping, optional
        As for `connect`.

    Raises
    ------
    MissingDependencyError, RemoteError
        As `connect`.
    """
    top = url.rstrip("/")
    found = _candidates(top, "", depth, storage_options)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        summaries = pool.map(partial(_summarise, options=storage_options), found)
        return [summary for summary in summaries if summary is not None]


def _candidates(
    url: str, below: str, depth: int, options: Mapping[str, Any] | None
) -> Iterator[_Candidate]:
    last = url.rpartition("/")[2]
    name = (below or last).removesuffix(SUFFIX)
    if last.endswith(SUFFIX):
        yield _Candidate(url, name)
        return
    if depth < 0:
        return
    import obstore

    with remote_errors(url):
        found = obstore.list_with_delimiter(connect(url, options))
    if any(str(one["path"]) == ROOT_DOCUMENT for one in found["objects"]):
        yield _Candidate(url, name)
        return
    folders = sorted(
        str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]
    )
    ranks = {folder: rank for folder in folders if (rank := rank_named(folder)) is not None}
    if ranks:
        yield _Candidate(url, name, tuple(sorted(ranks.values())))
    for folder in folders:
        if folder not in ranks and not folder.startswith("."):
            inside = f"{below}/{folder}" if below else folder
            yield from _candidates(f"{url}/{folder}", inside, depth - 1, options)


def _summarise(found: _Candidate, options: Mapping[str, Any] | None) -> RunSummary | None:
    """Return the summary of a run, None for another kind of store."""
    if not found.ranks:
        return _summarise_one(found.url, found.name, options)
    parts = {
        rank: _summarise_one(rank_url(found.url, rank), found.name, options) for rank in found.ranks
    }
    return summary_of_ranks(found.name, found.url, parts)


def _summarise_one(url: str, name: str, options: Mapping[str, Any] | None) -> RunSummary | None:
    source = BucketSource(url, options)
    try:
        text = source.root_text()
        run = quick_summary(name, url, text)
        if run is None:
            manifest = parse_manifest(Path(name), text, url)
            check_schema(manifest)
            run = summary_of_manifest(name, url, manifest, len(text))
    except (FileNotFoundError, NotARunError):
        return None
    except NewerSchemaError as error:
        return RunSummary(name, url, "newer", problem=str(error))
    except DamagedRunError as error:
        return RunSummary(name, url, "damaged", problem=str(error))
    if run.status == "recording" and not source.is_being_written():
        return replace(run, status="interrupted")
    return run
