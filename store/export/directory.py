"""A run into a directory of its own: built aside, and renamed into place whole."""

from __future__ import annotations

import os
import shutil
import uuid
import zlib
from pathlib import Path

from actrace.errors import ActraceError, RunExistsError, StoreWriteError
from actrace.store.catalogue.change import delete_run
from actrace.store.export.target import Target
from actrace.store.files import RunFiles

__all__ = ["DirectoryTarget"]


class DirectoryTarget(Target):
    """A new directory at `path`.

    Raises
    ------
    RunExistsError
        Something stands there and may not be replaced; only a run ever is.
    StoreWriteError
        It cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.place = str(path)
        self._path = path
        self._overwrite = overwrite
        self._refuse_standing()
        self._nursery = path.with_name(f".{path.name}.new-{uuid.uuid4().hex[:8]}")
        try:
            self._nursery.mkdir(parents=True)
        except OSError as error:
            raise StoreWriteError(
                f"cannot make {self.place!r}: {error.strerror}; check permissions and free space"
            ) from error
        self._files = RunFiles(self._nursery, "power")
        self._written: dict[str, int] = {}

    def _refuse_standing(self) -> None:
        if os.path.lexists(self._path) and not self._overwrite:
            raise RunExistsError(
                f"{self.place!r} exists; pass overwrite=True (--overwrite) to replace it if it is "
                "a run, or choose another name"
            )

    def put(self, key: str, data: bytes) -> None:
        """Write a file."""
        self._files.make_directory(key.rpartition("/")[0])
        self._files.write(key, data)
        self._written[key] = zlib.crc32(data)

    def settle(self) -> None:
        """Flush what was written to the device."""
        self._files.sync()

    def finish(self) -> None:
        """Read every file back, then give the directory its name."""
        for key, crc in self._written.items():
            if zlib.crc32((self._nursery / key).read_bytes()) != crc:
                raise StoreWriteError(
                    f"cannot write {self.place!r}: {key!r} reads back as something else; the disk "
                    "may be failing"
                )
        try:
            self._refuse_standing()
            if os.path.lexists(self._path):
                delete_run(self._path)
            self._nursery.rename(self._path)
        except ActraceError:
            raise
        except OSError as error:
            raise StoreWriteError(f"cannot make {self.place!r}: {error.strerror}") from error

    def abandon(self) -> None:
        """Remove the unfinished directory."""
        shutil.rmtree(self._nursery, ignore_errors=True)
