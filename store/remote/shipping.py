"""Objects on their way to a bucket: handed over at once, sent by a thread of their own.

Whatever is handed over is kept until the bucket has acknowledged it, so that a
failed request loses nothing and the next try sends what is missing, in the
newest state. Each try keeps the order of a commit: chunks, documents, the root
document, each kind only when the one before is there. Opt-in: imported for a
URL alone; obstore comes with the extra ``remote``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from actrace.errors import ActraceError, RemoteError, RunLockedError, StoreWriteError
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.sources.bucket import RUN_MARK, remote_errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Landing", "Shipper"]

#: Memory of what may wait to be sent; beyond it the writer waits, or gives up rows.
WAITING_BYTES: Final = 64 * 2**20
#: Requests at once. A commit is some hundred small objects, and each takes a round trip.
REQUESTS: Final = 8

#: Told how a try went: the error, None where all was sent, and its seconds.
Landing = Callable[[ActraceError | None, float], None]


class Shipper:
    """What is to be sent below one URL, and the thread that sends it.

    Parameters
    ----------
    store : ObjectStore
    place : str
        The run's URL, for messages.
    run_id : str
        Written to each object.
    root_tag : str or None
        Entity tag of the root document that stands there; None for none.
    may_write : callable
        Raises an error of ours where this process may not write now; called
        before each object.
    """

    def __init__(
        self,
        store: ObjectStore,
        place: str,
        run_id: str,
        root_tag: str | None,
        may_write: Callable[[], None],
    ) -> None:
        self._store = store
        self._place = place
        self._mark = {RUN_MARK: run_id}
        self._root_tag = root_tag
        self._sent_root = b""
        self._may_write = may_write
        self._guard = threading.Lock()
        self._waiting: dict[str, bytes] = {}
        self._going: dict[str, bytes] = {}
        self._failed = False
        self._trying = False
        self._closed = False
        self._orders: SimpleQueue[Landing | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="actrace-shipper", daemon=True)
        self._thread.start()

    def put(self, key: str, data: bytes) -> None:
        """Hand an object over; a later one of the same key counts instead of it.

        Waits for room where the bucket takes what it is sent, only slowly.

        Raises
        ------
        StoreWriteError
            There is no room, and the last try failed. The object was not taken.
        """
        if self._bytes() + len(data) > WAITING_BYTES:
            if self._failed:
                # A training must not wait for a server that is gone.
                if not self._trying:
                    self.send(_ignore)
                raise StoreWriteError(
                    f"cannot write {key!r} of run {self._place!r}: the object store does not take "
                    f"it, and {WAITING_BYTES >> 20} MiB wait to be sent already"
                )
            try:
                self.settle()
            except RemoteError as error:
                raise StoreWriteError(str(error)) from error
        with self._guard:
            self._waiting[key] = data

    def find(self, key: str) -> bytes | None:
        """Return an object that was handed over and may not be in the bucket yet."""
        with self._guard:
            return self._waiting.get(key, self._going.get(key))

    def send(self, landed: Landing) -> None:
        """Send all that was handed over, behind the caller's back, and tell `landed`.

        It is called on the sending thread.
        """
        self._trying = True
        self._orders.put(landed)

    def settle(self) -> None:
        """Send all that was handed over, and wait until it is there.

        Raises
        ------
        RemoteError, StoreWriteError, RunLockedError
            Something could not be sent; it is kept for the next try.
        """
        if self._closed:
            raise StoreWriteError(f"run {self._place!r} was closed, and is written no more")
        answer: SimpleQueue[ActraceError | None] = SimpleQueue()
        self.send(lambda error, _: answer.put(error))
        error = answer.get()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread once it is done with what was asked before."""
        self._closed = True
        self._orders.put(None)

    def _bytes(self) -> int:
        with self._guard:
            return sum(map(len, self._waiting.values())) + sum(map(len, self._going.values()))

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            while True:
                landed = self._orders.get()
                if landed is None:
                    return
                began = time.monotonic()
                error = self._try(loop)
                self._failed, self._trying = error is not None, False
                landed(error, time.monotonic() - began)
        finally:
            loop.close()

    def _try(self, loop: asyncio.AbstractEventLoop) -> ActraceError | None:
        with self._guard:
            self._going, self._waiting = self._waiting, {}
        error: ActraceError | None = None
        try:
            for keys in _in_order(self._going):
                loop.run_until_complete(self._send(keys))
        except ActraceError as problem:
            error = problem
        except Exception as problem:  # whatever it is, the thread must live on
            error = StoreWriteError(
                f"cannot write run {self._place!r}: {type(problem).__name__}: {problem}"
            )
        with self._guard:
            # What was handed over meanwhile is newer than what comes back unsent.
            self._waiting = {**self._going, **self._waiting}
            self._going = {}
        return error

    async def _send(self, keys: Iterable[str]) -> None:
        """Send some objects, in any order; after a failure no further ones.

        Raises
        ------
        RemoteError, StoreWriteError, RunLockedError
            The first that went wrong.
        """
        errors: list[Exception] = []
        room = asyncio.Semaphore(REQUESTS)

        async def one(key: str) -> None:
            async with room:
                if errors:
                    return
                try:
                    await self._send_one(key, self._going[key])
                except Exception as error:
                    errors.append(error)
                    return
            with self._guard:
                del self._going[key]

        await asyncio.gather(*map(one, keys))
        if errors:
            raise errors[0]

    async def _send_one(self, key: str, data: bytes) -> None:
        import obstore

        self._may_write()
        with remote_errors(f"{self._place}/{key}"):
            if key == ROOT_DOCUMENT:
                await self._send_root(data)
                return
            await obstore.put_async(
                self._store,
                key,
                data,
                attributes=self._mark,
                use_multipart=False,
            )

    async def _send_root(self, data: bytes) -> None:
        """Replace the root document that this writer wrote or found, and no other."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        sent, self._sent_root = self._sent_root, data
        try:
            answer: Mapping[str, Any] = await obstore.put_async(
                self._store,
                ROOT_DOCUMENT,
                data,
                attributes=self._mark,
                mode="create" if self._root_tag is None else {"e_tag": self._root_tag},
                use_multipart=False,
            )
        except (AlreadyExistsError, PreconditionError) as error:
            found = await obstore.get_async(self._store, ROOT_DOCUMENT)
            if bytes(await found.bytes_async()) not in (data, sent):
                raise RunLockedError(
                    f"run {self._place!r} was written by another recorder meanwhile; this one "
                    "writes no more"
                ) from error
            # An earlier request of ours was carried out, and its answer lost.
            self._root_tag = found.meta["e_tag"]
            if bytes(await found.bytes_async()) != data:
                await self._send_root(data)
            return
        self._root_tag = answer["e_tag"]


def _in_order(keys: Iterable[str]) -> list[list[str]]:
    """Return keys as a commit sends them: chunks, then documents, then the root document."""
    chunks, documents, root = [], [], []
    for key in keys:
        if key == ROOT_DOCUMENT:
            root.append(key)
        elif key.endswith(f"/{ROOT_DOCUMENT}"):
            documents.append(key)
        else:
            chunks.append(key)
    return [chunks, documents, root]


def _ignore(error: ActraceError | None, seconds: float) -> None:
    """Take the news of a try that nobody asked for."""
