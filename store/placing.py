"""Putting a new run in its place, and never anything else out of it.

A run is built aside and renamed into place whole. Only a run or an empty
directory is ever replaced. Imports nothing beyond the standard library and
the store's own names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from actrace.errors import (
    DamagedRunError,
    NotARunError,
    RunExistsError,
    RunLockedError,
    StoreWriteError,
)
from actrace.store.lock import RunLock, is_being_written
from actrace.store.manifest import read_manifest
from actrace.store.paths import LOCK_NAME

__all__ = ["move_in", "refuse_other_form", "refuse_standing", "remove_run"]


def refuse_standing(target: Path, *, overwrite: bool) -> None:
    """Refuse to go on where something stands that may not be replaced.

    Raises
    ------
    RunExistsError
        A run stands there and `overwrite` is not set, or something else does.
    """
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    if not _is_run(target):
        raise RunExistsError(
            f"{str(target)!r} exists and is not a run of actrace, so it is never replaced; "
            "record under another name"
        )
    if not overwrite:
        raise RunExistsError(
            f"a run stands at {str(target)!r}; pass resume=True to go on with it, "
            "overwrite=True to replace it, or record under another name"
        )


def refuse_other_form(standing: Sequence[Path], where: Path, form: str, overwrite: bool) -> None:
    """Refuse to go on where a run of one process stands in the way of several, or they of it.

    Parameters
    ----------
    standing : sequence of Path
        What stands there of that form.
    where : Path
        What to call it.
    form : {"one", "several"}
    overwrite : bool

    Raises
    ------
    RunExistsError
        `overwrite` is not set, or something that is no run stands there.
    RunLockedError
        It is being written.
    """
    for path in standing:
        if not _is_run(path):
            raise RunExistsError(
                f"{str(path)!r} exists and is not a run of actrace, so it is never replaced; "
                "record under another name"
            )
    if standing and not overwrite:
        stands, asked = "one process", "several processes"
        if form == "several":
            stands, asked = asked, stands
        raise RunExistsError(
            f"a run of {stands} stands at {str(where)!r}, and {asked} cannot go on with it; pass "
            "overwrite=True to replace it, or record under another name"
        )
    for path in standing:
        if is_being_written(path):
            raise RunLockedError(
                f"run {str(path)!r} is being written by another recorder; close that one, or "
                "record under another name"
            )


def remove_run(path: Path) -> None:
    """Remove a run; nothing else, and none that is being written.

    A folder that held nothing but runs of ranks goes with the last of them.
    """
    if not path.is_dir() or path.is_symlink() or not _is_run(path):
        return
    try:
        lock = RunLock(path)
    except (RunLockedError, StoreWriteError):
        return
    retired = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:8]}")
    try:
        path.rename(retired)
    except OSError:
        return
    finally:
        lock.release()
    shutil.rmtree(retired, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(path.parent)


def _is_run(target: Path) -> bool:
    return (target / LOCK_NAME).is_file() or _opens(target)


def _opens(target: Path) -> bool:
    try:
        read_manifest(target)
    except (NotARunError, DamagedRunError):
        return False
    return True


def move_in(nursery: Path, target: Path, mark: str) -> None:
    """Rename a finished new run to its place, moving an old one away first.

    Parameters
    ----------
    nursery, target : Path
        Where the new run was built, beside its place, and its place.
    mark : str
        Ending of the old run's name while it is being deleted.

    Raises
    ------
    RunExistsError
        Somebody else took the place meanwhile.
    RunLockedError
        The old run is being written.
    StoreWriteError
        The directory above refuses.
    """
    retired: Path | None = None
    old_lock: RunLock | None = None
    try:
        if target.exists() and any(target.iterdir()):
            old_lock = RunLock(target)
            retired = target.with_name(f".{target.name}.old-{mark}")
            target.rename(retired)
        nursery.rename(target)
    except OSError as error:
        if retired is not None and not target.exists():
            retired.rename(target)
        if isinstance(error, StoreWriteError):
            raise
        if target.exists():
            raise RunExistsError(
                f"{str(target)!r} appeared meanwhile; another recorder uses that name"
            ) from error
        raise StoreWriteError(f"cannot make run {str(target)!r}: {error.strerror}") from error
    finally:
        if old_lock is not None:
            old_lock.release()
    if retired is not None:
        shutil.rmtree(retired, ignore_errors=True)
