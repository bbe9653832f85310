"""A zarr store over one committed state of a run, verified as it is read.

Plain zarr fills a missing chunk with zeros, follows links and trusts sizes.
This store serves the root document that was read when the run was opened and
checks every chunk against it before zarr decodes it: there, inside the run,
whole, and no larger than declared. A live run's unfinished shard is replaced
as it grows, and zarr reads a shard in two steps, index then chunk; both come
from one open file here, so they always fit. May import zarr.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from actrace.errors import DamagedRunError
from actrace.store.chunk_checks import (
    MOST_NAMES,
    OVERHEAD,
    check_age,
    check_chunk,
    read_whole,
    refuse_unwritten,
    telling_row,
)
from actrace.store.document import dumps
from actrace.store.layout import (
    CRC_BYTES,
    decode_chunk,
    shard_index,
)
from actrace.store.manifest import ArrayEntry, Manifest, parse_manifest
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.rewriting.marks import Marks, thinned_cells
from actrace.store.sources.directory import DirectorySource
from actrace.store.sources.source import OpenFile, Source

__all__ = ["SnapshotStore"]

#: Finished shards kept open; they never change, so closing one is harmless.
MOST_OPEN: Final = 64


class SnapshotStore(Store):
    """Read-only zarr store of the run that `manifest` describes.

    Parameters
    ----------
    manifest : Manifest
        The run's root document, checked.
    shared_by : int
        Stores that are read together and share the files kept open.
    source : Source, optional
        Where the run's files are; its directory by default.

    Raises
    ------
    DamagedRunError
        From any read: a chunk is missing, damaged, a link or of another size.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(
        self, manifest: Manifest, shared_by: int = 1, source: Source | None = None
    ) -> None:
        super().__init__(read_only=True)
        self._shared_by = shared_by
        self._manifest = manifest
        self._source = source or DirectorySource(manifest.directory)
        #: Closes the source with itself.
        self._owner = True
        self._closed = False
        self._nodes: dict[str, Any] | None = None
        self._thinned: dict[str, Marks] | None = None
        self._open_files: OrderedDict[str, OpenFile] = OrderedDict()
        #: Chunk file -> size and checksum of the chunk that told its age.
        self._aged: dict[str, tuple[int, bytes]] = {}
        self._pinned: dict[str, OpenFile] = {}
        self._guard = threading.Lock()

    @property
    def near(self) -> bool:
        """Whether reading a chunk takes no longer than unpacking it."""
        return self._source.near

    @property
    def identity(self) -> str:
        """A name for this state of the run, for dask's keys."""
        return hashlib.sha256(
            os.fsencode(self._source.place) + b"\0" + self._manifest.text
        ).hexdigest()[:32]

    def __dask_tokenize__(self) -> str:
        return self.identity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SnapshotStore) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"SnapshotStore({self._source.place!r})"

    def __getstate__(self) -> dict[str, Any]:
        manifest = self._manifest
        return {
            "directory": manifest.directory,
            "text": manifest.text,
            "place": manifest.place,
            "source": self._source,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        source = state.pop("source")
        self.__init__(parse_manifest(**state), source=source)  # type: ignore[misc]
        if not self.is_current():
            raise DamagedRunError(
                f"run {source.place!r} was replaced by another since it was opened; open it again"
            )

    def is_current(self) -> bool:
        """Return whether the directory held open is still that run's.

        A run may be replaced between the reading of its root document and the
        opening of its directory.
        """
        text = self._read_root()
        if text == self._manifest.text:
            return True
        now = parse_manifest(self._manifest.directory, text, self._manifest.place)
        return now.attributes.get("run_id") == self._manifest.attributes.get("run_id")

    def with_part(self, manifest: Manifest) -> SnapshotStore:
        """Return a store of another part of the same run, which ends with this one."""
        if self._closed:
            raise ValueError("the run was closed; open it again")
        part = SnapshotStore(manifest, self._shared_by, self._source)
        part._owner = False
        return part

    def close(self) -> None:
        """Close every file; reading again is an error."""
        with self._guard:
            self._closed = True
            if self._owner:
                self._source.close()
            self._open_files.clear()
            self._pinned.clear()
        super().close()

    def with_read_only(self, read_only: bool = False) -> Store:
        """Return this store; it is read-only for good."""
        if not read_only:
            raise ValueError("an opened run cannot be written; use actrace.store.writer")
        return self

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of `key`, None where no such thing was committed."""
        data = await asyncio.to_thread(self._fetch, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return the bytes of each key and range."""
        return list(
            await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges))
        )

    async def exists(self, key: str) -> bool:
        """Return whether `key` was committed."""
        return self._document(key) is not None or self._chunk(key) is not None

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002 - the base's signature
        """Refuse."""
        self._check_writable()

    async def delete(self, key: str) -> None:  # noqa: ARG002 - the base's signature
        """Refuse."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys of the documents."""
        yield ROOT_DOCUMENT
        for path in (*self._manifest.groups, *self._manifest.arrays):
            yield f"{path}/{ROOT_DOCUMENT}"

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys of the documents that begin with `prefix`."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below `prefix`."""
        above = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        seen: set[str] = set()
        async for key in self.list_prefix(above):
            name = key[len(above) :].split("/")[0]
            if name not in seen:
                seen.add(name)
                yield name

    def _document(self, key: str) -> bytes | None:
        if key == ROOT_DOCUMENT:
            return self._manifest.text
        path, _, name = key.rpartition("/")
        if name != ROOT_DOCUMENT:
            return None
        if self._nodes is None:
            self._nodes = json.loads(self._manifest.text)["consolidated_metadata"]["metadata"]
        node = self._nodes.get(path)
        return None if node is None else dumps(node)

    def _chunk(self, key: str) -> tuple[ArrayEntry, tuple[int, ...]] | None:
        path, _, rest = key.partition("/c/")
        entry = self._manifest.arrays.get(path)
        parts = rest.split("/")
        if entry is None or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        index = tuple(map(int, parts))
        inside = len(index) == len(entry.grid) and all(
            i < n for i, n in zip(index, entry.grid, strict=True)
        )
        return (entry, index) if inside else None

    def _fetch(self, key: str, span: ByteRequest | None) -> bytes | None:
        chunk = self._chunk(key)
        if chunk is None:
            data = self._document(key)
            return data if data is None or span is None else data[_slice(span, len(data))]
        entry, index = chunk
        what = f"{self._manifest.where}: {entry.describe(index)}"
        if entry.sharded:
            return self._get_shard(key, entry, index, what, span)
        data = self._read_chunk(self.open_file(key, what), entry, what)
        check_chunk(data, entry, what)
        telling = self._telling(entry, index)
        seen = (len(data), data[-CRC_BYTES:])
        if telling is not None and self._aged.get(key) != seen:
            check_age(data, entry, telling[1], what)
            self._aged[key] = seen
        return data if span is None else data[_slice(span, len(data))]

    def _get_shard(
        self,
        key: str,
        entry: ArrayEntry,
        at: tuple[int, ...],
        what: str,
        span: ByteRequest | None,
    ) -> bytes:
        file, index = self._shard(key, entry, at, what)
        self._tell_age(file, key, entry, at, what)
        part = slice(0, file.size) if span is None else _slice(span, file.size)
        data = read_whole(file, part.start, part.stop, what)
        for number, (offset, length) in enumerate(index.tolist()):
            if part.start <= offset and offset + length <= part.stop:
                inner = data[offset - part.start : offset - part.start + length]
                where = f"{what}, {entry.dims[0]} {number}" if entry.grid[0] == 1 else what
                check_chunk(inner, entry, where)
        return data

    def piece(self, entry: ArrayEntry, at: int, number: int = 0) -> NDArray[Any]:
        """Return the values of a chunk file, or of one inner chunk of a shard, read-only.

        Parameters
        ----------
        entry : ArrayEntry
            Of an array that grows, encoded as our writer does it (`ArrayEntry.ours`).
        at : int
            Which chunk file along the growing dimension.
        number : int
            Which inner chunk, where files are shards.

        Returns
        -------
        ndarray, shape ``entry.inner``

        Raises
        ------
        DamagedRunError
        """
        index = (*(0 for _ in entry.shape[1:]), at)
        key = entry.key(index)
        what = f"{self._manifest.where}: {entry.describe(index)}"
        dtype = np.dtype(entry.dtype).newbyteorder("<")
        if not entry.sharded:
            data = self._read_chunk(self.open_file(key, what), entry, what)
            values = decode_chunk(data, dtype, entry.inner, what)
            telling = self._telling(entry, index)
            if telling is not None:
                refuse_unwritten(values[..., telling[1]], what)
            return values
        file, inner = self._shard(key, entry, index, what)
        offset, length = inner[number].tolist()
        data = read_whole(file, offset, offset + length, what)
        values = decode_chunk(data, dtype, entry.inner, f"{what}, {entry.dims[0]} {number}")
        if entry.path in self._marks():
            self._tell_age(file, key, entry, index, what)
        else:
            # A file is written whole, so any chunk of it tells.
            rows = min(entry.chunk[-1], entry.shape[-1] - at * entry.chunk[-1])
            refuse_unwritten(values[..., rows - 1], what)
        return values

    def _read_chunk(self, file: OpenFile, entry: ArrayEntry, what: str) -> bytes:
        limit = MOST_NAMES if entry.inner_bytes is None else entry.inner_bytes
        if file.size > limit + OVERHEAD:
            raise DamagedRunError(f"{what} has {file.size} bytes, more than it can hold")
        return file.read(0, file.size)

    def _shard(
        self, key: str, entry: ArrayEntry, at: tuple[int, ...], what: str
    ) -> tuple[OpenFile, NDArray[np.uint64]]:
        """Return an open shard and its index."""
        with self._guard:
            file = self._pinned.get(key) or self._open_files.get(key)
            if file is not None and key in self._open_files:
                self._open_files.move_to_end(key)
        if file is None:
            file = self.open_file(key, what)
            tail = file.read(max(0, file.size - 16 * entry.n_inner - CRC_BYTES), file.size)
            file.index = shard_index(tail, entry.n_inner, file.size, what)
            with self._guard:
                if at[-1] == entry.grid[-1] - 1:
                    # The last one may grow and be replaced: whoever comes first is kept.
                    file = self._pinned.setdefault(key, file)
                else:
                    self._open_files[key] = file
                    if len(self._open_files) > max(1, MOST_OPEN // self._shared_by):
                        self._open_files.popitem(last=False)
        if file.index is None:
            raise DamagedRunError(f"{what} has no index")
        return file, file.index

    def _tell_age(
        self, file: OpenFile, key: str, entry: ArrayEntry, at: tuple[int, ...], what: str
    ) -> None:
        """Refuse a shard that was written before its last committed row was there."""
        telling = None if file.told else self._telling(entry, at)
        if telling is not None and file.index is not None:
            number, row = telling
            offset, length = file.index[number].tolist()
            # Of many files few stay open. One that is opened again with the same chunk in it
            # need not be asked again, which takes as long as unpacking what is wanted.
            seen = file.read(offset + length - CRC_BYTES, offset + length)
            if self._aged.get(key) != (length, seen):
                inner = file.read(offset, offset + length)
                check_chunk(inner, entry, f"{what}, {entry.dims[0]} {number}")
                check_age(inner, entry, row, what)
                self._aged[key] = length, seen
        file.told = True

    def _telling(self, entry: ArrayEntry, at: tuple[int, ...]) -> tuple[int, int] | None:
        return telling_row(entry, at, self._marks().get(entry.path))

    def _marks(self) -> dict[str, Marks]:
        if self._thinned is None:
            self._thinned = thinned_cells(self._manifest.attributes)
        return self._thinned

    def open_file(self, key: str, what: str) -> OpenFile:
        """Return the plain file at `key`, opened without following a link.

        Raises
        ------
        DamagedRunError
            It is missing, a link or not a file; the message begins with `what`.
        """
        if self._closed:
            raise ValueError("the run was closed; open it again")
        try:
            return self._source.open(key)
        except FileNotFoundError:
            raise DamagedRunError(
                f"{what} is missing, though it was committed; restore the file from a copy"
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise DamagedRunError(f"{what} cannot be read: {reason}") from error

    def read(self, key: str) -> bytes:
        """Return a document, or all of a chunk file, checked.

        Raises
        ------
        DamagedRunError
            It is missing or damaged.
        KeyError
            No such thing was committed.
        """
        data = self._fetch(key, None)
        if data is None:
            raise KeyError(key)
        return data

    def _read_root(self) -> bytes:
        file = self.open_file(ROOT_DOCUMENT, self._manifest.where)
        return file.read(0, file.size)


def _slice(span: ByteRequest, size: int) -> slice:
    if isinstance(span, RangeByteRequest):
        return slice(min(span.start, size), min(span.end, size))
    if isinstance(span, OffsetByteRequest):
        return slice(min(span.offset, size), size)
    if isinstance(span, SuffixByteRequest):
        return slice(max(0, size - span.suffix), size)
    raise TypeError(f"unknown byte range {span!r}")
