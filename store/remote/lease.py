"""One writer a run in a bucket: an object that says who writes, renewed while it does.

An object store has no locks, but it writes an object only if none stands there,
or only if a given state of it does. A writer that dies renews no more, and its
lease ends; where it ran on this machine, its death is seen at once. Nothing is
ever deleted. Opt-in: obstore comes with the extra ``remote``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import threading
import time
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from actrace.errors import RemoteError, RunLockedError, StoreWriteError
from actrace.store.paths import LOCK_NAME
from actrace.store.sources.bucket import remote_errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BucketLease", "is_leased"]

#: Seconds for which a writer that is not heard of is believed to live.
LEASE: Final = 60.0
#: It is renewed this often,
BEAT: Final = LEASE / 4
#: and nothing is written for so long before its end.
MARGIN: Final = LEASE / 6
#: Larger than any such object.
_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class _Found:
    """A lease as it stands in the bucket."""

    tag: str | None
    written: datetime
    holder: str
    since: str
    machine: str
    process: int
    token: str
    seconds: float
    released: bool

    @classmethod
    def read(cls, store: ObjectStore) -> _Found | None:
        """Return the lease that stands there; None if there is none.

        One that cannot be understood counts as held until it ends.
        """
        import obstore

        try:
            answer = obstore.get(store, LOCK_NAME)
        except FileNotFoundError:
            return None
        try:
            said = json.loads(bytes(answer.bytes())) if answer.meta["size"] <= _MOST else None
        except (ValueError, RecursionError):
            said = None
        words: Mapping[str, Any] = said if isinstance(said, dict) else {}
        seconds, process = words.get("lease_seconds"), words.get("process")
        return cls(
            answer.meta["e_tag"],
            answer.meta["last_modified"],
            str(words.get("holder", "somebody unknown"))[:200],
            str(words.get("since", "a time unknown"))[:40],
            str(words.get("machine", "")),
            process if isinstance(process, int) and 0 < process < 2**31 else 0,
            str(words.get("token", "")),
            float(seconds) if isinstance(seconds, (int, float)) and 0 < seconds < 3600 else LEASE,
            words.get("released") is True,
        )

    def is_dead(self) -> bool:
        """Return whether its writer ran on this machine and is gone."""
        if not self.process or self.machine != _machine() or not self.machine:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def left(self, now: datetime) -> float:
        """Return for how many seconds it is still good at the time `now`."""
        if self.released:
            return 0.0
        return self.seconds - (now - self.written).total_seconds()


class BucketLease:
    """The right to write the run below a URL, held until `release`.

    Parameters
    ----------
    store : ObjectStore
        What lies below the URL.
    place : str
        The URL, for messages.

    Raises
    ------
    RunLockedError
        Another writer holds it; the message says who, since when and for how long.
    RemoteError
        The object store cannot be reached, or refuses.
    """

    def __init__(self, store: ObjectStore, place: str) -> None:
        self._store = store
        self._place = place
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._lost: RunLockedError | None = None
        self._said = {
            "holder": f"{platform.node() or 'a machine'}, process {self._process}",
            "machine": _machine(),
            "process": self._process,
            "token": uuid.uuid4().hex,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "lease_seconds": LEASE,
        }
        self._good_until = 0.0
        self._tag: str | None = None
        with remote_errors(place):
            self._take()
        self._end: SimpleQueue[None] = SimpleQueue()
        threading.Thread(
            target=_renew_until,
            args=(weakref.ref(self), self._end),
            daemon=True,
            name="actrace-lease",
        ).start()

    def _take(self) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._write("create")
        except AlreadyExistsError:
            pass
        else:
            return
        found = _Found.read(self._store)
        if found is not None and not found.is_dead():
            left = found.left(_time_of(self._store))
            if left > 0:
                raise RunLockedError(
                    f"run {self._place!r} is being written by {found.holder!r} since "
                    f"{found.since!r}; close that recorder, or record under another name. If it "
                    f"is dead, its lease ends in {left:.0f} s: try again then"
                )
        try:
            self._write("create" if found is None else {"e_tag": found.tag})
        except (AlreadyExistsError, PreconditionError) as error:
            raise RunLockedError(
                f"run {self._place!r} was taken by another recorder just now; record under "
                "another name"
            ) from error

    def _write(self, mode: Any, *, released: bool = False) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        began = time.monotonic()
        # The number makes each state differ from the one before.
        said = {**self._said, "released": released, "number": uuid.uuid4().hex}
        text = json.dumps(said).encode()
        try:
            answer = obstore.put(self._store, LOCK_NAME, text, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            found = _Found.read(self._store)
            if found is None or found.token != self._said["token"]:
                raise
            # A request of ours was carried out, and its answer lost.
            ours: Any = {"e_tag": found.tag}
            answer = obstore.put(self._store, LOCK_NAME, text, mode=ours, use_multipart=False)
        self._tag = answer["e_tag"]
        self._good_until = began + LEASE

    def renew(self) -> None:
        """Hold it for a whole lease again.

        Raises
        ------
        RunLockedError
            Another writer has taken it; for good.
        RemoteError
            The object store cannot be reached.
        """
        from obstore.exceptions import PreconditionError

        with self._guard, remote_errors(self._place):
            if self._lost is not None:
                raise self._lost
            try:
                self._write({"e_tag": self._tag})
            except (PreconditionError, FileNotFoundError) as error:
                found = _Found.read(self._store)
                holder = "nobody" if found is None else found.holder
                self._lost = RunLockedError(
                    f"run {self._place!r} was taken over by {holder!r}, because this recorder was "
                    f"not heard of for {LEASE:.0f} s; this one writes no more"
                )
                raise self._lost from error

    def check(self) -> None:
        """Refuse to go on without a lease, after a try to renew it.

        Raises
        ------
        RunLockedError, RemoteError
            As `renew`.
        StoreWriteError
            In a forked child.
        """
        if self._process != os.getpid():
            raise StoreWriteError(f"run {self._place!r} is written by this process's parent")
        if self._lost is not None:
            raise self._lost
        if time.monotonic() > self._good_until - MARGIN:
            self.renew()

    def release(self) -> None:
        """Give the lease up; a second call does nothing. A server that is away ends it."""
        from obstore.exceptions import BaseError

        self._end.put(None)
        with self._guard:
            tag, self._tag = self._tag, None
            if tag is None or self._lost is not None or self._process != os.getpid():
                return
            self._lost = RunLockedError(f"the lease of run {self._place!r} was given up")
            with contextlib.suppress(BaseError, OSError):
                self._write({"e_tag": tag}, released=True)
                self._tag = None


def _renew_until(lease: weakref.ref[BucketLease], end: SimpleQueue[None]) -> None:
    """Renew a lease until it is released or forgotten."""
    while True:
        with contextlib.suppress(Empty):
            end.get(timeout=BEAT)
            return
        held = lease()
        if held is None:
            return
        # Whoever writes next finds out and says so.
        with contextlib.suppress(RunLockedError, RemoteError):
            held.renew()
        del held


def is_leased(store: ObjectStore) -> bool | None:
    """Return whether a writer holds the run; None where none ever locked it."""
    found = _Found.read(store)
    if found is None:
        return None
    return not found.is_dead() and found.left(datetime.now(UTC)) > 0


def _time_of(store: ObjectStore) -> datetime:
    """Return the server's time, which its objects are dated by, from an object of our own."""
    import obstore

    key = f"{LOCK_NAME}.{uuid.uuid4().hex}"
    obstore.put(store, key, b"", use_multipart=False)
    try:
        found: datetime = obstore.head(store, key)["last_modified"]
        return found
    finally:
        obstore.delete(store, key)


def _machine() -> str:
    """Return what tells processes apart that can see each other; empty where nothing does.

    The same process number means the same process only in one boot and one
    namespace of processes, proc(5) and pid_namespaces(7).
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read()
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return ""
    return hashlib.sha256(f"{platform.node()} {boot} {space}".encode()).hexdigest()[:16]
