"""A finished run in fewer and larger files, every value as it was. May import NumPy."""

from __future__ import annotations

import math
import os
from typing import Final

import numpy as np

from actrace.store.checking.pieces import PieceReader
from actrace.store.group import LONGEST, LONGEST_SHARD
from actrace.store.layout import chunk_length
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.paths import size_on_disk
from actrace.store.rewriting.report import RewriteReport
from actrace.store.rewriting.rewrite import Plan, rewrite_run

__all__ = ["SHARD_MIB", "compact_run"]

#: Raw size that a shard stays within, in MiB. A recorder keeps to 32: it writes the
#: unfinished shard anew at every commit.
SHARD_MIB: Final = 128
#: Larger ones would take a gigabyte to resume.
_LARGEST_MIB: Final = 1024
#: How many times smaller a chunk without bins is, which is read for all layers at once.
_SMALLER: Final = 32


def compact_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    shard_mib: int = SHARD_MIB,
    progress: bool | None = None,
) -> RewriteReport:
    """Write a finished run anew in fewer and larger files.

    Values, attributes and whatever else is in the run stay as they are, and a training
    can still be resumed into it. The new run is written beside the old one, read
    through, and takes its place in one step: a kill leaves the one or the other.

    Parameters
    ----------
    run : str or path
        A finished run, with or without its ``.zarr``; of several processes, that of
        each of them, one after another.
    output : str or path, optional
        Where the new run goes; by default in the place of the old one.
    shard_mib : int, default 128
        Raw size that a file of histograms stays within, in MiB, 1 to 1,024; other files
        stay within a 32nd of it. A chunk never becomes shorter than it is.
    progress : bool, optional
        As for `actrace.check`.

    Returns
    -------
    RewriteReport
        Files and bytes before and after. Where no file can be joined to another nothing
        is written, and ``changed`` is False.

    Raises
    ------
    NotARunError, NewerSchemaError
        There is no run that could be read.
    DamagedRunError
        It is damaged; nothing was changed.
    RunLockedError
        It is being recorded, or was interrupted and is not finished.
    RunExistsError
        Something stands at `output`.
    StoreWriteError
        The new run cannot be written, or would not fit; nothing is left of it.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> compact_run(folder.name + "/a").changed
    False
    >>> folder.cleanup()
    """
    if not 1 <= shard_mib <= _LARGEST_MIB:
        raise ValueError(f"shard_mib is 1 to {_LARGEST_MIB}, got {shard_mib!r}")

    def planner(manifest: Manifest, reader: PieceReader) -> Plan:  # noqa: ARG001 - as `Planner`
        return _plan(manifest, shard_mib * 2**20)

    return rewrite_run(run, output, planner, word="compacted", progress=progress)


def _plan(manifest: Manifest, shard_bytes: int) -> Plan:
    lengths = {}
    for path, entry in manifest.arrays.items():
        if entry.grows and entry.ours and entry.n_files > 1:
            length = _length(entry, shard_bytes)
            if length > entry.chunk[-1]:
                lengths[path] = length
    notes = () if lengths else ("no file can be joined to another",)
    return Plan(lengths, size=size_on_disk(manifest.directory), notes=notes)


def _length(entry: ArrayEntry, shard_bytes: int) -> int:
    """Return the rows of an array's chunk files, a multiple of those they have."""
    have = entry.chunk[-1]
    if have & (have - 1):
        return have  # no power of two: not a writer's
    row = math.prod(entry.shape[:-1]) * np.dtype(entry.dtype).itemsize
    budget, largest = (
        (shard_bytes, LONGEST_SHARD) if entry.sharded else (shard_bytes // _SMALLER, LONGEST)
    )
    # No longer than the array: what is beyond its end would be unpacked for nothing.
    enough = 1 << (entry.shape[-1] - 1).bit_length()
    largest = max(have, min(largest, enough))
    return chunk_length(row, budget=budget, smallest=have, largest=largest)
