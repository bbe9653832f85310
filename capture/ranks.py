"""Where one of several processes records, without speaking to the others.

A process that is one of several writes a run of its own, ``rank-<n>.zarr`` in
the run's folder; `actrace.open` merges them. No collective, no barrier: a rank
that dies holds up nobody. May import torch and the store's writing side.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actrace.errors import ActraceError, RecorderError, RunExistsError
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.paths import rank_path, rank_paths, run_folder, run_path
from actrace.store.placing import refuse_other_form, remove_run
from actrace.store.sources.bucket import BucketSource, is_url, rank_url, ranks_below, run_url
from actrace.store.writer import RunWriter

__all__ = ["Place", "find_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process records.

    Attributes
    ----------
    path : Path or str
        The directory of the run that it writes, or its URL.
    rank : int or None
        None for a process that records alone.
    world_size : int
    resume, overwrite : bool
        What was asked of a run that stands there.
    storage_options : mapping or None
        For a URL.
    """

    path: Path | str
    rank: int | None
    world_size: int
    resume: bool
    overwrite: bool
    # It may hold keys to a bucket, which no message is to show.
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_taken(self) -> bool:
        """Whether something stands there."""
        if isinstance(self.path, Path):
            return self.path.exists()
        return BucketSource(self.path, self.storage_options).root_tag() is not None

    @property
    def attributes(self) -> dict[str, int]:
        """What the run says of it."""
        return {} if self.rank is None else {"rank": self.rank, "world_size": self.world_size}

    def settle(self, writer: RunWriter) -> None:
        """Say in a resumed run where it stands, and remove what a new run replaces.

        Called when this process has its own run, so that a failure before
        leaves the old one as it was.
        """
        if self.rank is None:
            if self.overwrite and isinstance(self.path, Path):
                folder = run_folder(self.path)
                for path in rank_paths(folder).values():
                    remove_run(path)
            return
        before = writer.attributes.get("world_size")
        # A smaller world that goes on is still part of the run of the larger one.
        if self.resume and isinstance(before, int) and before > self.world_size:
            writer.update_attributes({"rank": self.rank, "world_size": before})
        else:
            writer.update_attributes(self.attributes)
        if self.overwrite and self.rank == 0 and isinstance(self.path, Path):
            folder = self.path.parent
            remove_run(run_path(folder))
            for rank, path in rank_paths(folder).items():
                if rank >= self.world_size:
                    remove_run(path)

    def last_scalars(self, writer: RunWriter) -> dict[str, dict[str, int]]:
        """Return phase -> ``step`` and ``epoch`` after which to go on.

        Of the ranks' last commits the latest: each was killed somewhere else, and
        all must give the next batch the same step.
        """
        last = {phase: writer.last_scalars(phase) for phase in writer.phases}
        last = {phase: scalars for phase, scalars in last.items() if scalars}
        if self.rank is None or not self.resume:
            return last
        for manifest in self._of_all_ranks():
            for phase, attributes in manifest.groups.items():
                step, epoch = (attributes.get(name) for name in ("last_step", "last_epoch"))
                if "/" in phase or not isinstance(step, int) or not isinstance(epoch, int):
                    continue
                had = last.get(phase, {"step": step, "epoch": epoch})
                last[phase] = {"step": max(had["step"], step), "epoch": max(had["epoch"], epoch)}
        return last

    def _of_all_ranks(self) -> Iterator[Manifest]:
        """Yield what each rank has committed, of those that can be read."""
        if isinstance(self.path, Path):
            for path in rank_paths(self.path.parent).values():
                with contextlib.suppress(ActraceError):
                    yield read_manifest(path)
            return
        folder = self.path.rpartition("/")[0]
        for rank in ranks_below(folder, self.storage_options):
            with contextlib.suppress(ActraceError):
                yield BucketSource(rank_url(folder, rank), self.storage_options).manifest()


def find_place(
    path: str | os.PathLike[str],
    distributed: bool | None,
    *,
    resume: bool,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None = None,
) -> Place:
    """Return where this process records; touches nothing.

    Parameters
    ----------
    path : str or path
        The run.
    distributed : bool or None
        Whether the process is one of several; None finds out.
    resume, overwrite : bool
    storage_options : mapping, optional
        For a URL, as for `connect`.

    Raises
    ------
    RecorderError
        `distributed` is True and nothing tells which of several this is.
    RunExistsError
        A run of the other form stands there: of one process where several want
        to record, or of several where one does.
    RunLockedError
        It is to be replaced and is being written.
    MissingDependencyError, RemoteError
        Of a URL, as `connect`.
    """
    if distributed not in (None, True, False):
        raise RecorderError(f"distributed must be True, False or None, got {distributed!r}")
    found = None if distributed is False else _rank_and_world()
    if found is not None and found[1] < 2 and not distributed:
        found = None
    if distributed and found is None:
        raise RecorderError(
            "distributed=True, but torch.distributed is not initialised and the environment has "
            "no RANK and WORLD_SIZE; call torch.distributed.init_process_group first, start the "
            "training with torchrun, or leave distributed out to record this process alone"
        )
    if is_url(path):
        return _place_in_bucket(str(path), found, storage_options, resume, overwrite)
    folder = run_folder(path)
    if found is None:
        refuse_other_form(list(rank_paths(folder).values()), folder, "several", overwrite)
        return Place(run_path(path), None, 1, resume, overwrite)
    single = run_path(path)
    refuse_other_form([single] if single.exists() else [], single, "one", overwrite)
    return Place(rank_path(folder, found[0]), *found, resume, overwrite)


def _place_in_bucket(
    url: str,
    found: tuple[int, int] | None,
    options: Mapping[str, Any] | None,
    resume: bool,
    overwrite: bool,
) -> Place:
    single = run_url(url)
    other: Literal["one process", "several processes"] | None = None
    if found is None:
        other = "several processes" if ranks_below(url, options) else None
    elif BucketSource(single, options).root_tag() is not None:
        other = "one process"
    if other is not None:
        raise RunExistsError(
            f"a run of {other} lies at {url!r}, which this training cannot go on with or replace; "
            "delete it, or record under another name"
        )
    if found is None:
        return Place(single, None, 1, resume, overwrite, options)
    return Place(rank_url(url, found[0]), *found, resume, overwrite, options)


def _rank_and_world() -> tuple[int, int] | None:
    """Return this process's rank and how many there are, None where nothing tells."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return _from_environment(os.environ)


def _from_environment(environment: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return what torchrun tells its processes.

    The variables are those of "Environment variable initialization" in the
    documentation of torch.distributed.
    """
    try:
        rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None
    return (rank, world) if 0 <= rank < world else None
