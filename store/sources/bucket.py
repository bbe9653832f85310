"""A run in a bucket of an object store, read over the network when its URL is given.

Opt-in: nothing here is imported but for a URL, and the package that talks to
the store, obstore, comes with the extra ``remote``. Names in a run never become
URLs: keys are only ever looked up below the one that the user gave.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from actrace.errors import MissingDependencyError, NotARunError, RemoteError
from actrace.store.manifest import Manifest, parse_manifest
from actrace.store.paths import LOCK_NAME, ROOT_DOCUMENT, SUFFIX, is_url
from actrace.store.sources.source import OpenFile, Source

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "RUN_MARK",
    "BucketSource",
    "bucket_sources",
    "connect",
    "is_url",
    "rank_named",
    "rank_url",
    "ranks_below",
    "remote_errors",
    "run_url",
]

#: What one request brings of a file that is opened: all of most chunks, and of the
#: largest shard its index.
TAIL: Final = 2**18
#: Metadata of each object that a recorder sent: the run that it is of.
RUN_MARK: Final = "actrace-run"
_RANK: Final = re.compile(r"rank-(0|[1-9][0-9]{0,6})\.zarr")


def run_url(url: str) -> str:
    """Return the URL of the run of one process that `url` names.

    Examples
    --------
    >>> run_url("s3://bucket/runs/a/"), run_url("s3://bucket/runs/a.zarr")
    ('s3://bucket/runs/a.zarr', 's3://bucket/runs/a.zarr')
    """
    return url.rstrip("/").removesuffix(SUFFIX) + SUFFIX


def rank_url(url: str, rank: int) -> str:
    """Return where rank `rank` records of the run that `url` names.

    Examples
    --------
    >>> rank_url("s3://bucket/runs/a", 1)
    's3://bucket/runs/a/rank-1.zarr'
    """
    return f"{run_url(url).removesuffix(SUFFIX)}/rank-{rank}{SUFFIX}"


def rank_named(folder: str) -> int | None:
    """Return the rank whose run a folder of this name holds, None if it is no such name."""
    match = _RANK.fullmatch(folder)
    return int(match[1]) if match else None


def connect(url: str, options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Return the object store that holds what lies below `url`.

    Parameters
    ----------
    url : str
        ``s3://bucket/path``.
    options : mapping, optional
        As `obstore.store.S3Store` takes them; the environment's ``AWS_...`` else.

    Raises
    ------
    MissingDependencyError
        The extra is not installed.
    RemoteError
        Another kind of URL, or options that do not fit.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() != "s3" or not parts.netloc:
        raise RemoteError(
            f"{url!r} cannot be opened: expected s3://BUCKET/PATH, or a path on this machine"
        )
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise MissingDependencyError(
            f"{url!r} lies in an object store, and talking to one needs a package more: "
            'pip install "actrace[remote]"'
        ) from error
    given = dict(options or {})
    endpoint = given.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if str(endpoint).startswith("http://"):
        # Whoever writes http:// means it.
        given["client_options"] = {"allow_http": True, **given.get("client_options", {})}
    with remote_errors(url):
        try:
            return S3Store(parts.netloc, prefix=parts.path.strip("/") or None, **given)
        except TypeError as error:
            raise RemoteError(f"cannot connect to {url!r}: {error}") from error


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Raise what goes wrong with an object store as an error of ours.

    Raises
    ------
    RemoteError
        It cannot be reached, or refuses. `FileNotFoundError` passes through.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RemoteError(
            errno.EIO, f"{url!r} cannot be reached: {reason}; check its name, endpoint and keys"
        ) from error


class _Object(OpenFile):
    """One state of one object: its end at once, the rest by ranges of the same state."""

    __slots__ = ("_etag", "_key", "_source", "_tail")

    def __init__(self, source: BucketSource, key: str) -> None:
        answer, tail = source.get(key, {"range": {"suffix": TAIL}})
        super().__init__(int(answer["size"]))
        self._source, self._key, self._tail = source, key, tail
        self._etag = answer["e_tag"]

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the object ends before."""
        stop = min(stop, self.size)
        known = self.size - len(self._tail)
        if start >= known or start >= stop:
            return self._tail[start - known : stop - known] if start < stop else b""
        options: dict[str, Any] = {"range": (start, stop)}
        if self._etag:
            options["if_match"] = self._etag
        return self._source.get(self._key, options)[1]


class BucketSource(Source):
    """The files of a run below a URL.

    Parameters
    ----------
    url : str
    options : mapping, optional
        As for `connect`.
    run_id : str, optional
        The run that is read; `manifest` finds out. Objects of another are refused.
    """

    near = False

    def __init__(
        self, url: str, options: Mapping[str, Any] | None = None, run_id: str | None = None
    ) -> None:
        self.place = url.rstrip("/")
        self._options = dict(options or {})
        self._run_id = run_id
        self._store: ObjectStore | None = connect(url, options)

    def __reduce__(self) -> tuple[type[BucketSource], tuple[str, dict[str, Any], str | None]]:
        return BucketSource, (self.place, self._options, self._run_id)

    def get(self, key: str, options: dict[str, Any]) -> tuple[Mapping[str, Any], bytes]:
        """Return what the store says of an object, and bytes of it."""
        import obstore
        from obstore.exceptions import PreconditionError

        if self._store is None:
            raise ValueError("the run was closed; open it again")
        with remote_errors(f"{self.place}/{key}"):
            try:
                answer = obstore.get(self._store, key, options=options)  # type: ignore[arg-type]
                mark = answer.attributes.get(RUN_MARK)
                data = bytes(answer.bytes())
            except PreconditionError as error:
                raise RemoteError(
                    errno.ESTALE,
                    f"{key!r} of run {self.place!r} was replaced while it was read; open the "
                    "run again",
                ) from error
        if key != ROOT_DOCUMENT and None not in (mark, self._run_id) and mark != self._run_id:
            raise RemoteError(
                errno.ESTALE,
                f"{key!r} below {self.place!r} is of another run, which was recorded over this "
                "one; open it again",
            )
        return answer.meta, data

    def open(self, key: str) -> OpenFile:
        """Return the object at `key`; see `Source.open`."""
        return _Object(self, key)

    def manifest(self) -> Manifest:
        """Return the run's root document."""
        try:
            text = self.root_text()
        except FileNotFoundError:
            raise NotARunError(f"there is no run at {self.place!r}; check the URL") from None
        found = parse_manifest(Path(self.place.rpartition("/")[2]), text, self.place)
        self._run_id = str(found.attributes.get("run_id"))
        return found

    def root_tag(self) -> str | None:
        """Return the entity tag of the root document, None where there is none."""
        try:
            found, _ = self.get(ROOT_DOCUMENT, {"head": True})
        except FileNotFoundError:
            return None
        return str(found["e_tag"])

    def is_locked_or_empty(self) -> bool:
        """Return whether a recorder has been here, or nobody at all."""
        import obstore

        if self._store is None:
            raise ValueError("the run was closed; open it again")
        with remote_errors(self.place):
            keys = {str(found["path"]) for batch in obstore.list(self._store) for found in batch}
        return not keys or LOCK_NAME in keys

    def is_locked(self) -> bool | None:
        """Return whether a recorder holds the run; None where none ever did."""
        from actrace.store.remote.lease import is_leased

        if self._store is None:
            raise ValueError("the run was closed; open it again")
        with remote_errors(self.place):
            return is_leased(self._store)

    def is_being_written(self) -> bool:
        """Return whether a recorder holds the run; True for an exported one, which has no lock."""
        return self.is_locked() is not False

    def again(self) -> BucketSource:
        """Return this: every read asks the store anew."""
        return self

    def close(self) -> None:
        """Give up the connection."""
        self._store = None


def bucket_sources(
    url: str, options: Mapping[str, Any] | None = None
) -> dict[int | None, BucketSource]:
    """Return the run at a URL, with or without its ``.zarr``, or each of its ranks.

    Raises
    ------
    NotARunError
        Nothing there.
    MissingDependencyError, RemoteError
        As `connect`.
    """
    given = url.rstrip("/")
    plain = given.removesuffix(SUFFIX)
    for one in (plain + SUFFIX, plain):
        source = BucketSource(one, options)
        try:
            source.open(ROOT_DOCUMENT)
        except FileNotFoundError:
            continue
        return {None: source}
    ranks = ranks_below(plain, options)
    if not ranks:
        raise NotARunError(f"there is no run at {url!r}; check the URL")
    return {rank: BucketSource(rank_url(plain, rank), options) for rank in ranks}


def ranks_below(url: str, options: Mapping[str, Any] | None = None) -> list[int]:
    """Return the ranks of the run of several processes that `url` names, empty if none."""
    import obstore

    folder = run_url(url).removesuffix(SUFFIX)
    store = connect(folder, options)
    with remote_errors(folder):
        found = obstore.list_with_delimiter(store)
    names = [str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
    return sorted(rank for name in names if (rank := rank_named(name)) is not None)
