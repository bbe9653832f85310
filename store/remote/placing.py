"""Where in a bucket a run goes: a free place, that of a run to replace, or to go on with.

A bucket has no rename. A run that is replaced ends with the one request that
puts a root document of the new, empty run over its own; only then are its
objects deleted. Opt-in: imported for a URL alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from actrace.errors import DamagedRunError, NotARunError, RunExistsError
from actrace.store.document import dumps, root_document
from actrace.store.files import Durability
from actrace.store.manifest import Manifest
from actrace.store.paths import LOCK_NAME, ROOT_DOCUMENT
from actrace.store.remote.files import BucketFiles
from actrace.store.remote.lease import BucketLease
from actrace.store.remote.shipping import Shipper
from actrace.store.sources.bucket import BucketSource, connect, remote_errors, run_url

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BucketPlace"]

#: For how long a request is tried again, and for how long one may take: a shard of some
#: megabytes over a slow line. What is not sent then is kept for the next commit.
PATIENCE: Final = timedelta(seconds=20)
TIMEOUT: Final = timedelta(minutes=2)
_OTHER: Final = (
    "something lies at {!r} that is not a run of actrace, so it is never replaced; record under "
    "another name"
)


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A place in a bucket that this process may write.

    Attributes
    ----------
    files : BucketFiles
    lease : BucketLease
    replaced : Manifest or None
        The run that lies there and is to be replaced.
    """

    files: BucketFiles
    lease: BucketLease
    replaced: Manifest | None = None

    @classmethod
    def new(
        cls,
        url: str,
        options: Mapping[str, Any] | None,
        durability: Durability,
        run_id: str,
        *,
        overwrite: bool,
    ) -> BucketPlace:
        """Return a free place, or that of a run to be replaced.

        Raises
        ------
        RunExistsError
            Something lies there that may not be replaced.
        RunLockedError
            The run is being written.
        MissingDependencyError, RemoteError
            As `connect`.
        """
        source = BucketSource(run_url(url), options)
        _refuse_standing(source, overwrite=overwrite)
        store, lease = _take(source, options)
        try:
            # Looked at again, now that nobody else writes.
            tag = source.root_tag()
            replaced = _refuse_standing(source, overwrite=overwrite)
            shipper = Shipper(store, source.place, run_id, tag, lease.check)
            return cls(BucketFiles(store, source.place, durability, shipper, {}), lease, replaced)
        except BaseException:
            lease.release()
            raise

    @classmethod
    def standing(
        cls, url: str, options: Mapping[str, Any] | None, durability: Durability
    ) -> tuple[BucketPlace, Manifest]:
        """Return the place of the run that lies there, to go on with it, and what it is.

        Raises
        ------
        NotARunError, NewerSchemaError, DamagedRunError
            As `BucketSource.manifest`.
        RunLockedError
            It is being written.
        MissingDependencyError, RemoteError
            As `connect`.
        """
        source = BucketSource(run_url(url), options)
        source.manifest()
        store, lease = _take(source, options)
        try:
            # Read again under the lock: another writer may have been there just now.
            tag = source.root_tag()
            manifest = source.manifest()
            run_id = str(manifest.attributes.get("run_id"))
            shipper = Shipper(store, source.place, run_id, tag, lease.check)
            sizes = _sizes(store, source.place)
            place = cls(BucketFiles(store, source.place, durability, shipper, sizes), lease)
        except BaseException:
            lease.release()
            raise
        return place, manifest

    def end_standing(self, attributes: Mapping[str, Any]) -> None:
        """End the run that lies there, if the new one's first commit would change its bins.

        A root document without anything takes the place of its own. Where the bins
        are the same, the first commit itself is what ends it.

        Raises
        ------
        RemoteError, RunLockedError
            It cannot be ended, and stands as it did.
        """
        if self.replaced is not None and self.replaced.attributes["axis"] != attributes["axis"]:
            self.files.write(ROOT_DOCUMENT, dumps(root_document(attributes, {})))
            self.files.settle()

    def remove_standing(self) -> None:
        """Delete what the run that was replaced left; nothing else below the URL.

        Raises
        ------
        RemoteError
            It cannot be deleted. It harms nothing but takes space.
        """
        if self.replaced is None:
            return
        arrays, groups = self.replaced.arrays, self.replaced.groups
        keys = {key for entry in arrays.values() for key in entry.keys()}  # noqa: SIM118
        keys |= {f"{path}/{ROOT_DOCUMENT}" for path in (*arrays, *groups)}
        self.files.remove(keys)

    def give_up(self) -> None:
        """Write no more, and leave everything as it is."""
        self.files.close()
        self.lease.release()


def _take(
    source: BucketSource, options: Mapping[str, Any] | None
) -> tuple[ObjectStore, BucketLease]:
    """Return a connection for writing, and the run's lock."""
    given = dict(options or {})
    settings = {
        "retry_config": {"retry_timeout": PATIENCE},
        **given,
        "client_options": {"timeout": TIMEOUT, **given.get("client_options", {})},
    }
    store = connect(source.place, settings)
    return store, BucketLease(store, source.place)


def _refuse_standing(source: BucketSource, *, overwrite: bool) -> Manifest | None:
    """Refuse to go on where something lies that may not be replaced; return what may.

    None also for a run whose root document is damaged: what lies there of it stays,
    and harms nothing.
    """
    try:
        found = source.manifest() if source.root_tag() is not None else None
    except NotARunError:
        raise RunExistsError(_OTHER.format(source.place)) from None
    except DamagedRunError:
        found = None
    else:
        if found is None:
            # Alone, a lock is what is left of a beginning that failed.
            if not source.is_locked_or_empty():
                raise RunExistsError(_OTHER.format(source.place))
            return None
    if not overwrite:
        raise RunExistsError(
            f"a run lies at {source.place!r}; pass resume=True to go on with it, overwrite=True to "
            "replace it, or record under another name"
        )
    return found


def _sizes(store: ObjectStore, place: str) -> dict[str, int]:
    """Return key -> bytes of what lies below the URL, the lock left out."""
    import obstore

    with remote_errors(place):
        return {
            str(found["path"]): int(found["size"])
            for batch in obstore.list(store)
            for found in batch
            if found["path"] != LOCK_NAME
        }
