"""A run into a zip file: stored, in a fixed order, the same bytes for the same run."""

from __future__ import annotations

import contextlib
import os
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Final

from actrace.errors import RunExistsError, StoreWriteError
from actrace.store.export.target import Target
from actrace.store.sources.zipped import ZipSource

__all__ = ["ZipTarget"]

#: The earliest time that a zip can hold; a member has no other, so that the same
#: run gives the same file.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class ZipTarget(Target):
    """A new zip file at `path`.

    Raises
    ------
    RunExistsError
        Something stands there, and is no file or may not be replaced.
    StoreWriteError
        It cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.place = str(path)
        self._path = path
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            raise RunExistsError(
                f"{str(path)!r} exists; pass overwrite=True (--overwrite) to replace it if it is a "
                "file, or choose another name"
            )
        self._written: dict[str, int] = {}
        self._temporary = path.with_name(f".{path.name}.new-{uuid.uuid4().hex[:8]}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._zip = zipfile.ZipFile(self._temporary, "x", zipfile.ZIP_STORED)
        except OSError as error:
            raise self._failure(error) from error

    def put(self, key: str, data: bytes) -> None:
        """Add a member."""
        member = zipfile.ZipInfo(key, _EPOCH)
        member.external_attr = 0o644 << 16
        member.create_system = 3
        try:
            self._zip.writestr(member, data)
        except OSError as error:
            raise self._failure(error) from error
        self._written[key] = zlib.crc32(data)

    def settle(self) -> None:
        """Do nothing: a zip has no contents until it is closed."""

    def finish(self) -> None:
        """Read every member back, then give the file its name."""
        try:
            self._zip.close()
            with open(self._temporary, "rb") as file:
                os.fsync(file.fileno())
            source = ZipSource(self._temporary)
            for key, crc in self._written.items():
                member = source.open(key)
                if zlib.crc32(member.read(0, member.size)) != crc:
                    raise StoreWriteError(
                        f"cannot write {self.place!r}: {key!r} reads back as something else; the "
                        "disk may be failing"
                    )
            source.close()
            os.replace(self._temporary, self._path)
        except StoreWriteError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def abandon(self) -> None:
        """Remove the unfinished file."""
        with contextlib.suppress(OSError, ValueError):
            self._zip.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _failure(self, error: OSError) -> StoreWriteError:
        return StoreWriteError(
            f"cannot write {self.place!r}: {error.strerror or error}; check free space and "
            "permissions"
        )
