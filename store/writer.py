"""Rows of statistics into a run's directory, with a commit that is one rename.

Order of a commit: chunk files, the arrays' ``zarr.json``, then the root
``zarr.json`` with every shape in it, replaced last. A reader takes its shapes
from the root alone and so sees one consistent prefix, whenever it looks and
wherever the writer was killed. Synchronous, one thread at a time. May import
NumPy; never torch, xarray, dask or pandas.
"""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

import actrace
from actrace.errors import (
    AxisError,
    DamagedRunError,
    NewerSchemaError,
    NotARunError,
    RunExistsError,
    StoreWriteError,
)
from actrace.store.axis import Axis, axis_from_dict
from actrace.store.document import dumps, json_ready, root_document
from actrace.store.files import Durability, RunFiles
from actrace.store.group import GrowingGroup, StandingArrays
from actrace.store.layout import decode_chunk, decode_strings
from actrace.store.lock import RunLock
from actrace.store.manifest import Manifest, read_manifest
from actrace.store.paths import LOCK_NAME, ROOT_DOCUMENT, find_run, run_path
from actrace.store.rows import BatchRow, LayerInfo, OutputInfo, WindowRow
from actrace.store.schema import (
    COUNTERS,
    MOMENTS,
    OUTPUT_GROUP,
    PHASE_VARIABLES,
    ROOT_VARIABLES,
    SCHEMA,
    TASKS,
    UNIT_GROUP,
    UNIT_VARIABLES,
    WINDOW_SCALARS,
    Variable,
    check_name,
    output_variables,
)

__all__ = ["RunWriter"]

#: Samples a batch for which 32-bit counts must suffice in every layer.
SAFE_SAMPLES: Final = 1024
#: Samples a window for which 32-bit counts must suffice in the output group.
SAFE_WINDOW: Final = 2**20
#: Attributes that readers find promoted to coordinates, by CF convention.
_COORDINATES: Final = "layer_type layer_shape layer_order layer_units bin_left bin_right"
_ROOT: Final = {variable.name: variable for variable in ROOT_VARIABLES}
_UNIT: Final = {variable.name: variable for variable in (*UNIT_VARIABLES, *WINDOW_SCALARS)}
_COUNTER_NAMES: Final = tuple(variable.name for variable in COUNTERS)
_MOMENT_NAMES: Final = tuple(variable.name for variable in MOMENTS)
#: Variables that a `BatchRow` holds under their own name.
_ROW_NAMES: Final = ("count", "step", "epoch", "samples", "loss", "time")
_PHASE: Final = {variable.name: variable for variable in PHASE_VARIABLES}


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
        "every": 1,
        "output_layer": None,
        "lost_batches": {},
        "skipped": {},
        "waited_seconds": 0.0,
        "phases": [],
        "coordinates": _COORDINATES,
    }


def _count_dtype(largest: int) -> np.dtype[Any]:
    return np.dtype("uint64") if largest >= 2**32 else np.dtype("uint32")


def _shape_text(shape: Sequence[int]) -> str:
    return "x".join(str(int(n)) for n in shape)


class RunWriter:
    """The one writer of a run; made by `create` or `resume`.

    Attributes
    ----------
    path : Path
        The run's directory.
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
        "_count",
        "_files",
        "_groups",
        "_last",
        "_layers",
        "_lock",
        "_outputs",
        "_standing",
        "_written",
        "axis",
    )

    def __init__(
        self, files: RunFiles, lock: RunLock, axis: Axis, attributes: Mapping[str, Any]
    ) -> None:
        self.axis = axis
        self._files = files
        self._lock = lock
        self._attributes: dict[str, Any] = dict(attributes)
        self._layers: tuple[LayerInfo, ...] | None = None
        self._count = np.dtype("uint32")
        self._groups: dict[str, GrowingGroup] = {}
        self._outputs: dict[str, OutputInfo] = {}
        self._standing = StandingArrays()
        self._written: dict[str, bytes] = {}
        self._committed: dict[str, int] = {}
        self._last: dict[str, dict[str, int]] = {}
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
    ) -> RunWriter:
        """Return the writer of a new, empty run that already opens.

        Parameters
        ----------
        path : str or path
            Where it goes; ``.zarr`` is added if missing.
        axis : Axis
            The run's bins.
        attributes : mapping
            Root attributes; those of schema 1 that are not given get defaults.
        overwrite : bool
            Replace a run that stands there. Nothing but a run or an empty
            directory is ever replaced.
        durability : {"process", "power"}

        Raises
        ------
        RunExistsError
            Something stands there.
        RunLockedError
            The run to replace is being written.
        StoreWriteError
            The directory cannot be written.
        """
        target = run_path(path)
        _refuse_standing(target, overwrite=overwrite)
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
            writer = cls(files, lock, axis, {**_defaults(axis), **json_ready(dict(attributes))})
            writer._put_root()
            writer.commit()
            _move_in(nursery, target, mark)
        except BaseException:
            shutil.rmtree(nursery, ignore_errors=True)
            raise
        files.directory = target
        files.sync_parent()
        return writer

    @classmethod
    def resume(
        cls, path: str | os.PathLike[str], *, durability: Durability = "process"
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
        """
        directory = find_run(path)
        read_manifest(directory)
        lock = RunLock(directory)
        try:
            # Read again under the lock: another writer may have been there just now.
            manifest = read_manifest(directory)
            try:
                axis = axis_from_dict(manifest.attributes.get("axis") or {})
            except AxisError as error:
                raise DamagedRunError(
                    f"run {str(directory)!r} has no valid axis: {error}"
                ) from error
            files = RunFiles(directory, durability)
            files.remove_leftovers()
            attributes = {**_defaults(axis), **manifest.attributes}
            attributes |= {"status": "recording", "ended": None}
            writer = cls(files, lock, axis, attributes)
            writer._restore(manifest)
            writer.commit()
        except BaseException:
            lock.release()
            raise
        return writer

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self._files.directory

    @property
    def attributes(self) -> dict[str, Any]:
        """A copy of the root attributes."""
        return dict(self._attributes)

    @property
    def layers(self) -> tuple[LayerInfo, ...] | None:
        """The layer dimension, None until declared."""
        return self._layers

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in the order of their first batch."""
        return tuple(self._attributes["phases"])

    def declare_layers(self, layers: Sequence[LayerInfo]) -> None:
        """Fix the layer dimension; once, before the first batch.

        On a resumed run the same layers may be declared again.

        Raises
        ------
        ValueError
            No layer, a name twice, or other layers than the run has.
        """
        names = [layer.name for layer in layers]
        if self._layers is not None:
            had = [layer.name for layer in self._layers]
            if names == had:
                return
            odd = sorted(set(names) ^ set(had))[:5]
            raise ValueError(
                f"run {str(self.path)!r} has {len(had)} layers and got {len(names)} others, "
                f"differing in {', '.join(map(repr, odd)) or 'order'}; "
                "the layers of a run never change: record into a new run"
            )
        if not names:
            raise ValueError("a run needs at least one layer, got none; choose others to record")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})[:5]
            raise ValueError(f"layer names must differ, got {', '.join(map(repr, twice))} twice")
        self._set_layers(tuple(layers))
        self._put_root()

    def declare_output(self, phase: str, info: OutputInfo) -> None:
        """Say what the labelled group of `phase` is about, before its first window.

        Raises
        ------
        ValueError
            An unknown task, no units, or another output than declared before.
        """
        if info.task not in TASKS:
            raise ValueError(f"task {info.task!r} is not one of {', '.join(TASKS)}")
        known = self._outputs.get(phase)
        if known is not None:
            if (known.layer, known.task, known.classes, known.units) == (
                info.layer,
                info.task,
                info.classes,
                info.units,
            ):
                return
            raise ValueError(
                f"the output of phase {phase!r} is {known}, got {info}; it never changes in a run"
            )
        if not info.units or (not info.classes and info.task != "regression"):
            raise ValueError(
                f"an output of task {info.task!r} needs units and classes, got "
                f"{len(info.units)} and {len(info.classes)}"
            )
        self._phase(phase)
        path = f"{phase}/{OUTPUT_GROUP}"
        variables = self._output_variables(info)
        group = self._output_group(path, info)
        threshold = info.threshold if np.isfinite(info.threshold) else None
        group.attributes.update(task=info.task, layer=info.layer, threshold=threshold)
        group.declare(v for v in variables.values() if v.dims[-1] == "window")
        self._groups[path] = group
        self._outputs[phase] = info
        for name, texts in (
            ("output_unit", info.units),
            ("role", info.roles),
            ("target_class", info.classes),
        ):
            if name in variables:
                self._standing.put(path, variables[name], texts)

    def output(self, phase: str) -> OutputInfo | None:
        """Return what `declare_output` said of `phase`, None if nothing."""
        return self._outputs.get(phase)

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
        group = self._phase(row.phase)
        for name in row.logged:
            if name not in group or name in _PHASE:
                check_name(name, "logged variable")
                variable = Variable(name, ("batch",), "float64", f"{name}, as logged by the user")
                if group.length:
                    group.declare_late(variable, self._files)
                else:
                    group.declare([variable])
        values: dict[str, Any] = {name: row.logged.get(name, np.nan) for name in group.names}
        values |= zip(_COUNTER_NAMES, row.counters, strict=True)
        values |= zip(_MOMENT_NAMES, row.moments, strict=True)
        values |= {name: getattr(row, name) for name in _ROW_NAMES}
        group.append(values, self._files)
        group.attributes.update(last_step=int(row.step), last_epoch=int(row.epoch))

    def append_window(self, row: WindowRow) -> None:
        """Add one window of the last `row.batches` batches; committed later.

        Raises
        ------
        ValueError
            An undeclared group, missing or unknown variables, other shapes.
        OverflowError
            A count beyond the run's integers.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        path = f"{row.phase}/{row.group}"
        if row.group == UNIT_GROUP and path not in self._groups:
            self._declare_units(row.phase)
        group = self._groups.get(path)
        if group is None:
            raise ValueError(f"group {path!r} takes no windows; declare its output first")
        batches = self.n_batches(row.phase)
        if not 0 < row.batches <= batches:
            raise ValueError(
                f"a window of {row.batches} batches cannot end at batch {batches} of {row.phase!r}"
            )
        values: dict[str, Any] = dict(row.values)
        values.update(first_batch=batches - row.batches, batches=row.batches, epoch=row.epoch)
        if set(values) != set(group.names):
            raise ValueError(
                f"a window of {path!r} has the variables {', '.join(sorted(group.names))}; "
                f"got {', '.join(sorted(values))}"
            )
        group.append(values, self._files)

    def n_batches(self, phase: str) -> int:
        """Return how many batches `phase` has, those not yet committed included."""
        group = self._groups.get(phase)
        return group.length if group else 0

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
        StoreWriteError
            Something cannot be written. Readers see the last commit, nothing
            in memory is lost, and a later commit may succeed.
        """
        files = self._files
        self._standing.write(files)
        for group in self._groups.values():
            group.write_chunks(files)
        files.sync()
        nodes: dict[str, dict[str, Any]] = dict(self._standing.documents)
        for group in self._groups.values():
            nodes.update(group.documents())
        for path, node in nodes.items():
            self._write_document(f"{path}/{ROOT_DOCUMENT}", dumps(node))
        files.sync()
        self._write_document(ROOT_DOCUMENT, dumps(root_document(self._attributes, nodes)))
        files.sync()
        for path, group in self._groups.items():
            self._committed[path] = group.length
            if "last_step" in group.attributes:
                self._last[path] = {
                    "step": group.attributes["last_step"],
                    "epoch": group.attributes["last_epoch"],
                }

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
            self._lock.release()

    def _write_document(self, key: str, text: bytes) -> None:
        if self._written.get(key) != text:
            self._files.make_directory(key.rpartition("/")[0])
            self._files.write(key, text)
            self._written[key] = text

    def _set_layers(self, layers: tuple[LayerInfo, ...]) -> None:
        self._layers = layers
        elements = max(int(np.prod(layer.shape, dtype=object)) for layer in layers)
        self._count = _count_dtype(elements * SAFE_SAMPLES)

    def _put_root(self) -> None:
        layers = self._layers or ()
        values: dict[str, Any] = {
            "layer": [layer.name for layer in layers],
            "layer_type": [layer.type for layer in layers],
            "layer_shape": [_shape_text(layer.shape) for layer in layers],
            "layer_order": np.array([layer.order for layer in layers], np.int32),
            "layer_units": np.array([layer.units for layer in layers], np.int32),
            "bin_left": self.axis.left,
            "bin_right": self.axis.right,
        }
        for name, variable in _ROOT.items():
            self._standing.put("", variable, values[name])

    def _phase(self, phase: str) -> GrowingGroup:
        group = self._groups.get(phase)
        if group is None:
            check_name(phase, "phase")
            if self._layers is None:
                raise ValueError(f"phase {phase!r} has no layers yet; call declare_layers first")
            sizes = {"layer": len(self._layers), "bin": self.axis.n_bins}
            attributes = {"last_step": None, "last_epoch": None}
            group = GrowingGroup(phase, sizes, self._count, attributes)
            group.declare(PHASE_VARIABLES)
            self._groups[phase] = group
            self._attributes["phases"] = [*self.phases, phase]
        return group

    def _output_variables(self, info: OutputInfo) -> dict[str, Variable]:
        found = output_variables(info.task, len(info.classes), len(info.units))
        return {variable.name: variable for variable in found}

    def _output_group(self, path: str, info: OutputInfo) -> GrowingGroup:
        sizes = {
            "output_unit": len(info.units),
            "target_class": len(info.classes),
            "role": len(info.roles),
            "bin": self.axis.n_bins,
        }
        return GrowingGroup(path, sizes, _count_dtype(len(info.units) * SAFE_WINDOW))

    def _unit_sizes(self) -> list[int]:
        return [layer.units for layer in self._layers or ()]

    def _declare_units(self, phase: str) -> None:
        self._phase(phase)
        units = self._unit_sizes()
        if not sum(units):
            raise ValueError("no layer of this run has units, so it takes no windows of units")
        path = f"{phase}/{UNIT_GROUP}"
        group = GrowingGroup(path, {"unit": sum(units)}, self._count)
        group.declare(v for v in _UNIT.values() if v.dims[-1] == "window")
        self._groups[path] = group
        layer = np.repeat(np.arange(len(units)), units)
        channel = np.concatenate([np.arange(n) for n in units])
        self._standing.put(path, _UNIT["unit_layer"], layer)
        self._standing.put(path, _UNIT["unit_channel"], channel)

    def _restore(self, manifest: Manifest) -> None:
        """Take over what `manifest` says was committed."""

        def names(path: str) -> list[str]:
            what = f"run {str(self.path)!r}: {path!r}"
            if manifest.arrays[path].shape == (0,):
                return []
            return decode_strings((self.path / path / "c" / "0").read_bytes(), what)

        def numbers(path: str) -> list[int]:
            entry = manifest.arrays[path]
            what = f"run {str(self.path)!r}: {path!r}"
            data = (self.path / path / "c" / "0").read_bytes()
            return [int(n) for n in decode_chunk(data, np.dtype(entry.dtype), entry.shape, what)]

        try:
            layers = names("layer")
            if layers:
                rows = zip(
                    layers,
                    names("layer_type"),
                    names("layer_shape"),
                    numbers("layer_order"),
                    numbers("layer_units"),
                    strict=True,
                )
                self._set_layers(
                    tuple(
                        LayerInfo(
                            name, kind, tuple(int(n) for n in text.split("x") if n), at, units
                        )
                        for name, kind, text, at, units in rows
                    )
                )
            for phase in manifest.phases:
                path = f"{phase}/{OUTPUT_GROUP}"
                found = manifest.groups.get(path)
                if found is not None:
                    regression = found["task"] == "regression"
                    self._outputs[phase] = OutputInfo(
                        str(found["layer"]),
                        str(found["task"]),
                        () if regression else tuple(names(f"{path}/target_class")),
                        tuple(names(f"{path}/output_unit")),
                        float("nan") if found["threshold"] is None else float(found["threshold"]),
                    )
        except (KeyError, OSError, ValueError) as error:
            raise DamagedRunError(
                f"run {str(self.path)!r} cannot be resumed: its layers or outputs cannot be read "
                f"({error}); restore it from a copy or record into a new run"
            ) from error
        self._put_root()
        self._attributes["phases"] = list(manifest.phases)
        for path, attributes in manifest.groups.items():
            self._restore_group(path, attributes, manifest)
        known = set(self._standing.documents).union(*(g.documents() for g in self._groups.values()))
        unknown = sorted((set(manifest.groups) | set(manifest.arrays)) - known)
        if unknown:
            # Going on without them would leave the run's parts of different length.
            raise NewerSchemaError(
                f"run {str(self.path)!r} cannot be resumed: it holds {unknown[0]!r}, which this "
                "actrace does not write; resume it with the version that began it "
                f"({manifest.attributes.get('actrace_version')}) or a later one"
            )
        _remove_uncommitted(manifest)

    def _restore_group(self, path: str, attributes: Mapping[str, Any], manifest: Manifest) -> None:
        phase, _, kind = path.partition("/")
        if phase not in manifest.phases:
            return
        variables: Mapping[str, Variable]
        if not kind:
            entry = manifest.arrays.get(f"{phase}/count")
            if entry is not None:
                # The committed width stays, whatever a later version would choose.
                self._count = np.dtype(entry.dtype)
            sizes = {"layer": len(self._layers or ()), "bin": self.axis.n_bins}
            group = GrowingGroup(path, sizes, self._count, attributes)
            variables = _PHASE
        elif kind == OUTPUT_GROUP and phase in self._outputs:
            info = self._outputs[phase]
            group = self._output_group(path, info)
            group.attributes.update(attributes)
            variables = self._output_variables(info)
            for name, texts in (
                ("output_unit", info.units),
                ("role", info.roles),
                ("target_class", info.classes),
            ):
                if name in variables:
                    self._standing.put(path, variables[name], texts)
        elif kind == UNIT_GROUP:
            self._declare_units(phase)
            group = GrowingGroup(path, {"unit": sum(self._unit_sizes())}, self._count, attributes)
            variables = _UNIT
        else:
            return
        group.restore(manifest, variables)
        self._groups[path] = group


def _refuse_standing(target: Path, *, overwrite: bool) -> None:
    """Refuse to go on where something stands that may not be replaced."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    is_run = (target / LOCK_NAME).is_file() or _opens(target)
    if not is_run:
        raise RunExistsError(
            f"{str(target)!r} exists and is not a run of actrace, so it is never replaced; "
            "record under another name"
        )
    if not overwrite:
        raise RunExistsError(
            f"a run stands at {str(target)!r}; pass resume=True to go on with it, "
            "overwrite=True to replace it, or record under another name"
        )


def _opens(target: Path) -> bool:
    try:
        read_manifest(target)
    except (NotARunError, DamagedRunError):
        return False
    return True


def _move_in(nursery: Path, target: Path, mark: str) -> None:
    """Rename a finished new run to its place, moving an old one away first."""
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


def _remove_uncommitted(manifest: Manifest) -> None:
    """Delete arrays and groups that a killed writer made and never committed."""
    known = set(manifest.groups) | set(manifest.arrays)
    for parent in ("", *manifest.groups):
        for found in sorted((manifest.directory / parent).iterdir()):
            path = f"{parent}/{found.name}" if parent else found.name
            if path not in known and found.is_dir() and not found.is_symlink() and _is_ours(found):
                shutil.rmtree(found)


def _is_ours(folder: Path) -> bool:
    """Return whether `folder` holds nothing but what a writer makes."""
    return all(
        name == ROOT_DOCUMENT or name.isdigit() for _, _, names in os.walk(folder) for name in names
    )
