"""A run gone through from end to end: every chunk file, and every row's numbers.

Memory is bounded by a few chunk files, however long the run; each inner chunk is
read once, and once more where it has to do with a level. A group's arrays that add
up are read side by side, the rest one after another; then levels are held against
what they stand for. Nothing is ever written. May import NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from actrace.errors import DamagedRunError, NotARunError
from actrace.store.axis import axis_from_dict
from actrace.store.check import check_schema
from actrace.store.checking.belonging import (
    check_documents,
    count_files,
    refuse_absent,
    unreferenced,
)
from actrace.store.checking.findings import Findings
from actrace.store.checking.levels import check_levels
from actrace.store.checking.lost import lost_cells
from actrace.store.checking.pieces import PieceReader, grows
from actrace.store.checking.report import CheckReport, Damage, PhaseCheck
from actrace.store.checking.rules import FAMILIES, Family, empty_with_moments, falls, mass
from actrace.store.checking.stretches import Loader, stretch_length
from actrace.store.lock import is_being_written
from actrace.store.manifest import ArrayEntry, Manifest, read_manifest
from actrace.store.paths import ROOT_DOCUMENT, find_run, rank_paths
from actrace.store.progress import counting
from actrace.store.rewriting.marks import thinned_cells, unknown_cells
from actrace.store.run import Run
from actrace.store.schema import SAMPLED

__all__ = ["check_run"]


def check_run(run: str | os.PathLike[str] | Run, *, progress: bool | None = None) -> CheckReport:
    """Return what of a run is whole and what is damaged; nothing is written.

    Reads every chunk file: checksums, sizes, that counts add up to the elements,
    that a layer without elements has no mean, that steps do not fall, that windows
    stand in order, that levels are the merge of their batches. Of a run that is still
    recording, what was committed when the check began.

    Parameters
    ----------
    run : str, path or Run
        The run, with or without its ``.zarr``; a folder of ranks is checked rank by
        rank.
    progress : bool, optional
        True for a progress bar at once, False for none; by default one after two
        seconds where standard error is a terminal.

    Raises
    ------
    NotARunError
        There is no run there.
    NewerSchemaError
        A later actrace wrote it.
    DamagedRunError
        Its root document cannot be read, so that nothing else can.
    RemoteError
        It lies in an object store.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> check_run(folder.name + "/a")
    actrace run a.zarr: whole
      read     2 chunk files, 2 inner chunks
      status   finished
    >>> folder.cleanup()
    """
    if isinstance(run, Run):
        if run.directory is None:
            raise NotARunError(
                "this run is in memory alone, or in an object store; check one on this machine"
            )
        run = run.directory
    folder = find_run(run)
    if (folder / ROOT_DOCUMENT).exists() or not rank_paths(folder):
        return _check_one(Path(run), progress)
    ranks = []
    for rank, path in rank_paths(folder).items():
        try:
            ranks.append(_check_one(path, progress))
        except (DamagedRunError, NotARunError) as error:
            problem = Damage("", f"rank {rank} cannot be read: {error}")
            ranks.append(CheckReport(path, damages=(problem,)))
    return CheckReport(folder, ranks=tuple(ranks))


def _check_one(path: Path, progress: bool | None) -> CheckReport:
    manifest = read_manifest(path)
    check_schema(manifest)
    refuse_absent(manifest)
    status = str(manifest.attributes.get("status"))
    live = is_being_written(manifest.directory)
    reader = PieceReader(manifest)
    try:
        files = count_files(manifest)
        with counting(files, f"checking {manifest.directory.name}", progress=progress) as advance:
            found, pieces, notes = _Examination(reader, advance).run()
        found += check_documents(reader, growing=status == "recording")
    finally:
        reader.close()
    if status == "recording" and not live:
        status = "interrupted"
    return CheckReport(
        manifest.directory,
        status=status,
        phases=tuple(_phase(manifest, phase, found) for phase in manifest.phases),
        files=files,
        pieces=pieces,
        damages=tuple(found),
        unreferenced=() if live else tuple(sorted(unreferenced(manifest))),
        repaired=tuple(_words(manifest)),
        notes=(*notes, *_thinned(manifest)),
    )


def _phase(manifest: Manifest, phase: str, found: list[Damage]) -> PhaseCheck:
    n = manifest.length(phase)
    hurt = [
        # Where the batches of a window are not known it may be any.
        damage.batches or (0, n)
        for damage in found
        if damage.phase == phase and damage.rows and not damage.path.startswith("levels/")
    ]
    whole, at = 0, 0
    for start, stop in sorted(hurt):
        whole += max(0, start - at)
        at = max(at, stop)
    return PhaseCheck(phase, n, whole + max(0, n - at))


def _words(manifest: Manifest) -> list[str]:
    """Return what an earlier repair marked as lost, a line an array."""
    words = []
    for path, ranges in lost_cells(manifest.attributes).items():
        rows = sum(one.stop - one.start for one in ranges)
        words.append(f"{path}: {rows:,} rows, or some layers of them, by an earlier repair")
    return words


def _thinned(manifest: Manifest) -> Iterator[str]:
    """Yield what a thinning left out, a line an array."""
    for path, marks in thinned_cells(manifest.attributes).items():
        share = 100 * marks.share(*manifest.arrays[path].shape[::2])
        yield f"{path}: {share:.1f} % of it was thinned, and is in its level alone"


class _Examination:
    """One walk through a run.

    Parameters
    ----------
    reader : PieceReader
    advance : callable
        Called after each chunk file.
    """

    def __init__(self, reader: PieceReader, advance: Callable[[], None]) -> None:
        self._reader = reader
        self._manifest = reader.manifest
        self._findings = Findings(reader)
        self._lost = unknown_cells(self._manifest.attributes)
        self._loader = Loader(reader, self._findings, self._lost, advance)
        self._notes: list[str] = []
        self._seen: set[str] = set()

    def run(self) -> tuple[list[Damage], int, list[str]]:
        """Return the damage, the number of pieces read and what could not be checked."""
        self._edges()
        for group in self._manifest.groups:
            for family in FAMILIES:
                self._family(group, family)
            if f"{group}/first_batch" in self._manifest.arrays:
                self._windows(group)
            elif f"{group}/step" in self._manifest.arrays:
                self._steps(group)
        for path, entry in self._manifest.arrays.items():
            if path not in self._seen:
                self._loader.look(entry)
        check_levels(self._reader, self._findings, self._lost)
        return list(self._findings.all()), self._loader.pieces, self._notes

    def _take(self, group: str, names: tuple[str, ...]) -> dict[str, ArrayEntry]:
        """Return the growing arrays of a group by name, those of `names` that are there."""
        arrays = self._manifest.arrays
        found = {n: arrays[f"{group}/{n}"] for n in names if f"{group}/{n}" in arrays}
        return {name: entry for name, entry in found.items() if grows(entry)}

    def _family(self, group: str, family: Family) -> None:
        entries = self._take(group, (*family.names, SAMPLED.name))
        needed = {family.count, *family.parts, family.total}
        lengths = {entry.shape[-1] for entry in entries.values()}
        if not needed <= entries.keys() or len(lengths) != 1:
            return
        length = stretch_length(list(entries.values()))
        if length is None:
            self._notes.append(f"sums of {group!r} were not checked: its chunks are too large")
            return
        self._seen |= {entry.path for entry in entries.values()}
        sample = self._manifest.attributes.get("sample")
        mode = str(sample.get("mode")) if isinstance(sample, dict) else "exact"
        (rows,) = lengths
        for start in range(0, rows, length):
            stop = min(start + length, rows)
            loaded = {n: self._loader.load(entry, start, stop) for n, entry in entries.items()}
            broken, words = mass(family, loaded, mode)
            self._findings.broken(entries[family.count], broken, start, words)
            odd = empty_with_moments(family, loaded)
            words = f"it has moments where {family.total!r} is 0"
            self._findings.broken(entries[family.total], odd, start, words)

    def _steps(self, group: str) -> None:
        for entry in self._take(group, ("step",)).values():
            if stretch_length([entry]) is None:
                return
            self._seen.add(entry.path)
            before: int | None = None
            for start in range(0, entry.shape[-1], entry.chunk[-1]):
                stop = min(start + entry.chunk[-1], entry.shape[-1])
                found = self._loader.load(entry, start, stop)
                at = np.flatnonzero(found.known)
                if not len(at):
                    continue
                steps = found.values[at]
                broken = np.zeros(stop - start, bool)
                broken[at] = falls(steps, before)
                self._findings.broken(entry, broken, start, "the step is below the one before")
                before = int(steps[-1])

    def _windows(self, group: str) -> None:
        entries = self._take(group, ("first_batch", "batches"))
        length = stretch_length(list(entries.values())) if len(entries) == 2 else None
        if length is None:
            return
        first, batches = entries["first_batch"], entries["batches"]
        self._seen |= {first.path, batches.path}
        parts = group.split("/")
        n_batches = self._manifest.length(parts[1] if parts[0] == "levels" else parts[0])
        end = 0
        for start in range(0, first.shape[-1], length):
            stop = min(start + length, first.shape[-1])
            begins, many = (self._loader.load(entry, start, stop) for entry in (first, batches))
            at = np.flatnonzero(begins.known & many.known)
            if not len(at):
                continue
            here, size = begins.values[at].astype(np.int64), many.values[at].astype(np.int64)
            ends = here + size
            odd = (here < np.concatenate([[end], ends[:-1]])) | (size < 1) | (ends > n_batches)
            broken = np.zeros(stop - start, bool)
            broken[at] = odd
            words = "the window overlaps the one before or leaves the phase"
            self._findings.broken(first, broken, start, words)
            end = int(ends[-1])

    def _edges(self) -> None:
        """Compare the bins' edges with the axis that they were made from."""
        axis = axis_from_dict(self._manifest.attributes["axis"])
        for name, edges in (("bin_left", axis.left), ("bin_right", axis.right)):
            entry = self._manifest.arrays[name]
            self._seen.add(name)
            found = self._loader.load(entry, 0, entry.shape[0])
            broken = found.known & (found.values != edges)
            self._findings.broken(entry, broken, 0, "an edge is not that of the run's axis")
