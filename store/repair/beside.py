"""A run written anew beside its place, and put there whole or not at all.

Repair, compaction and thinning differ in what they write; where they write it,
what they refuse and how the old run gives way is here. Imports nothing beyond the
standard library and the store's own names.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from actrace.errors import RunExistsError, RunLockedError, StoreWriteError
from actrace.store.checking.belonging import unreferenced
from actrace.store.files import RunFiles
from actrace.store.lock import RunLock, is_being_written
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.paths import ROOT_DOCUMENT, TEMPORARY
from actrace.store.repair.exchange import exchange

__all__ = ["write_beside"]

T = TypeVar("T")

#: Beside a run, while its new form is made; hidden, so that no list of runs shows it.
_MARK: Final = ".repair-"


def write_beside(
    source: Path, target: Path | None, write: Callable[[Manifest, RunFiles], T], word: str
) -> T:
    """Let `write` make a new run of one that stands, and put it in its place.

    Parameters
    ----------
    source : Path
        The run that stands.
    target : Path or None
        Where the new one goes; None puts it in the old one's place, in one step,
        and deletes that.
    write : callable
        Takes the old run's root document and the new run's empty directory. What it
        raises leaves the old run as it was, and nothing of the new one.
    word : str
        What the new run is, for messages: ``repaired``.

    Raises
    ------
    NotARunError, NewerSchemaError, DamagedRunError
        As `read_manifest`.
    RunLockedError
        The run is being written.
    RunExistsError
        Something stands at `target`.
    StoreWriteError
        The new run cannot be written.
    """
    read_manifest(source)
    if target is not None and (target.exists() or target.is_symlink()):
        raise RunExistsError(f"{str(target)!r} exists; give another output")
    if is_being_written(source):
        raise RunLockedError(f"run {str(source)!r} is being written; close its recorder first")
    with _nursery(target or source) as nursery:
        held = RunLock(source) if target is None else None
        try:
            manifest = read_manifest(source)
            # A copy that a power cut spoils can be made again; the only one cannot.
            files = RunFiles(nursery, "power" if target is None else "process")
            found = write(manifest, files)
            if target is None:
                _carry_over(manifest, nursery)
                exchange(nursery, source)
            else:
                nursery.rename(target)
        except OSError as error:
            if isinstance(error, StoreWriteError):
                raise
            raise StoreWriteError(
                f"cannot write the {word} run: {error.strerror or error}; check free space and "
                "permissions"
            ) from error
        finally:
            if held is not None:
                held.release()
    return found


@contextmanager
def _nursery(place: Path) -> Iterator[Path]:
    """Give an empty directory beside `place`, and delete what is there in the end.

    What one that was killed left is deleted too.
    """
    mark = f".{place.name}{_MARK}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(place.parent):
            left = place.with_name(name)
            if name.startswith(mark) and not is_being_written(left):
                shutil.rmtree(left, ignore_errors=True)
        nursery = place.with_name(mark + uuid.uuid4().hex[:8])
        nursery.mkdir()
    except OSError as error:
        raise StoreWriteError(
            f"cannot write beside {str(place)!r}: {error.strerror}; give another output"
        ) from error
    lock = RunLock(nursery)
    try:
        yield nursery
    finally:
        lock.release()
        shutil.rmtree(nursery, ignore_errors=True)


def _carry_over(manifest: Manifest, nursery: Path) -> None:
    """Copy the user's own files, so that they are not lost with the old run."""
    for key in unreferenced(manifest):
        parts = key.split("/")
        source = manifest.directory / key
        ours = "c" in parts or parts[-1] == ROOT_DOCUMENT or key.endswith(TEMPORARY)
        if not ours and source.is_file() and not source.is_symlink():
            (nursery / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, nursery / key)
