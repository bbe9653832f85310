"""Levels for a run that was recorded without them, or fell behind.

A writer's commit like any other, under the writer's lock: a kill leaves the run
as it was or with more columns, and a second call goes on. May import NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from actrace.store.files import Durability
from actrace.store.writer import RunWriter

__all__ = ["build_levels"]

#: Columns of a level between two commits.
_COLUMNS: Final = 4096


def build_levels(
    path: str | os.PathLike[str],
    *,
    durability: Durability = "process",
    told: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Build the levels that a run lacks; return phase -> columns that were missing.

    Nothing else of the run changes, its status least of all.

    Parameters
    ----------
    path : str or path
        The run of one process, with or without its ``.zarr``.
    durability : {"process", "power"}
    told : callable, optional
        Called with the columns done and all there are to do.

    Raises
    ------
    NotARunError, NewerSchemaError
        As `read_manifest`.
    DamagedRunError
        What has to be read is damaged; levels of what stands before it are kept.
    RunLockedError
        The run is being written.
    StoreWriteError
        The directory cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> build_levels(folder.name + "/a")
    {}
    >>> folder.cleanup()
    """
    writer = RunWriter.reopen(path, durability=durability)
    try:
        missing = writer.missing_columns()
        total = left = sum(missing.values())
        while left:
            if told is not None:
                told(total - left, total)
            writer.complete_levels(_COLUMNS)
            writer.commit()
            left = sum(writer.missing_columns().values())
        return {phase: n for phase, n in missing.items() if n}
    finally:
        writer.release()
