"""A damaged or unfinished run made whole: all that is good of it, what is lost marked.

The new run is written beside its place, flushed, read through from end to end
and only then renamed there. May import NumPy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import actrace
from actrace.errors import DamagedRunError, NotARunError
from actrace.store.check import check_schema
from actrace.store.checking.belonging import count_files, refuse_absent
from actrace.store.checking.examine import check_run
from actrace.store.checking.lost import ATTRIBUTE, Lost, as_attribute, lost_cells
from actrace.store.checking.pieces import PieceReader, grows
from actrace.store.checking.report import CheckReport
from actrace.store.describe import clean
from actrace.store.document import strict
from actrace.store.files import RunFiles
from actrace.store.manifest import Manifest
from actrace.store.paths import ROOT_DOCUMENT, SUFFIX, find_run, rank_paths, run_path
from actrace.store.progress import counting
from actrace.store.repair.beside import write_beside
from actrace.store.repair.rebuild import Rebuilder
from actrace.store.repair.standing import encoded, read_whole, substitute
from actrace.store.repair.windows import find_windows
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP

__all__ = ["RepairReport", "repair_run"]

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair saved and what it did not.

    Attributes
    ----------
    path : Path
        The repaired run.
    lost : mapping of str to list of Lost
        Array -> cells that hold the fill value now.
    derived : mapping of str to int
        Array -> rows that were damaged and follow from others.
    windows : mapping of str to int
        Group -> windows left out, because nothing says what they are sums of.
    check : CheckReport or None
        Of the repaired run; None where several ranks were repaired.
    ranks : tuple of RepairReport
    problem : str
        Why a rank could not be repaired; it is left out.
    """

    path: Path
    lost: Mapping[str, list[Lost]] = field(default_factory=dict)
    derived: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    check: CheckReport | None = None
    ranks: tuple[RepairReport, ...] = ()
    problem: str = ""

    def __repr__(self) -> str:
        lines = [f"repaired run {clean(self.path)}"]
        if self.problem:
            lines = [f"run {clean(self.path)} could not be repaired: {clean(self.problem)}"]
        found = [
            f"{clean(path)}: rows {one.start:,} to {one.stop - 1:,}"
            + (f" of {len(one.at)} places" if one.at else "")
            if one.stop
            else f"{clean(path)}: all of it"
            for path, ranges in self.lost.items()
            for one in ranges
        ]
        found += [f"{clean(group)}: {n:,} windows, left out" for group, n in self.windows.items()]
        saved = [f"{clean(path)}: {n:,} rows, from others" for path, n in self.derived.items()]
        for heading, items in (("lost", found), ("restored", saved)):
            lines += [f"  {heading:<8} {text}" for text in items[:_SHOWN]]
            if len(items) > _SHOWN:
                lines.append(f"  {heading:<8} and {len(items) - _SHOWN:,} more")
        if not found and not self.ranks and not self.problem:
            lines.append("  lost     nothing")
        if self.check is not None and not self.check.whole:
            lines.append("  note     its numbers contradict themselves, as they did: actrace check")
        for rank in self.ranks:
            lines += ["  " + line for line in repr(rank).splitlines()]
        return "\n".join(lines)


def repair_run(
    run: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    in_place: bool = False,
    progress: bool | None = None,
) -> RepairReport:
    """Save all that is whole in a run into a new one, and say what is lost.

    Every batch keeps its place. A damaged inner chunk costs the layer and batches
    that it holds, and those in the one variable alone; counts that follow from the
    others are put back. What is lost stands in the new run's attribute ``damaged``.
    A run whose writer was killed is finished: its status becomes ``"failed"``.

    Parameters
    ----------
    run : str or path
        The damaged run; a folder of ranks is repaired rank by rank.
    output : str or path, optional
        Where the repaired run goes; ``<name>-repaired`` beside it by default.
    in_place : bool
        Put it in the damaged run's place, which is then deleted. A kill leaves the
        one or the other.
    progress : bool, optional
        As for `actrace.check`.

    Raises
    ------
    NotARunError, NewerSchemaError, DamagedRunError
        Its root document cannot be read.
    RunLockedError
        It is being written.
    RunExistsError
        Something stands at `output`.
    StoreWriteError
        The repaired run cannot be written. Nothing is left of it.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> from actrace.store.writer import RunWriter
    >>> folder = tempfile.TemporaryDirectory()
    >>> RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={}).close()
    >>> repair_run(folder.name + "/a").path.name
    'a-repaired.zarr'
    >>> folder.cleanup()
    """
    if in_place and output is not None:
        raise ValueError("a repair in place has no output; give one of the two")
    source = find_run(run)
    ranks = {} if (source / ROOT_DOCUMENT).exists() else rank_paths(source)
    name = source.name.removesuffix(SUFFIX)
    beside = source.with_name(f"{name}-repaired")
    if not ranks:
        return _repair_one(source, None if in_place else run_path(output or beside), progress)
    target = Path(os.path.abspath(os.path.expanduser(os.fspath(output or beside))))
    reports = []
    for rank, path in ranks.items():
        try:
            place = None if in_place else target / path.name
            reports.append(_repair_one(path, place, progress))
        except (DamagedRunError, NotARunError) as error:
            reports.append(RepairReport(path, problem=f"rank {rank}: {error}"))
    return RepairReport(source if in_place else target, ranks=tuple(reports))


def _repair_one(source: Path, target: Path | None, progress: bool | None) -> RepairReport:
    """Repair one run into `target`, or in its place where there is none."""
    return write_beside(
        source,
        target,
        lambda manifest, files: _write(manifest, files, target or source, progress),
        "repaired",
    )


def _write(manifest: Manifest, files: RunFiles, place: Path, progress: bool | None) -> RepairReport:
    """Write the mended run and read it through."""
    check_schema(manifest)
    refuse_absent(manifest)
    lost = lost_cells(manifest.attributes)
    nodes: dict[str, Any] = json.loads(manifest.text)["consolidated_metadata"]["metadata"]
    reader = PieceReader(manifest)
    try:
        text = f"repairing {manifest.directory.name}"
        with counting(count_files(manifest), text, progress=progress) as advance:
            rebuilder = Rebuilder(reader, files, lost, advance)
            windows = _write_arrays(manifest, reader, rebuilder, files, lost, nodes)
    finally:
        reader.close()
    for path, node in nodes.items():
        files.make_directory(path)
        files.write(f"{path}/{ROOT_DOCUMENT}", strict(node))
    files.sync()
    files.write(ROOT_DOCUMENT, strict(_root(manifest, nodes, lost)))
    files.sync()
    return RepairReport(
        place,
        {path: list(dict.fromkeys(ranges)) for path, ranges in lost.items()},
        rebuilder.derived,
        windows,
        replace(check_run(files.directory, progress=progress), path=place),
    )


def _write_arrays(
    manifest: Manifest,
    reader: PieceReader,
    rebuilder: Rebuilder,
    files: RunFiles,
    lost: dict[str, list[Lost]],
    nodes: dict[str, Any],
) -> dict[str, int]:
    """Write every array; return group -> windows left out."""
    left_out: dict[str, int] = {}
    found = {
        group: find_windows(reader, group, lost)
        for group in manifest.groups
        if group.rpartition("/")[2] in (OUTPUT_GROUP, UNIT_GROUP)
    }
    for path, entry in manifest.arrays.items():
        group, _, name = path.rpartition("/")
        windows = found.get(group)
        if not grows(entry):
            if entry.shape != (0,):
                files.make_directory(entry.key((0,)).rpartition("/")[0])
                files.write(entry.key((0,)), _standing(reader, entry, lost, rebuilder.derived))
        elif windows is None:
            rebuilder.copy(entry)
        elif name == "first_batch" and windows.first_batch is not None:
            keep = slice(None) if windows.keep is None else windows.keep
            rebuilder.write(entry, windows.first_batch[keep])
        else:
            rebuilder.copy(entry, windows.keep)
        if grows(entry) and windows is not None and windows.keep is not None:
            left_out[group] = int((~windows.keep).sum())
            nodes[path]["shape"][-1] = int(windows.keep.sum())
    return left_out


def _standing(
    reader: PieceReader, entry: Any, lost: dict[str, list[Lost]], derived: dict[str, int]
) -> bytes:
    """Return the chunk of an array that stands still, mended if it must be."""
    if entry.grid != (1,):
        raise DamagedRunError(
            f"{entry.path!r} is in several chunks, as no writer of ours puts it, so it cannot be "
            "repaired; restore the run from a copy"
        )
    if read_whole(reader, entry) is not None:
        return reader.read_file(entry.key((0,)))
    values, certain = substitute(reader, entry)
    if certain:
        derived[entry.path] = len(values)
    else:
        lost.setdefault(entry.path, []).append(Lost(0, 0))
    return encoded(entry, values)


def _root(manifest: Manifest, nodes: Mapping[str, Any], lost: dict[str, list[Lost]]) -> Any:
    document = json.loads(manifest.text)
    attributes = document["attributes"]
    now = datetime.now(UTC)
    if attributes.get("status") not in ("finished", "failed"):
        committed = os.stat(manifest.directory / ROOT_DOCUMENT, follow_symlinks=False).st_mtime
        ended = datetime.fromtimestamp(committed, UTC).isoformat(timespec="seconds")
        attributes |= {"status": "failed", "ended": ended}
    attributes["repaired"] = {
        "time": now.isoformat(timespec="seconds"),
        "actrace_version": actrace.__version__,
    }
    attributes.pop(ATTRIBUTE, None)
    marked = as_attribute({path: list(dict.fromkeys(found)) for path, found in lost.items()})
    if marked:
        attributes[ATTRIBUTE] = marked
        # Its means may be those of cells that are lost; without it the catalogue looks itself.
        attributes.pop("summary", None)
    document["consolidated_metadata"]["metadata"] = nodes
    return document
