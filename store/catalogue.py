"""Which runs a directory holds, from their root documents alone.

Fast and safe over thousands of runs: no array is opened. Imports nothing
heavier than NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from actrace.errors import DamagedRunError, NewerSchemaError, NotARunError
from actrace.store.check import check_schema
from actrace.store.lock import is_being_written
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.paths import ROOT_DOCUMENT, SUFFIX, rank_paths, size_on_disk
from actrace.store.rank_words import joint_status

__all__ = ["RunSummary", "list_runs"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a list.

    Attributes
    ----------
    name : str
        The directory's name without ``.zarr``.
    path : Path
    status : str
        ``"recording"``, ``"finished"``, ``"failed"``, ``"interrupted"``,
        ``"damaged"`` or ``"newer"`` (of a later schema).
    phases : tuple of str
    batches, epochs : dict of str to int
        Of each phase.
    layers : int
    size : int
        Bytes on disk.
    started, ended : str
        ISO 8601, empty if unknown.
    host : str
    tags : tuple of str
    config : dict
    lost : dict of str to int
        Phase -> batches lost in recording.
    problem : str
        What is wrong with a damaged or newer run, else empty.
    ranks : int
        Processes whose runs it joins, 0 for a run of one process. Its batches are
        then those of the rank that has most.
    """

    name: str
    path: Path
    status: str
    phases: tuple[str, ...] = ()
    batches: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    layers: int = 0
    size: int = 0
    started: str = ""
    ended: str = ""
    host: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, object] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    ranks: int = 0


def list_runs(directory: str | os.PathLike[str], *, depth: int = 4) -> list[RunSummary]:
    """Return the runs in `directory` and below, by path; damaged ones too.

    Parameters
    ----------
    directory : str or path
        A folder of runs, or one run.
    depth : int, default 4
        How many folders down to look; links are not followed.

    Raises
    ------
    NotARunError
        `directory` is not there or not a directory.
    """
    root = Path(os.path.abspath(os.path.expanduser(os.fspath(directory))))
    if not root.is_dir():
        found = "it is a file" if root.exists() else "nothing is there"
        raise NotARunError(
            f"cannot list runs in {str(root)!r}: {found}; give a directory that holds runs"
        )
    found_runs = [_summarise(path) for path in _candidates(root, depth)]
    return [run for run in found_runs if run is not None]


def _candidates(directory: Path, depth: int) -> Iterator[Path]:
    if (directory / ROOT_DOCUMENT).is_file() or directory.name.endswith(SUFFIX):
        yield directory
        return
    if depth < 0:
        return
    ranks = set(rank_paths(directory).values())
    if ranks:
        yield directory
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        # Hidden folders hold runs that are just being made or replaced.
        hidden = entry.name.startswith(".") or Path(entry.path) in ranks
        if entry.is_dir(follow_symlinks=False) and not hidden:
            yield from _candidates(Path(entry.path), depth - 1)


def _summarise(path: Path) -> RunSummary | None:
    """Return the summary of the run at `path`, None for another kind of store."""
    ranks = {} if (path / ROOT_DOCUMENT).exists() else rank_paths(path)
    if ranks:
        return _joined(path, {rank: _summarise(part) for rank, part in ranks.items()})
    name = path.name.removesuffix(SUFFIX)
    size = size_on_disk(path)
    try:
        manifest = read_manifest(path)
        check_schema(manifest)
    except NotARunError:
        return None
    except NewerSchemaError as error:
        return RunSummary(name, path, "newer", size=size, problem=str(error))
    except DamagedRunError as error:
        return RunSummary(name, path, "damaged", size=size, problem=str(error))
    return _from_manifest(name, path, manifest, size)


def _joined(path: Path, parts: dict[int, RunSummary | None]) -> RunSummary | None:
    """Return one summary of the ranks' own, None where none of them is a run."""
    runs = {rank: part for rank, part in parts.items() if part is not None}
    whole = [run for run in runs.values() if not run.problem]
    if not runs:
        return None
    first = whole[0] if whole else next(iter(runs.values()))
    phases = tuple(dict.fromkeys(phase for run in whole for phase in run.phases))
    lost = {phase: sum(run.lost.get(phase, 0) for run in whole) for phase in phases}
    return replace(
        first,
        name=path.name,
        path=path,
        status=joint_status([run.status for run in whole]) if whole else first.status,
        phases=phases,
        batches={p: max(run.batches.get(p, 0) for run in whole) for p in phases},
        epochs={p: max(run.epochs.get(p, 0) for run in whole) for p in phases},
        layers=max((run.layers for run in whole), default=0),
        size=sum(run.size for run in runs.values()),
        started=min(run.started for run in runs.values()),
        ended=max(run.ended for run in whole) if all(run.ended for run in whole) and whole else "",
        lost={phase: n for phase, n in lost.items() if n},
        problem="; ".join(
            f"rank {rank}: {run.problem}" for rank, run in runs.items() if run.problem
        ),
        ranks=len(runs),
    )


def _from_manifest(name: str, path: Path, manifest: Manifest, size: int) -> RunSummary:
    attributes = manifest.attributes
    status = str(attributes.get("status"))
    if status == "recording" and not is_being_written(path):
        status = "interrupted"
    tags = attributes.get("tags")
    config = attributes.get("config")
    lost = attributes.get("lost_batches")
    epochs = {}
    for phase in manifest.phases:
        last = manifest.groups[phase].get("last_epoch")
        epochs[phase] = last + 1 if isinstance(last, int) else 0
    return RunSummary(
        name=name,
        path=path,
        status=status,
        phases=manifest.phases,
        batches={phase: manifest.length(phase) for phase in manifest.phases},
        epochs=epochs,
        layers=manifest.arrays["layer"].shape[0],
        size=size,
        started=str(attributes.get("started") or ""),
        ended=str(attributes.get("ended") or ""),
        host=str(attributes.get("host") or ""),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        config=dict(config) if isinstance(config, dict) else {},
        lost={str(k): v for k, v in lost.items() if isinstance(v, int) and v}
        if isinstance(lost, dict)
        else {},
    )
