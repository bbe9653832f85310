"""Rows of statistics into a run's directory, with a commit that is one rename.

Order of a commit: chunk files, the arrays' ``zarr.json``, then the root
``zarr.json`` with every shape in it, replaced last. A reader takes its shapes
from the root alone and so sees one consistent prefix, whenever it looks and
wherever the writer was killed. In a bucket a commit is one request to replace the
root document, and may be on its way while rows come in. One thread at a time.
May import NumPy; never torch, xarray, dask or pandas.
"""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import actrace
from actrace.errors import ActraceError, AxisError, DamagedRunError, StoreWriteError
from actrace.store.axis import Axis, axis_from_dict
from actrace.store.contents import RunContents
from actrace.store.document import dumps, json_ready, root_document
from actrace.store.files import Durability, RunFiles
from actrace.store.gradients import GradientInfo
from actrace.store.levels.rules import weight_of
from actrace.store.lock import RunLock
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.paths import ROOT_DOCUMENT, find_run, run_path, size_on_disk
from actrace.store.placing import move_in, refuse_standing
from actrace.store.restore import remove_uncommitted, restore_contents
from actrace.store.rows import BatchRow, BatchRows, LayerInfo, OutputInfo, WindowRow, WindowRows
from actrace.store.schema import SCHEMA
from actrace.store.sources.bucket import is_url

if TYPE_CHECKING:
    from actrace.store.remote.lease import BucketLease

__all__ = ["RunWriter"]

#: Attributes that readers find promoted to coordinates, by CF convention.
_COORDINATES: Final = "layer_type layer_shape layer_order layer_units bin_left bin_right"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _defaults(axis: Axis) -> dict[str, Any]:
    return {
        "actrace_schema": SCHEMA,
        "actrace_version": actrace.__version__,
        "torch_version": None,
        "python_version": platform.python_version(),
        "run_id": uuid.uuid4().hex,
        "started": _now(),
        "ended": None,
        "host": platform.node(),
        "git_commit": None,
        "config": {},
        "tags": [],
        "status": "recording",
        "axis": axis.to_dict(),
        "active_threshold": 1e-8,
        "sample": {"mode": "exact"},
        "schedule": None,
        "layer_schedule": {},
        "output_layer": None,
        "lost_batches": {},
        "skipped": {},
        "waited_seconds": 0.0,
        "phases": [],
        "coordinates": _COORDINATES,
    }


class RunWriter:
    """The one writer of a run; made by `create` or `resume`.

    Attributes
    ----------
    path : Path or str
        The run's directory, or its URL.
    axis : Axis
    layers : tuple of LayerInfo or None
        None until `declare_layers`.

    Examples
    --------
    >>> import tempfile
    >>> from actrace.store.axis import Linear
    >>> folder = tempfile.TemporaryDirectory()
    >>> writer = RunWriter.create(folder.name + "/a", axis=Linear(-1, 1, 4), attributes={})
    >>> writer.declare_layers([LayerInfo("fc", "Linear", (10,), 0, 10)])
    >>> row = BatchRow.empty(1, 4)
    >>> row.phase = "train"
    >>> writer.append_batch(row)
    >>> writer.close()
    >>> writer.n_batches("train")
    1
    >>> folder.cleanup()
    """

    __slots__ = (
        "_attributes",
        "_closed",
        "_committed",
        "_contents",
        "_files",
        "_handed",
        "_last",
        "_lock",
        "_written",
    )

    def __init__(
        self,
        files: RunFiles,
        lock: RunLock | BucketLease,
        contents: RunContents,
        attributes: Mapping[str, Any],
    ) -> None:
        self._contents = contents
        self._files = files
        self._lock = lock
        self._attributes: dict[str, Any] = dict(attributes)
        self._written: dict[str, bytes] = {}
        self._committed: dict[str, int] = {}
        self._last: dict[str, dict[str, int]] = {}
        self._handed: tuple[dict[str, int], dict[str, dict[str, int]]] = ({}, {})
        self._closed = False

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        axis: Axis,
        attributes: Mapping[str, Any],
        overwrite: bool = False,
        durability: Durability = "process",
        levels: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Return the writer of a new, empty run that already opens.

        Parameters
        ----------
        path : str or path
            Where it goes, a directory or ``s3://bucket/path``; ``.zarr`` is added if
            missing.
        axis : Axis
            The run's bins.
        attributes : mapping
            Root attributes; those of schema 1 that are not given get defaults.
        overwrite : bool
            Replace a run that stands there. Nothing but a run or an empty
            directory is ever replaced.
        durability : {"process", "power"}
        levels : bool
            Build levels of long phases, for looking at them from afar.
        storage_options : mapping, optional
            For a URL, as for `connect`.

        Raises
        ------
        RunExistsError
            Something stands there.
        RunLockedError
            The run to replace is being written.
        StoreWriteError
            The directory cannot be written.
        MissingDependencyError, RemoteError
            Of a URL, as `connect`.
        """
        given = {**_defaults(axis), **json_ready(dict(attributes))}
        if is_url(path):
            url = str(path)
            return cls._create_in_bucket(
                url, axis, given, storage_options, durability, overwrite=overwrite, levels=levels
            )
        target = run_path(path)
        refuse_standing(target, overwrite=overwrite)
        mark = uuid.uuid4().hex[:8]
        # Built aside and renamed into place, so that no half-made run is ever seen.
        nursery = target.with_name(f".{target.name}.new-{mark}")
        try:
            nursery.mkdir(parents=True)
        except OSError as error:
            raise StoreWriteError(
                f"cannot make run {str(target)!r}: {error.strerror}; "
                "check permissions and free space, or record elsewhere"
            ) from error
        files: RunFiles | None = None
        try:
            files = RunFiles(nursery, durability)
            lock = RunLock(nursery)
            contents = RunContents(target, axis, levels=levels, weight=weight_of(given))
            writer = cls(files, lock, contents, given)
            writer.commit()
            move_in(nursery, target, mark)
        except BaseException:
            shutil.rmtree(nursery, ignore_errors=True)
            raise
        files.directory = target
        files.sync_parent()
        return writer

    @classmethod
    def _create_in_bucket(
        cls,
        url: str,
        axis: Axis,
        attributes: dict[str, Any],
        options: Mapping[str, Any] | None,
        durability: Durability,
        *,
        overwrite: bool,
        levels: bool,
    ) -> RunWriter:
        from actrace.store.remote.placing import BucketPlace

        run_id = str(attributes["run_id"])
        place = BucketPlace.new(url, options, durability, run_id, overwrite=overwrite)
        try:
            where = place.files.where
            contents = RunContents(where, axis, levels=levels, weight=weight_of(attributes))
            writer = cls(place.files, place.lease, contents, attributes)
            place.end_standing(attributes)
            writer.commit()
            place.remove_standing()
        except BaseException:
            place.give_up()
            raise
        return writer

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "process",
        storage_options: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Return the writer of a run that stands, after its last committed batch.

        What a killed writer left behind that commit is cut away, and the run's
        status is "recording" again.

        Raises
        ------
        NotARunError, NewerSchemaError, DamagedRunError
            As `read_manifest`; damaged also if an unfinished chunk is.
        RunLockedError
            Another writer is at it.
        StoreWriteError
            The directory cannot be written.
        MissingDependencyError, RemoteError
            Of a URL, as `connect`.
        """
        change = {"status": "recording", "ended": None}
        if is_url(path):
            return cls._take_over_in_bucket(str(path), storage_options, durability, change)
        return cls._take_over(path, durability, change)

    @classmethod
    def reopen(
        cls, path: str | os.PathLike[str], *, durability: Durability = "process"
    ) -> RunWriter:
        """As `resume`, but the run keeps its status: for work on one that stands.

        To be ended by `release`.
        """
        return cls._take_over(path, durability, {})

    @classmethod
    def _take_over(
        cls, path: str | os.PathLike[str], durability: Durability, change: Mapping[str, Any]
    ) -> RunWriter:
        directory = find_run(path)
        read_manifest(directory)
        lock = RunLock(directory)
        try:
            # Read again under the lock: another writer may have been there just now.
            manifest = read_manifest(directory)
            files = RunFiles(directory, durability)
            writer = cls._restored(files, lock, manifest, change)
            files.remove_leftovers()
            remove_uncommitted(manifest)
            files.size = size_on_disk(directory)
            writer.commit()
        except BaseException:
            lock.release()
            raise
        return writer

    @classmethod
    def _take_over_in_bucket(
        cls,
        url: str,
        options: Mapping[str, Any] | None,
        durability: Durability,
        change: Mapping[str, Any],
    ) -> RunWriter:
        from actrace.store.remote.placing import BucketPlace

        place, manifest = BucketPlace.standing(url, options, durability)
        try:
            # What a killed writer sent beyond its commit is written over in its turn.
            writer = cls._restored(place.files, place.lease, manifest, change)
            writer.commit()
        except BaseException:
            place.give_up()
            raise
        return writer

    @classmethod
    def _restored(
        cls,
        files: RunFiles,
        lock: RunLock | BucketLease,
        manifest: Manifest,
        change: Mapping[str, Any],
    ) -> RunWriter:
        try:
            axis = axis_from_dict(manifest.attributes.get("axis") or {})
        except AxisError as error:
            raise DamagedRunError(f"{manifest.where} has no valid axis: {error}") from error
        attributes = {**_defaults(axis), **manifest.attributes, **change}
        writer = cls(files, lock, restore_contents(manifest, axis, files), attributes)
        writer._written[ROOT_DOCUMENT] = manifest.text
        return writer

    @property
    def path(self) -> Path | str:
        """The run's directory, or its URL."""
        return self._files.where

    @property
    def behind(self) -> bool:
        """Whether commits may be on their way while rows come in; see `commit_later`."""
        return self._files.behind

    @property
    def axis(self) -> Axis:
        """The run's bins."""
        return self._contents.axis

    @property
    def attributes(self) -> dict[str, Any]:
        """A copy of the root attributes."""
        return dict(self._attributes)

    @property
    def layers(self) -> tuple[LayerInfo, ...] | None:
        """The layer dimension, None until declared."""
        return self._contents.layers

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in the order of their first batch."""
        return self._contents.phases

    def declare_layers(self, layers: Sequence[LayerInfo]) -> None:
        """Fix the layer dimension; once, before the first batch.

        On a resumed run the same layers may be declared again.

        Raises
        ------
        ValueError
            No layer, a name twice, or other layers than the run has.
        """
        self._contents.declare_layers(layers)

    def declare_output(self, phase: str, info: OutputInfo) -> None:
        """Say what the labelled group of `phase` is about, before its first window.

        Raises
        ------
        ValueError
            An unknown task, no units, or another output than declared before.
        """
        self._contents.declare_output(phase, info)

    def output(self, phase: str) -> OutputInfo | None:
        """Return what `declare_output` said of `phase`, None if nothing."""
        return self._contents.outputs.get(phase)

    def declare_gradients(self, info: GradientInfo) -> None:
        """Say which parameters have gradients, before the first batch that has one.

        Raises
        ------
        ValueError
            Other parameters or bins than the run has.
        """
        self._contents.declare_gradients(info)

    @property
    def gradients(self) -> GradientInfo | None:
        """What `declare_gradients` said, None if nothing."""
        return self._contents.gradients

    def append_batch(self, row: BatchRow) -> None:
        """Add one batch to its phase, whole or not at all; committed later.

        Raises
        ------
        ValueError
            No layers declared yet, a phase's or logged name that cannot be
            recorded, or arrays of another shape than the run's.
        OverflowError
            A count beyond the run's integers.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        self.append_batches(BatchRows.of(row))

    def append_batches(self, rows: BatchRows) -> None:
        """Add some batches to their phase, each whole or not at all; committed later.

        Raises
        ------
        ValueError, OverflowError
            As `append_batch`; none is added.
        StoreWriteError
            A full chunk cannot be written; those that `n_batches` does not count
            are not added.
        """
        self._contents.append_batches(rows, self._files)

    def append_window(self, row: WindowRow) -> None:
        """Add one window; committed later.

        Raises
        ------
        ValueError
            An undeclared group, missing or unknown variables, other shapes.
        OverflowError
            A count beyond the run's integers.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        self.append_windows(WindowRows.of([row]))

    def append_windows(self, rows: WindowRows) -> None:
        """Add some windows of one group, each whole or not at all; committed later.

        Raises
        ------
        ValueError, OverflowError
            As `append_window`; none is added.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        self._contents.append_windows(rows, self._files)

    def missing_columns(self) -> dict[str, int]:
        """Return phase -> columns that its levels could have and have not."""
        return {name: sum(found.missing()) for name, found in self._contents.ladders.items()}

    def complete_levels(self, most: int) -> None:
        """Add what the levels lack, up to `most` columns each; committed later.

        Raises
        ------
        DamagedRunError
            What has to be read is damaged.
        OverflowError
            A count beyond the level's integers.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        for ladder in self._contents.ladders.values():
            ladder.complete(self._files, most)

    def n_batches(self, phase: str) -> int:
        """Return how many batches `phase` has, those not yet committed included."""
        return self._contents.n_batches(phase)

    def n_committed(self, phase: str) -> int:
        """Return how many batches of `phase` readers see."""
        return self._committed.get(phase, 0)

    def last_scalars(self, phase: str) -> dict[str, int]:
        """Return ``step`` and ``epoch`` of the last committed batch, empty if none."""
        return dict(self._last.get(phase, {}))

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set root attributes; committed later."""
        self._attributes.update(json_ready(dict(attributes)))

    def commit(self) -> None:
        """Make everything appended so far visible to readers, at once.

        Raises
        ------
        StoreWriteError, RemoteError
            Something cannot be written. Readers see the last commit, nothing
            in memory is lost, and a later commit may succeed.
        RunLockedError
            Another writer has taken over a run in a bucket; no commit will succeed.
        """
        self._hand_over()
        self._files.settle()
        self.acknowledge()

    def commit_later(self, landed: Callable[[ActraceError | None, float], None]) -> None:
        """Begin a commit that may take its time, and go on.

        Parameters
        ----------
        landed : callable
            Called, on any thread, with the error or None, and the seconds it took.
            If there was none `acknowledge` is to be called then.

        Raises
        ------
        StoreWriteError
            As `commit`.
        """
        self._hand_over()
        self._files.settle_later(landed)

    def acknowledge(self) -> None:
        """Take note that the commit that was begun last is there."""
        self._committed, self._last = self._handed

    def _hand_over(self) -> None:
        files = self._files
        self._contents.write_chunks(files)
        files.sync()
        nodes = self._contents.documents()
        for path, node in nodes.items():
            self._write_document(f"{path}/{ROOT_DOCUMENT}", dumps(node))
        files.sync()
        self._attributes["phases"] = list(self.phases)
        self._attributes["summary"] = {
            "bytes": files.size - len(self._written.get(ROOT_DOCUMENT, b"")),
            "layers": len(self.layers or ()),
            "phases": self._contents.summary,
        }
        self._write_document(ROOT_DOCUMENT, dumps(root_document(self._attributes, nodes)))
        files.sync()
        groups = self._contents.groups
        self._handed = (
            {path: group.length for path, group in groups.items()},
            {
                path: {
                    "step": group.attributes["last_step"],
                    "epoch": group.attributes["last_epoch"],
                }
                for path, group in groups.items()
                if "last_step" in group.attributes
            },
        )

    def close(self, status: str = "finished", attributes: Mapping[str, Any] | None = None) -> None:
        """Commit, say how the run ended and give up the lock; twice is once.

        Parameters
        ----------
        status : {"finished", "failed"}
        attributes : mapping, optional
            Root attributes to set with it.

        Raises
        ------
        StoreWriteError
            The last commit failed. The lock is given up all the same, and
            readers see the run as interrupted after the commit before.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.update_attributes({"ended": _now(), **(attributes or {}), "status": status})
            self.commit()
        finally:
            self._files.close()
            self._lock.release()

    def release(self) -> None:
        """Give up the lock and leave the run as it was committed last."""
        self._closed = True
        self._files.close()
        self._lock.release()

    def _write_document(self, key: str, text: bytes) -> None:
        if self._written.get(key) != text:
            self._files.make_directory(key.rpartition("/")[0])
            self._files.write(key, text)
            self._written[key] = text
