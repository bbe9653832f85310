"""A run into a bucket: up to date again as often as it is exported.

What the bucket has already is not sent twice. An object store has no locks and
no rename of many objects, so one exporter at a time is the user's to see to (a
recorder holds a lease, which is respected); the root document, sent last, is the
commit as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from actrace.errors import NotARunError, RunExistsError, RunLockedError, StoreWriteError
from actrace.store.export.target import Target
from actrace.store.manifest import Manifest
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.sources.bucket import BucketSource, connect, remote_errors

__all__ = ["BucketTarget"]


class BucketTarget(Target):
    """The objects below a URL.

    Parameters
    ----------
    url : str
    options : mapping, optional
        As for `connect`.
    runs : mapping of str to Manifest
        Folder below the URL, empty or ending in ``/`` -> the run that goes there.
    overwrite : bool
        Replace another run that lies there.

    Raises
    ------
    RunExistsError
        Another run lies there, or an earlier form of this one.
    RunLockedError
        A recorder writes the run that lies there.
    MissingDependencyError, RemoteError
        As `connect`.
    """

    workers = 8

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None,
        runs: Mapping[str, Manifest],
        *,
        overwrite: bool,
    ) -> None:
        self.place = url
        self._store = connect(url, options)
        self._written: dict[str, int] = {}
        for folder, manifest in runs.items():
            self._make_way(folder, manifest, options, overwrite=overwrite)
        self._had = self._list()

    def _make_way(
        self, folder: str, manifest: Manifest, options: Mapping[str, Any] | None, *, overwrite: bool
    ) -> None:
        """Delete another run that lies where this one goes, if that is allowed."""
        import obstore

        source = BucketSource(f"{self.place}/{folder}", options)
        try:
            standing = source.manifest()
        except NotARunError:
            return
        if source.is_locked():
            raise RunLockedError(
                f"run {source.place!r} is being recorded; export to another name, or wait until "
                "its recorder is closed"
            )
        if _continues(standing, manifest):
            return
        if not overwrite:
            raise RunExistsError(
                f"another run lies at {self.place!r}, or an earlier form of this one; pass "
                "overwrite=True (--overwrite) to replace it, or choose another name"
            )
        # Without its root document nobody takes the rest for a run.
        keys = [key for entry in standing.arrays.values() for key in entry.keys()]  # noqa: SIM118
        nodes = [f"{path}/{ROOT_DOCUMENT}" for path in (*standing.groups, *standing.arrays)]
        with remote_errors(self.place):
            for names in ([ROOT_DOCUMENT], [*keys, *nodes]):
                there = {folder + name for name in names} & set(self._list())
                if there:
                    obstore.delete(self._store, sorted(there))

    def _list(self) -> dict[str, tuple[int, str]]:
        """Return key -> size and entity tag of what lies below the URL."""
        import obstore

        with remote_errors(self.place):
            return {
                str(found["path"]): (int(found["size"]), (found.get("e_tag") or "").strip('"'))
                for batch in obstore.list(self._store)
                for found in batch
            }

    def put(self, key: str, data: bytes) -> None:
        """Send an object, unless the bucket has it."""
        import obstore

        self._written[key] = len(data)
        # The tag of an object sent in one piece is its MD5, with most servers.
        known = (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
        if self._had.get(key) == known:
            return
        with remote_errors(f"{self.place}/{key}"):
            obstore.put(self._store, key, data, use_multipart=False)

    def settle(self) -> None:
        """Check that the bucket lists everything sent, at its size."""
        there = self._list()
        for key, size in self._written.items():
            if there.get(key, (-1, ""))[0] != size:
                raise StoreWriteError(
                    f"cannot write {self.place!r}: {key!r} was sent and is not there at its size; "
                    "export again"
                )

    def finish(self) -> None:
        """Do nothing: the root document was the commit."""

    def abandon(self) -> None:
        """Leave what was sent, for the next try; the root document still says what counts."""


def _continues(old: Manifest, new: Manifest) -> bool:
    """Return whether `new` is a later state of `old`, so that its files only grow."""
    if old.attributes.get("run_id") != new.attributes.get("run_id"):
        return False
    for path, was in old.arrays.items():
        now = new.arrays.get(path)
        if now is None or (was.chunk, was.inner, was.dtype) != (now.chunk, now.inner, now.dtype):
            return False
        if was.shape[-1] > now.shape[-1]:
            return False
    return True
