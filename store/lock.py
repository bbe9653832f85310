"""One writer a run: an advisory lock on a file inside the run's directory.

The kernel drops the lock with its process, so a killed writer leaves none
behind. A reader's probe takes a shared lock for a moment, which never fails
another reader and which a starting writer waits out. Imports nothing beyond
the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import weakref
from pathlib import Path
from typing import Final

from actrace.errors import RunLockedError, StoreWriteError
from actrace.store.paths import LOCK_NAME

__all__ = ["RunLock", "is_being_written"]

#: Seconds for which a starting writer waits out readers' probes.
PATIENCE: Final = 0.5
#: What a file system without locks answers.
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
#: Locks that this process holds, for `_leave_to_the_parent`.
_HELD: Final[weakref.WeakSet[RunLock]] = weakref.WeakSet()


class RunLock:
    """The right to write the run in `directory`, held until `release`.

    Raises
    ------
    RunLockedError
        Another writer holds it.
    StoreWriteError
        The lock file cannot be made: a read-only or missing directory.
    """

    __slots__ = ("__weakref__", "_descriptor", "_process")

    def __init__(self, directory: Path, *, patience: float = PATIENCE) -> None:
        path = directory / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise StoreWriteError(
                f"cannot write run {str(directory)!r}: {error.strerror}; "
                "check permissions and free space, or copy the run elsewhere"
            ) from error
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise RunLockedError(
                        f"run {str(directory)!r} is being written by another recorder; close "
                        "that one, or record under another name"
                    ) from None
                time.sleep(0.01)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    # Some network file systems have no locks; recording goes on without.
                    break
                os.close(descriptor)
                raise StoreWriteError(
                    f"cannot lock run {str(directory)!r}: {error.strerror}"
                ) from error
        self._descriptor = descriptor
        self._process = os.getpid()
        _HELD.add(self)

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        _HELD.discard(self)
        if self._process == os.getpid():
            # In a forked child an unlock would take the lock from the parent.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.release()


def _leave_to_the_parent() -> None:
    """Close a forked child's copies of its parent's locks.

    The kernel holds a lock for as long as any copy of its descriptor is open: a
    data loader's worker that outlives a killed training would keep the run
    locked. Closing a copy takes nothing from the parent.
    """
    for lock in list(_HELD):
        descriptor, lock._descriptor = lock._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def is_being_written(directory: Path) -> bool:
    """Return whether some process holds the run's lock.

    Never blocks a writer for longer than the call and works in a read-only
    directory. Where the file system has no locks the answer is True: a run
    that says it is recording is then believed.
    """
    try:
        descriptor = os.open(
            directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
