"""Two directories exchanged in one step, so that a kill leaves the one or the other.

Linux has a system call for it (``renameat2``, since 3.15), which Python does not
offer. Imports nothing beyond the standard library.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from actrace.errors import StoreWriteError

__all__ = ["exchange"]

_HERE: Final = -100  # AT_FDCWD
_EXCHANGE: Final = 2  # RENAME_EXCHANGE, linux/fs.h


def exchange(new: Path, old: Path) -> None:
    """Let two directories of one parent change places, and flush their parent.

    Where the system or the file system has no such call they are renamed one
    after the other; a kill between the two leaves the old one beside its place,
    under the name ``<name>.aside``.

    Raises
    ------
    StoreWriteError
        The directory above refuses; both are where they were.
    """
    try:
        if not _in_one_step(new, old):
            aside = new.with_name(f"{new.name}.aside")
            old.rename(aside)
            try:
                new.rename(old)
            except OSError:
                aside.rename(old)
                raise
            aside.rename(new)
        descriptor = os.open(old.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreWriteError(
            f"cannot replace run {str(old)!r}: {error.strerror or error}; check permissions"
        ) from error


def _in_one_step(new: Path, old: Path) -> bool:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done: int = call(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _EXCHANGE)
    return done == 0
