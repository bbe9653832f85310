"""The objects of one run in a bucket, written as a directory's files are.

Opt-in: imported for a URL alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from actrace.errors import ActraceError
from actrace.store.files import Durability, RunFiles
from actrace.store.remote.shipping import Shipper
from actrace.store.sources.bucket import remote_errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BucketFiles"]


class BucketFiles(RunFiles):
    """Write access to the objects below one URL.

    An object is there whole or not at all, and lasts once it is acknowledged,
    whatever `durability` says. `write` hands it over; when it is sent is the
    matter of `settle` and `settle_later`.

    Parameters
    ----------
    store : ObjectStore
    place : str
        The run's URL.
    durability : {"process", "power"}
    shipper : Shipper
    sizes : dict of str to int
        Key -> bytes of what lies there already.
    """

    __slots__ = ("_place", "_shipper", "_sizes", "_store")

    behind = True

    def __init__(
        self,
        store: ObjectStore,
        place: str,
        durability: Durability,
        shipper: Shipper,
        sizes: dict[str, int],
    ) -> None:
        self._check(durability)
        self.durability = durability
        self.size = sum(sizes.values())
        self._store = store
        self._place = place
        self._shipper = shipper
        self._sizes = sizes

    @property
    def where(self) -> str:
        """The run's URL."""
        return self._place

    def remove(self, keys: Iterable[str]) -> None:
        """Delete those of `keys` that lie there and were not written by this.

        Raises
        ------
        RemoteError
            The object store cannot be reached, or refuses.
        """
        import obstore

        with remote_errors(self._place):
            found = [str(one["path"]) for batch in obstore.list(self._store) for one in batch]
            gone = sorted(set(keys).intersection(found).difference(self._sizes))
            if gone:
                obstore.delete(self._store, gone)

    def make_directory(self, path: str) -> None:
        """Do nothing: a bucket has none."""

    def write(self, path: str, data: bytes) -> None:
        """Hand `data` over for `path`; see `Shipper.put`."""
        self._shipper.put(path, data)
        self.size += len(data) - self._sizes.get(path, 0)
        self._sizes[path] = len(data)

    def read(self, path: str) -> bytes:
        """Return an object as it was written last.

        Raises
        ------
        FileNotFoundError
            There is none.
        RemoteError
            It cannot be read.
        """
        import obstore

        waiting = self._shipper.find(path)
        if waiting is not None:
            return waiting
        with remote_errors(f"{self._place}/{path}"):
            return bytes(obstore.get(self._store, path).bytes())

    def sync(self) -> None:
        """Do nothing: what is sent keeps the order of a commit by itself."""

    def sync_parent(self) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Wait until all that was written is in the bucket; see `Shipper.settle`."""
        self._shipper.settle()

    def settle_later(self, landed: Callable[[ActraceError | None, float], None]) -> None:
        """Send all that was written meanwhile, and tell `landed`; see `Shipper.send`."""
        self._shipper.send(landed)

    def close(self) -> None:
        """Send no more."""
        self._shipper.close()

    def remove_leftovers(self) -> int:
        """Return 0: objects are never half-written, and what others wrote is theirs."""
        return 0
