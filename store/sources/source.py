"""What reading a run asks of the place where it lies.

A source opens files by key and knows nothing of what is in them; everything
that is checked about a chunk is checked by who reads it. Imports NumPy for a
type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError
from actrace.store.manifest import MAX_DOCUMENT, Manifest
from actrace.store.paths import ROOT_DOCUMENT

__all__ = ["OpenFile", "Source"]


class OpenFile(ABC):
    """One state of one file, whatever becomes of it after it was opened.

    Attributes
    ----------
    size : int
        Bytes.
    index : ndarray of uint64, shape (inner chunks, 2), or None
        For who reads a shard: its index, once read.
    told : bool
        For who reads a shard: whether it was found to be as old as its commit.
    """

    __slots__ = ("index", "size", "told")

    def __init__(self, size: int) -> None:
        self.size = size
        self.index: NDArray[np.uint64] | None = None
        self.told = False

    @abstractmethod
    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the file ends before."""


class Source(ABC):
    """The files of one run, read-only.

    Attributes
    ----------
    place : str
        Where it is, for messages.
    directory : Path or None
        Its directory on this machine, if that is where it is.
    near : bool
        Whether it is on this machine, or as good as, and not behind a network's requests.
    """

    place: str
    directory: Path | None = None
    near: bool = True

    @abstractmethod
    def open(self, key: str) -> OpenFile:
        """Return the file at `key`, below the run.

        Raises
        ------
        FileNotFoundError
            There is none.
        OSError
            It cannot be read, or is no plain file; ``strerror`` says why.
        """

    @abstractmethod
    def manifest(self) -> Manifest:
        """Return the run's root document as it is now, checked.

        Raises
        ------
        NotARunError, NewerSchemaError, DamagedRunError
            As `read_manifest`.
        """

    def root_text(self) -> bytes:
        """Return the run's root document.

        Raises
        ------
        FileNotFoundError, OSError
            As `open`.
        DamagedRunError
            It is larger than any run's.
        """
        file = self.open(ROOT_DOCUMENT)
        if file.size > MAX_DOCUMENT:
            raise DamagedRunError(
                f"{ROOT_DOCUMENT} of run {self.place!r} has more than {MAX_DOCUMENT} bytes; no run "
                "has a root like that"
            )
        return file.read(0, file.size)

    @abstractmethod
    def is_being_written(self) -> bool:
        """Return whether somebody writes the run; True where that cannot be known."""

    @abstractmethod
    def again(self) -> Source:
        """Close this and return the files of what is in its place now."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held open; opening again is an error."""
