"""What a chunk must be before it is believed: whole, as long as declared, and no older.

Nothing is unpacked before its checksum and its declared size fit. Imports NumPy, numcodecs
and the store's own layout.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.layout import CRC_BYTES, crc32c, decode_chunk, is_unwritten, split_strings
from actrace.store.manifest import ArrayEntry
from actrace.store.rewriting.marks import Marks
from actrace.store.sources.source import OpenFile

__all__ = [
    "MOST_NAMES",
    "OVERHEAD",
    "check_age",
    "check_chunk",
    "read_whole",
    "refuse_unwritten",
    "telling_row",
    "zstd_size",
]

#: Raw bytes that a list of names may unpack to.
MOST_NAMES: Final = 2**26
#: Bytes that compression may add to a chunk that does not compress.
OVERHEAD: Final = 2**16
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def zstd_size(data: bytes) -> int | None:
    """Return the unpacked size that a zstd frame declares (RFC 8878, 3.1.1.1)."""
    if len(data) < 18 or data[:4] != _ZSTD_MAGIC:
        return None
    flags = data[4]
    single = flags >> 5 & 1
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(data[at : at + width], "little")
    return size + 256 if width == 2 else size if width else None


def check_chunk(data: bytes, entry: ArrayEntry, what: str) -> None:
    """Refuse a chunk that is damaged or would unpack to another size than declared.

    Raises
    ------
    DamagedRunError
        Its checksum, or the size that its compressor declares, does not fit.
    """
    if entry.checked:
        if len(data) < CRC_BYTES or crc32c(data[:-CRC_BYTES]) != data[-CRC_BYTES:]:
            raise DamagedRunError(
                f"{what} is damaged: its checksum does not match its {len(data)} bytes; "
                "restore the file from a copy"
            )
        data = data[:-CRC_BYTES]
    size: int | None = len(data)
    if "blosc" in entry.codecs:
        size = int.from_bytes(data[4:8], "little") if len(data) >= 16 else None
    elif "zstd" in entry.codecs:
        size = zstd_size(data)
    expected = entry.inner_bytes
    fits = size is not None and (size <= MOST_NAMES if expected is None else size == expected)
    if not fits:
        raise DamagedRunError(
            f"{what} is damaged: it unpacks to {'an unknown number of' if size is None else size} "
            f"bytes, expected {f'at most {MOST_NAMES}' if expected is None else expected}; "
            "restore the file from a copy"
        )
    # The decoder believes the header's own length and would read beyond the end.
    if "blosc" in entry.codecs and int.from_bytes(data[12:16], "little") != len(data):
        raise DamagedRunError(
            f"{what} is damaged: its header declares another length than its {len(data)} bytes; "
            "restore the file from a copy"
        )
    if entry.dtype == "string":
        _check_strings(data, entry, what)
    elif "blosc" in entry.codecs and not entry.grows:
        _check_unpacks(data, what)


def _check_strings(data: bytes, entry: ArrayEntry, what: str) -> None:
    """Refuse a list of names that does not hold what it declares, before zarr believes it."""
    try:
        if "blosc" in entry.codecs:
            data = Blosc().decode(data)
        elif "zstd" in entry.codecs:
            data = Zstd().decode(data)
        for name in split_strings(bytes(data), what, math.prod(entry.inner)):
            name.decode("utf-8")
    except DamagedRunError:
        raise
    except (RuntimeError, UnicodeDecodeError) as error:
        raise DamagedRunError(
            f"{what} is damaged: it is no list of names ({error}); restore the file from a copy"
        ) from error


def _check_unpacks(data: bytes, what: str) -> None:
    """Refuse a small chunk whose checksum is right and that cannot be unpacked.

    zarr's error would name no file. Arrays that grow are unpacked by `SnapshotStore.piece`.
    """
    try:
        Blosc().decode(data)
    except RuntimeError as error:
        raise DamagedRunError(
            f"{what} is damaged: its checksum is right, and what it holds cannot be unpacked "
            f"({error}); restore the file from a copy"
        ) from error


def telling_row(
    entry: ArrayEntry, at: tuple[int, ...], marks: Marks | None
) -> tuple[int, int] | None:
    """Return which inner chunk of a file, and which of its rows, tells how old the file is.

    None where no row does. A file is written whole, so it is the last row committed in
    any of its inner chunks; in an array that was thinned the last that was kept.
    """
    start = at[-1] * entry.chunk[-1]
    stop = min(start + entry.chunk[-1], entry.shape[-1])
    if marks is None:
        return 0, stop - start - 1
    kept = marks.last_kept(entry.shape[0], start, stop) if entry.ours and entry.sharded else None
    return None if kept is None else (kept[0], kept[1] - start)


def check_age(data: bytes, entry: ArrayEntry, row: int, what: str) -> None:
    """Refuse a chunk that was written before its last committed row was there.

    Parameters
    ----------
    data : bytes
        A chunk, or any inner chunk of a shard, checked already.
    row : int
        The one that tells.
    """
    ours = entry.codecs == ("bytes", "blosc", "crc32c") and entry.inner[-1] == entry.chunk[-1]
    if not ours or entry.dims[-1] not in ("batch", "window"):
        return
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    refuse_unwritten(decode_chunk(data, dtype, entry.inner, what)[..., row], what)


def refuse_unwritten(row: NDArray[Any], what: str) -> None:
    """Refuse a row that was committed and is not written yet in this file."""
    if is_unwritten(row):
        raise DamagedRunError(
            f"{what} is older than the commit: it lacks rows that were committed; copy the run "
            "again, or restore the file"
        )


def read_whole(file: OpenFile, start: int, stop: int, what: str) -> bytes:
    """Return the bytes from `start` to `stop` of a file, all of them."""
    data = file.read(start, stop)
    if len(data) < stop - start:
        raise DamagedRunError(f"{what} was cut short while it was read; open the run again")
    return data
