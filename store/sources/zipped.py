"""A run in a zip file, read in place: `export_run` makes such, and so does ``zip -0``.

Members are stored, not compressed, for chunks are compressed already; so a
member can be no larger than the file, and a zip bomb is refused unread. Names
of members are looked up and never become paths. Imports nothing beyond the
standard library and the store's own names.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actrace.errors import DamagedRunError, NotARunError
from actrace.store.manifest import Manifest, parse_manifest
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.sources.directory import read_at
from actrace.store.sources.source import OpenFile, Source

__all__ = ["ZipSource", "zip_sources"]

#: A member's own header: signature, 22 bytes, lengths of its name and extra field
#: (APPNOTE.TXT 4.3.7).
_LOCAL: Final = struct.Struct("<4s22xHH")
_RANK: Final = re.compile(r"rank-(0|[1-9][0-9]{0,6})\.zarr")
_ENCRYPTED: Final = 1
#: What zipfile raises for a file that is none, or a broken one.
_BROKEN: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    OverflowError,
    EOFError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member's header is, how long its bytes are, and their CRC-32."""

    header: int
    size: int
    crc: int
    plain: bool


class _Archive:
    """The members of a zip file, and the file held open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.number).st_size
        try:
            with (
                open(os.dup(self.number), "rb") as file,
                zipfile.ZipFile(file) as archive,
            ):
                found = archive.infolist()
        except _BROKEN as error:
            raise NotARunError(
                f"{str(path)!r} is a file, and a run is a directory or a zip made by actrace "
                f"export; it is no zip that can be read ({error})"
            ) from error
        self.members: dict[str, _Member] = {}
        for info in found:
            name = info.filename
            if info.orig_filename != name or name.startswith("/") or ".." in name.split("/"):
                raise DamagedRunError(
                    f"{str(path)!r} is refused: its member {name!r} could lead out of the run"
                )
            if name in self.members:
                raise DamagedRunError(
                    f"{str(path)!r} is refused: it has two members named {name!r}"
                )
            plain = (
                info.compress_type == zipfile.ZIP_STORED
                and info.compress_size == info.file_size
                and not info.flag_bits & _ENCRYPTED
            )
            self.members[name] = _Member(info.header_offset, info.file_size, info.CRC, plain)

    def open(self, name: str) -> _Part:
        member = self.members.get(name)
        if member is None:
            raise FileNotFoundError(errno.ENOENT, "no such member", name)
        if not member.plain:
            raise OSError(
                errno.EINVAL,
                "it is compressed or encrypted in the zip, and chunks are read in place; unpack "
                "the zip and open the directory, or pack it with actrace export",
            )
        head = read_at(self.number, member.header, member.header + _LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
            raise OSError(errno.EINVAL, "the zip file is damaged there")
        _, n_name, n_extra = _LOCAL.unpack(head)
        start = member.header + _LOCAL.size + n_name + n_extra
        if start + member.size > self.size:
            raise OSError(errno.EINVAL, "the zip file is cut short")
        return _Part(self, start, member)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class _Part(OpenFile):
    """The bytes of one member."""

    __slots__ = ("_archive", "_start", "crc")

    def __init__(self, archive: _Archive, start: int, member: _Member) -> None:
        super().__init__(member.size)
        self._archive = archive
        self._start = start
        self.crc = member.crc

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the member ends before."""
        stop = min(stop, self.size)
        return read_at(self._archive.number, self._start + start, self._start + stop)


class ZipSource(Source):
    """The files of a run in a zip.

    Parameters
    ----------
    path : Path
        The zip file.
    folder : str
        What the names of the run's members begin with, empty or ending in ``/``.
    """

    def __init__(self, path: Path, folder: str = "", archive: _Archive | None = None) -> None:
        self.path = path
        self.folder = folder
        self.place = f"{path}/{folder}".rstrip("/") if folder else str(path)
        self._archive: _Archive | None = archive or _Archive(path)

    def __reduce__(self) -> tuple[type[ZipSource], tuple[Path, str]]:
        return ZipSource, (self.path, self.folder)

    def open(self, key: str) -> OpenFile:
        """Return the member of `key`; see `Source.open`."""
        return self._open(key)

    def _open(self, key: str) -> _Part:
        if self._archive is None:
            raise ValueError("the run was closed; open it again")
        return self._archive.open(self.folder + key)

    def manifest(self) -> Manifest:
        """Return the root document, its CRC-32 checked: it has no other checksum."""
        try:
            text = self.root_text()
            if zlib.crc32(text) != self._open(ROOT_DOCUMENT).crc:
                raise OSError(errno.EINVAL, "its checksum in the zip does not match")
        except FileNotFoundError:
            raise NotARunError(f"{self.place!r} holds no run") from None
        except OSError as error:
            raise DamagedRunError(
                f"run {self.place!r} cannot be read: {ROOT_DOCUMENT}: {error.strerror}"
            ) from error
        return parse_manifest(Path(self.place), text)

    def is_being_written(self) -> bool:
        """Return False: a zip is written once."""
        return False

    def again(self) -> ZipSource:
        """Close this and return the run in the zip that is there now."""
        self.close()
        return ZipSource(self.path, self.folder)

    def close(self) -> None:
        """Give up the file; open members stay open for who reads them."""
        self._archive = None


def zip_sources(path: Path) -> dict[int | None, ZipSource]:
    """Return the run in a zip file, of each rank where it is of several processes.

    The run may lie at the top or in one folder.

    Raises
    ------
    NotARunError
        No zip, or one that holds no run, or several.
    DamagedRunError
        It has members that no honest zip has.
    """
    archive = _Archive(path)
    found: dict[str, dict[int | None, str]] = {}
    for name in archive.members:
        *folders, last = name.split("/")
        if last != ROOT_DOCUMENT:
            continue
        match = _RANK.fullmatch(folders[-1]) if folders else None
        above = folders[:-1] if match else folders
        if len(above) <= 1 and not (above and above[0].startswith((".", "__"))):
            parts = found.setdefault("/".join(above), {})
            parts[int(match[1]) if match else None] = "/".join([*folders, ""])
    if "" in found:
        # Every group of a run at the top has a document of this name, too.
        found = {"": found[""]}
    if len(found) != 1:
        has = f"holds several: {', '.join(map(repr, sorted(found)[:5]))}" if found else "holds none"
        raise NotARunError(f"{str(path)!r} is a zip of a run only if one is in it; it {has}")
    parts = next(iter(found.values()))
    if None in parts:
        parts = {None: parts[None]}
    ranks = sorted(parts, key=lambda rank: -1 if rank is None else rank)
    return {rank: ZipSource(path, parts[rank], archive) for rank in ranks}
