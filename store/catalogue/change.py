"""What may be changed about a run that stands: its name, its tags, its note, its being there.

Every change holds the run's lock, so a recording is never disturbed. Changed
attributes are a commit as any other: the root document, replaced at once. All
else in it is kept as it stands, also what this version does not know. Imports
nothing beyond the standard library and the store's own names.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from actrace.errors import (
    DamagedRunError,
    NewerSchemaError,
    NotARunError,
    RunExistsError,
    RunLockedError,
    StoreWriteError,
)
from actrace.store.document import dumps
from actrace.store.files import RunFiles
from actrace.store.lock import RunLock
from actrace.store.manifest import read_manifest
from actrace.store.paths import (
    LOCK_NAME,
    ROOT_DOCUMENT,
    find_run,
    rank_paths,
    run_folder,
    run_path,
)

__all__ = ["delete_run", "note_run", "rename_run", "tag_run"]


def tag_run(
    path: str | os.PathLike[str],
    add: str | Iterable[str] = (),
    remove: str | Iterable[str] = (),
) -> tuple[str, ...]:
    """Add tags to a run, take some away, and return those it then has.

    Parameters
    ----------
    path : str or path
        A finished run, with or without its ``.zarr``; of several processes, all of it.
    add, remove : str or iterable of str
        A tag that the run has already, or has not, is no error.

    Raises
    ------
    RunLockedError
        The run is being recorded.
    NotARunError, NewerSchemaError, DamagedRunError
        There is no run at `path` that could be changed.
    StoreWriteError
        The run cannot be written.
    ValueError
        An empty tag.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/a"
    >>> RunWriter.create(path, axis=Linear(-1, 1, 4), attributes={"tags": ["new"]}).close()
    >>> tag_run(path, add=["good", "baseline"], remove="new")
    ('good', 'baseline')
    >>> folder.cleanup()
    """
    added, removed = _texts(add), _texts(remove)
    tags: list[str] = []

    def change(attributes: dict[str, Any]) -> None:
        had = attributes.get("tags")
        kept = [str(tag) for tag in had] if isinstance(had, list) else []
        tags[:] = [tag for tag in dict.fromkeys((*kept, *added)) if tag not in removed]
        attributes["tags"] = list(tags)

    _change(path, change, "tags")
    return tuple(tags)


def note_run(path: str | os.PathLike[str], text: str) -> None:
    """Set the note of a run, a line or a page about it; an empty one takes it away.

    Parameters
    ----------
    path : str or path
        A finished run, with or without its ``.zarr``.
    text : str

    Raises
    ------
    RunLockedError, NotARunError, NewerSchemaError, DamagedRunError, StoreWriteError
        As `tag_run`.
    """

    def change(attributes: dict[str, Any]) -> None:
        attributes.pop("note", None)
        if text:
            attributes["note"] = text.encode("utf-8", "replace").decode()

    _change(path, change, "note")


def rename_run(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> Path:
    """Give a run another place on the same disk, and return where it then is.

    Parameters
    ----------
    path : str or path
        A finished run, with or without its ``.zarr``.
    to : str or path
        Its new path, as for `os.rename`; ``.zarr`` is added if missing. Folders
        above it are made.

    Raises
    ------
    RunExistsError
        Something stands there.
    RunLockedError, NotARunError, StoreWriteError
        As `tag_run`.
    """
    directory, parts = _parts(path)
    several = parts != [directory]
    target = run_folder(to) if several else run_path(to)
    with _locked(directory, parts, "path"):
        if os.path.lexists(target):
            raise RunExistsError(
                f"{str(target)!r} exists, so run {str(directory)!r} cannot take its place; choose "
                "another name, or delete that one first"
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(target)
        except OSError as error:
            raise StoreWriteError(
                f"cannot move run {str(directory)!r} to {str(target)!r}: {error.strerror}; to "
                "another disk, copy it with cp -r and delete it here"
            ) from error
    return target


def delete_run(path: str | os.PathLike[str]) -> None:
    """Delete a run from disk, for good.

    It vanishes at once, by a rename; a kill during the rest leaves a hidden folder
    ``.<name>.old-...`` and no half of a run.

    Parameters
    ----------
    path : str or path
        A run that is not being recorded, with or without its ``.zarr``. Of several
        processes, the runs of all of them; what else lies in their folder stays.

    Raises
    ------
    NotARunError
        There is no run at `path`, or it is a link to one; nothing was touched.
    RunLockedError
        The run is being recorded.
    StoreWriteError
        The run cannot be moved away.
    """
    directory, parts = _parts(path)
    mark = uuid.uuid4().hex[:8]
    retired = []
    with _locked(directory, parts, "files"):
        only_ranks = {entry.name for entry in os.scandir(directory)} == {p.name for p in parts}
        for old in [directory] if only_ranks else parts:
            new = old.with_name(f".{old.name}.old-{mark}")
            try:
                old.rename(new)
            except OSError as error:
                raise StoreWriteError(
                    f"cannot delete run {str(old)!r}: {error.strerror}; check permissions"
                ) from error
            retired.append(new)
    for new in retired:
        # It unlinks links, and follows none.
        shutil.rmtree(new, ignore_errors=True)


def _texts(given: str | Iterable[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"a tag is a text that is not empty, got {text!r}")
    return texts


def _parts(path: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Return a run's directory and those of its ranks, or itself alone.

    Raises
    ------
    NotARunError
        What stands there is a link, or no run.
    """
    directory = find_run(path)
    if directory.is_symlink():
        raise NotARunError(
            f"{str(directory)!r} is a link, and links are not followed here; give the run's own "
            f"path, {os.path.realpath(directory)!r}"
        )
    ranks = list(rank_paths(directory).values())
    parts = ranks if ranks and not (directory / ROOT_DOCUMENT).exists() else [directory]
    for part in parts:
        try:
            read_manifest(part)
        except NewerSchemaError:
            continue
        except DamagedRunError:
            if not (part / LOCK_NAME).is_file():
                raise
    return directory, parts


@contextmanager
def _locked(directory: Path, parts: Iterable[Path], what: str) -> Iterator[None]:
    """Hold the locks of a run and all its ranks."""
    with ExitStack() as stack:
        for part in parts:
            try:
                stack.callback(RunLock(part).release)
            except RunLockedError as error:
                raise RunLockedError(
                    f"run {str(directory)!r} is being recorded, so its {what} cannot change now; "
                    "close its recorder first"
                ) from error
        yield


def _change(
    path: str | os.PathLike[str], change: Callable[[dict[str, Any]], None], what: str
) -> None:
    """Change the root attributes of a run, of each rank if it has several."""
    directory, parts = _parts(path)
    with _locked(directory, parts, what):
        # Read under the lock: a writer may have closed it just now.
        documents = [json.loads(read_manifest(part).text) for part in parts]
        for part, document in zip(parts, documents, strict=True):
            change(document["attributes"])
            try:
                text = dumps(document)
            except ValueError as error:
                raise DamagedRunError(
                    f"run {str(part)!r} cannot be changed: its {ROOT_DOCUMENT} holds what JSON "
                    f"does not know ({error})"
                ) from error
            files = RunFiles(part, "power")
            files.write(ROOT_DOCUMENT, text)
            with contextlib.suppress(StoreWriteError):
                # Some file systems cannot flush a directory; the change is there all the same.
                files.sync()
