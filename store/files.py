"""The files of one run: written whole, under a temporary name, then renamed.

A reader sees the old file or the new one, never half of one. Imports nothing
beyond the standard library.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from actrace.errors import ActraceError, StoreWriteError
from actrace.store.paths import TEMPORARY

__all__ = ["Durability", "RunFiles"]

#: What a commit survives: the death of the process, or a power cut too.
Durability = Literal["process", "power"]


class RunFiles:
    """Write access to the directory of one run.

    Parameters
    ----------
    directory : Path
        The run's directory, existing.
    durability : {"process", "power"}
        With ``"power"`` every file is flushed to the device before its rename,
        and `sync` flushes the directories.

    Attributes
    ----------
    size : int
        Bytes of the files written here; a later file counts instead of the
        earlier one that it replaces.
    """

    __slots__ = ("_unsynced", "directory", "durability", "size")

    #: Whether files stand where readers see them only some time after `write`.
    behind: ClassVar[bool] = False

    def __init__(self, directory: Path, durability: Durability) -> None:
        self._check(durability)
        self.directory = directory
        self.durability = durability
        self.size = 0
        self._unsynced: set[str] = set()

    @staticmethod
    def _check(durability: Durability) -> None:
        if durability not in ("process", "power"):
            raise ValueError(
                f"durability is 'process' or 'power', got {durability!r}; "
                "'power' also survives a power cut and costs time at every commit"
            )

    @property
    def where(self) -> Path | str:
        """The run's directory, or its URL."""
        return self.directory

    def make_directory(self, path: str) -> None:
        """Make directory `path` of the run and those above it.

        Raises
        ------
        StoreWriteError
            It cannot be made.
        """
        full = os.path.join(self.directory, path)
        try:
            os.makedirs(full, exist_ok=True)
        except OSError as error:
            raise self._failure(path, error) from error
        if self.durability == "power":
            while len(full) >= len(str(self.directory)):
                self._unsynced.add(full)
                full = os.path.dirname(full)

    def write(self, path: str, data: bytes) -> None:
        """Put `data` at `path`, below the run, all of it or nothing.

        Raises
        ------
        StoreWriteError
            The disk is full, the directory read-only or gone. What stood at
            `path` still stands.
        """
        full = os.path.join(self.directory, path)
        head, name = os.path.split(full)
        temporary = os.path.join(head, f".{name}{TEMPORARY}")
        try:
            with open(temporary, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    # A raw write may be short near a quota or a file size limit.
                    view = view[file.write(view) :]
                if self.durability == "power":
                    os.fsync(file.fileno())
            replaced = _size(full)
            os.replace(temporary, full)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise self._failure(path, error) from error
        self.size += len(data) - replaced
        if self.durability == "power":
            self._unsynced.add(head)

    def read(self, path: str) -> bytes:
        """Return the file at `path`, below the run.

        Raises
        ------
        OSError
            There is none, or it cannot be read.
        """
        return (self.directory / path).read_bytes()

    def sync(self) -> None:
        """Flush the directories written since the last call, if power may fail.

        Raises
        ------
        StoreWriteError
            The device refused.
        """
        for directory in sorted(self._unsynced, key=len, reverse=True):
            try:
                descriptor = os.open(directory, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._failure(directory, error) from error
            self._unsynced.discard(directory)

    def sync_parent(self) -> None:
        """Flush the directory that holds the run, if power may fail."""
        if self.durability == "power":
            self._unsynced.add(os.path.dirname(self.directory))
            self.sync()

    def settle(self) -> None:
        """Wait until all that was written stands where readers see it: here, at once."""

    def settle_later(self, landed: Callable[[ActraceError | None, float], None]) -> None:
        """See to it that all that was written gets there, and tell `landed`.

        Parameters
        ----------
        landed : callable
            Called, on any thread, with the error or None, and the seconds it took.
        """
        landed(None, 0.0)

    def close(self) -> None:
        """Write no more."""

    def remove_leftovers(self) -> int:
        """Delete files that a killed writer left half-written; return how many."""
        removed = 0
        for head, _, names in os.walk(self.directory):
            for name in names:
                if name.endswith(TEMPORARY):
                    os.unlink(os.path.join(head, name))
                    removed += 1
        return removed

    def _failure(self, path: str, error: OSError) -> StoreWriteError:
        reason = error.strerror or str(error)
        return StoreWriteError(
            f"cannot write {path!r} of run {str(self.directory)!r}: {reason}; "
            "check free space, quota and permissions"
        )


def _size(path: str) -> int:
    """Return the size of the file that stands at `path`, 0 for none."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
