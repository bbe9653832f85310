"""A finished run written anew after a plan: chunk files joined, cells blanked, the rest as it is.

One inner chunk of each file that becomes part of a new one is in memory at a time.
The new run is read through from end to end before it takes its place. May import
NumPy.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actrace.errors import DamagedRunError, RunExistsError, RunLockedError, StoreWriteError
from actrace.store.check import check_schema
from actrace.store.checking.belonging import count_files, refuse_absent
from actrace.store.checking.examine import check_run
from actrace.store.checking.pieces import Piece, PieceReader
from actrace.store.describe import bytes_words
from actrace.store.document import strict
from actrace.store.files import RunFiles
from actrace.store.layout import encode_chunk, encode_shard, mark_unwritten
from actrace.store.lock import is_being_written
from actrace.store.manifest import ArrayEntry, Manifest, read_manifest
from actrace.store.paths import (
    ROOT_DOCUMENT,
    find_run,
    rank_paths,
    run_folder,
    run_path,
    size_on_disk,
)
from actrace.store.progress import counting
from actrace.store.repair.beside import write_beside
from actrace.store.rewriting.marks import Marks
from actrace.store.rewriting.report import RewriteReport
from actrace.store.snapshot import SnapshotStore

__all__ = ["Plan", "Planner", "rewrite_run"]

#: Of the room that is asked for before anything is written; what is written may differ
#: a little from what was reckoned.
_SPARE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a run becomes different.

    Attributes
    ----------
    lengths : mapping of str to int
        Array -> rows of a chunk file, a multiple of those it has; others keep theirs.
    thinned : mapping of str to Marks
        Array -> all cells that are thinned from now on.
    attributes : mapping
        Root attributes to set.
    size : int
        Bytes that the new run takes, about.
    notes : tuple of str
        What to tell the user of it.
    """

    lengths: Mapping[str, int] = field(default_factory=dict)
    thinned: Mapping[str, Marks] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing becomes different."""
        return not self.lengths and not self.thinned


#: Makes a plan of a run's root document and a reader of the run.
Planner: TypeAlias = Callable[[Manifest, PieceReader], Plan]


def rewrite_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    planner: Planner,
    *,
    word: str,
    before: Callable[[Path], object] | None = None,
    progress: bool | None = None,
) -> RewriteReport:
    """Write a run anew after a plan, in its place or elsewhere; ranks one by one.

    Parameters
    ----------
    run : str or path
    output : str or path or None
        Where the new run goes; None puts it in the old one's place.
    planner : callable
        Makes the plan of each rank's run.
    word : {"compacted", "thinned"}
    before : callable, optional
        Called with each rank's run once all of them may be written anew.
    progress : bool, optional

    Raises
    ------
    NotARunError, NewerSchemaError, RunExistsError, StoreWriteError
    DamagedRunError
        The run is damaged.
    RunLockedError
        It is being recorded, or was interrupted and is not finished.
    """
    source = find_run(run)
    ranks = {} if (source / ROOT_DOCUMENT).exists() else rank_paths(source)
    sources = list(ranks.values()) or [source]
    for one in sources:
        _refuse(read_manifest(one), word)
    folder = None if output is None else run_folder(output) if ranks else run_path(output)
    if folder is not None and os.path.lexists(folder):
        raise RunExistsError(f"{str(folder)!r} exists; give another output")
    for one in sources:
        if before is not None:
            before(one)
    # A rank with nothing to do must not be missing beside those that have.
    some = any(not _planned(read_manifest(one), planner).empty for one in sources)
    copied = some and folder is not None
    if not ranks:
        return _rewrite_one(source, folder, planner, word, copied, progress)
    reports = []
    for one in sources:
        place = None if folder is None else folder / one.name
        reports.append(_rewrite_one(one, place, planner, word, copied, progress))
    return RewriteReport(
        folder if folder is not None and some else source,
        word,
        changed=some,
        ranks=tuple(reports),
    )


def _refuse(manifest: Manifest, word: str) -> None:
    """Refuse a run that is not finished."""
    if is_being_written(manifest.directory):
        raise RunLockedError(
            f"{manifest.where} is being written, so it cannot be {word} now; close its recorder "
            "first"
        )
    _refuse_unfinished(manifest, word)


def _refuse_unfinished(manifest: Manifest, word: str) -> None:
    if manifest.attributes.get("status") not in ("finished", "failed"):
        raise RunLockedError(
            f"{manifest.where} was interrupted, so it is not {word}; finish it first, by recording "
            "on with resume=True or by 'actrace repair'"
        )


def _rewrite_one(
    source: Path,
    target: Path | None,
    planner: Planner,
    word: str,
    copied: bool,
    progress: bool | None,
) -> RewriteReport:
    """Write one run anew into `target`, or in its place where there is none.

    Where there is nothing to do, only if it is to be `copied`.
    """
    plan = _planned(read_manifest(source), planner)
    files, size = _on_disk(source)
    if plan.empty and not copied:
        return RewriteReport(source, word, False, (files, files), (size, size), plan.notes)
    _refuse_full(target or source, plan.size)

    def write(manifest: Manifest, files: RunFiles) -> Plan:
        # Under the lock: another recorder may have been there just now.
        _refuse_unfinished(manifest, word)
        now = _planned(manifest, planner)
        _write(manifest, files, now, word, progress)
        return now

    plan = write_beside(source, target, write, word)
    place = target or source
    now_files, now_size = _on_disk(place)
    return RewriteReport(place, word, True, (files, now_files), (size, now_size), plan.notes)


def _planned(manifest: Manifest, planner: Planner) -> Plan:
    check_schema(manifest)
    refuse_absent(manifest)
    reader = PieceReader(manifest)
    try:
        return planner(manifest, reader)
    finally:
        reader.close()


def _on_disk(directory: Path) -> tuple[int, int]:
    """Return how many files a run has, and their bytes."""
    return sum(len(names) for _, _, names in os.walk(directory)), size_on_disk(directory)


def _refuse_full(place: Path, needed: int) -> None:
    """Refuse to begin what will not fit on the disk."""
    above = next(folder for folder in place.parents if folder.exists())
    free = shutil.disk_usage(above).free
    if free < _SPARE * needed:
        raise StoreWriteError(
            f"the new run takes about {bytes_words(needed)} beside the old one, and there is room "
            f"for {bytes_words(free)} in {str(above)!r}; make room, or give an output elsewhere"
        )


def _write(
    manifest: Manifest, files: RunFiles, plan: Plan, word: str, progress: bool | None
) -> None:
    """Write the new run and read it through."""
    document = json.loads(manifest.text)
    nodes: dict[str, Any] = document["consolidated_metadata"]["metadata"]
    name = manifest.directory.name
    writer = _Writer(manifest, files, plan)
    try:
        text = f"{name}: being {word}"
        with counting(count_files(manifest), text, progress=progress) as advance:
            for entry in manifest.arrays.values():
                writer.copy(entry, advance)
    except DamagedRunError as error:
        raise DamagedRunError(
            f"{manifest.where} is damaged, so it was not {word}: {error}; 'actrace check' says "
            "what of it is, 'actrace repair' saves the rest"
        ) from error
    finally:
        writer.close()
    for path, node in nodes.items():
        if path in plan.lengths:
            _set_length(node, plan.lengths[path])
        files.make_directory(path)
        files.write(f"{path}/{ROOT_DOCUMENT}", strict(node))
    files.sync()
    document["attributes"] |= plan.attributes
    summary = document["attributes"].get("summary")
    if isinstance(summary, dict):
        summary["bytes"] = files.size
    files.write(ROOT_DOCUMENT, strict(document))
    files.sync()
    report = check_run(files.directory, progress=progress)
    if not report.whole:
        raise DamagedRunError(
            f"{manifest.where} was not {word}, because its numbers contradict themselves: "
            f"{report.damages[0]}; 'actrace check' lists them"
        )


def _set_length(node: dict[str, Any], length: int) -> None:
    """Set the rows of a chunk file in an array's document."""
    node["chunk_grid"]["configuration"]["chunk_shape"][-1] = length
    for codec in node["codecs"]:
        if codec["name"] == "sharding_indexed":
            codec["configuration"]["chunk_shape"][-1] = length


class _Writer:
    """Writes the arrays of one run into another after a plan."""

    def __init__(self, manifest: Manifest, files: RunFiles, plan: Plan) -> None:
        self._reader = PieceReader(manifest)
        self._store = SnapshotStore(manifest)
        self._files = files
        self._plan = plan

    def close(self) -> None:
        """Close every file of the old run."""
        self._reader.close()
        self._store.close()

    def copy(self, entry: ArrayEntry, advance: Callable[[], None]) -> None:
        """Write an array; `advance` is called after each of its old chunk files."""
        length = self._plan.lengths.get(entry.path, entry.chunk[-1])
        marks = self._plan.thinned.get(entry.path)
        if length == entry.chunk[-1] and marks is None:
            for index in np.ndindex(*entry.grid):
                self._copy_file(entry.key(index))
                advance()
            return
        layout = replace(entry.layout, length=length)
        self._files.make_directory(f"{entry.path}/{layout.key(0)}".rpartition("/")[0])
        each = length // entry.chunk[-1]
        for at in range(-(-entry.grid[-1] // each)):
            old = range(at * each, min((at + 1) * each, entry.grid[-1]))
            chunks = self._chunks(entry, old, length, marks)
            data = encode_shard(chunks) if layout.sharded else encode_chunk(next(chunks))
            self._files.write(f"{entry.path}/{layout.key(at)}", data)
            for _ in old:
                advance()

    def _copy_file(self, key: str) -> None:
        self._files.make_directory(key.rpartition("/")[0])
        self._files.write(key, self._store.read(key))

    def _chunks(
        self, entry: ArrayEntry, files: Sequence[int], length: int, marks: Marks | None
    ) -> Iterator[NDArray[Any]]:
        """Yield the inner chunks of one new file, each of those at its place in the old ones."""
        first = (0,) * (len(entry.shape) - 1)
        dtype = np.dtype(entry.dtype).newbyteorder("<")
        for pieces in zip(*(self._reader.read(entry, (*first, at)) for at in files), strict=True):
            values = np.empty((*entry.inner[:-1], length), dtype)
            start = end = pieces[0].start[-1]
            for piece in pieces:
                part = _whole(entry, piece)
                values[..., end - start : end - start + part.shape[-1]] = part
                end += part.shape[-1]
            mark_unwritten(values[..., end - start :])
            if marks is not None:
                marks.blank(values[..., : end - start], pieces[0].start[0], start)
            yield values


def _whole(entry: ArrayEntry, piece: Piece) -> NDArray[Any]:
    if piece.problem or piece.values is None:
        raise DamagedRunError(f"{entry.path!r}, file {piece.key!r}: {piece.problem}")
    return piece.values
