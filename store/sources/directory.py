"""A run in a directory: every file opened below one descriptor, no link followed.

Imports nothing beyond the standard library and the store's own names.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from actrace.store.lock import is_being_written
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.sources.source import OpenFile, Source

__all__ = ["DirectorySource"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class _Descriptor(OpenFile):
    """An open file or directory, closed with its last user."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(os.fstat(number).st_size)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the file ends before."""
        return read_at(self.number, start, stop)

    def __del__(self) -> None:
        os.close(self.number)


def read_at(descriptor: int, start: int, stop: int) -> bytes:
    """Return bytes of an open file, fewer where it ends before."""
    parts = []
    while start < stop:
        part = os.pread(descriptor, stop - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class DirectorySource(Source):
    """The files of the run in `directory`.

    A run that is renamed or replaced while it is being read never mixes with its
    successor.
    """

    def __init__(self, directory: Path) -> None:
        self.place = str(directory)
        self.directory: Path = directory
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._root: _Descriptor | None = _Descriptor(os.open(directory, flags))

    def __reduce__(self) -> tuple[type[DirectorySource], tuple[Path]]:
        return DirectorySource, (self.directory,)

    def open(self, key: str) -> OpenFile:
        """Return the file at `key`; see `Source.open`."""
        root = self._root
        if root is None:
            raise ValueError("the run was closed; open it again")
        *folders, name = key.split("/")
        folder = root
        try:
            for part in folders:
                folder = _Descriptor(os.open(part, _FOLDER, dir_fd=folder.number))
            number = os.open(name, _FILE, dir_fd=folder.number)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                reason = "it is a link or not a directory, and a run holds no links"
                raise OSError(error.errno, reason) from error
            raise
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, "it is not a plain file")
        return _Descriptor(number)

    def manifest(self) -> Manifest:
        """Return the root document of the run that stands at the path now."""
        return read_manifest(self.directory)

    def is_being_written(self) -> bool:
        """Return whether some process holds the run's lock."""
        return is_being_written(self.directory)

    def again(self) -> DirectorySource:
        """Close this and return the files of what stands at the path now."""
        self.close()
        return DirectorySource(self.directory)

    def close(self) -> None:
        """Close the directory; open files stay open for who reads them."""
        self._root = None
