"""What a run holds while it is written: layers, outputs, and the groups that grow.

Rows and windows are checked and sorted into their groups here; when they reach
the disk is the writer's affair. May import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.axis import Axis
from actrace.store.catalogue.last_epoch import LastEpoch
from actrace.store.document import group_document
from actrace.store.files import RunFiles
from actrace.store.gradients import (
    GradientInfo,
    GradientRow,
    gradient_attributes,
    gradient_values,
    growing_variables,
)
from actrace.store.group import GrowingGroup, StandingArrays, append_together
from actrace.store.levels.ladder import Ladder, level_path
from actrace.store.rows import BatchRows, LayerInfo, OutputInfo, WindowRows
from actrace.store.schema import (
    COUNTERS,
    GRADIENT_GROUP,
    LEVELS_GROUP,
    MOMENTS,
    OUTPUT_GRADIENT_GROUP,
    OUTPUT_GROUP,
    PHASE_VARIABLES,
    ROOT_VARIABLES,
    SAMPLED,
    TASKS,
    UNIT_GROUP,
    UNIT_VARIABLES,
    WINDOW_SCALARS,
    Variable,
    check_name,
    gradient_variables,
    output_variables,
)

__all__ = ["PHASE", "UNIT", "RunContents", "named_output_variables"]

#: Samples a batch for which 32-bit counts must suffice in every layer.
SAFE_SAMPLES: Final = 1024
#: Raw size that a shard of a level stays within: the unfinished one of every level is
#: written anew at each commit, besides that of the phase.
LEVEL_SHARD_BYTES: Final = 8 * 2**20
#: Samples a window for which 32-bit counts must suffice in the output group.
SAFE_WINDOW: Final = 2**20
PHASE: Final = {variable.name: variable for variable in (*PHASE_VARIABLES, SAMPLED)}
UNIT: Final = {variable.name: variable for variable in (*UNIT_VARIABLES, *WINDOW_SCALARS)}
_ROOT: Final = {variable.name: variable for variable in ROOT_VARIABLES}
_COUNTER_NAMES: Final = tuple(variable.name for variable in COUNTERS)
_MOMENT_NAMES: Final = tuple(variable.name for variable in MOMENTS)
#: Variables that `BatchRows` hold under their own name.
_ROW_NAMES: Final = ("count", "step", "epoch", "samples", "loss", "time")


def _count_dtype(largest: int) -> np.dtype[Any]:
    return np.dtype("uint64") if largest >= 2**32 else np.dtype("uint32")


def named_output_variables(info: OutputInfo) -> dict[str, Variable]:
    """Return the variables of an output group by name."""
    found = output_variables(info.task, len(info.classes), len(info.units))
    return {variable.name: variable for variable in found}


class RunContents:
    """Layers, outputs and groups of one run.

    Parameters
    ----------
    path : Path or str
        The run, for messages.
    axis : Axis
    levels : bool
        Whether phases get levels.
    weight : {"elements", "sampled"}
        How many elements of a layer its moments are of.

    Attributes
    ----------
    layers : tuple of LayerInfo or None
    count : dtype
        Integer width of the phases' counts.
    groups : dict of str to GrowingGroup
        Path below the run -> group; phases in the order of their first batch.
    outputs : dict of str to OutputInfo
        By phase.
    gradients : GradientInfo or None
        None until `declare_gradients`.
    ladders : dict of str to Ladder
        The levels of each phase that has any or may get them.
    last_epochs : dict of str to LastEpoch
        By phase, for the root's summary.
    standing : StandingArrays
    """

    __slots__ = (
        "_levels",
        "_no_gradient",
        "_weight",
        "axis",
        "count",
        "gradients",
        "groups",
        "ladders",
        "last_epochs",
        "layers",
        "outputs",
        "path",
        "standing",
    )

    def __init__(
        self, path: Path | str, axis: Axis, *, levels: bool = True, weight: str = "elements"
    ) -> None:
        self.path = path
        self.axis = axis
        self.layers: tuple[LayerInfo, ...] | None = None
        self.count = np.dtype("uint32")
        self.groups: dict[str, GrowingGroup] = {}
        self.outputs: dict[str, OutputInfo] = {}
        self.gradients: GradientInfo | None = None
        self.last_epochs: dict[str, LastEpoch] = {}
        self._no_gradient: dict[str, GradientRow] = {}
        self.ladders: dict[str, Ladder] = {}
        self._levels = levels
        self._weight = weight
        self.standing = StandingArrays()
        self.put_root()

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in the order of their first batch."""
        return tuple(path for path in self.groups if "/" not in path)

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return path -> document of every group and array below the root."""
        found = dict(self.standing.documents)
        for group in self.groups.values():
            found |= group.documents()
        for phase, ladder in self.ladders.items():
            if ladder.levels:
                above = (LEVELS_GROUP, f"{LEVELS_GROUP}/{phase}")
                found |= {path: group_document({}) for path in above}
            for level in ladder.levels:
                found |= level.documents()
        return found

    def write_chunks(self, files: RunFiles) -> None:
        """Write every chunk file that the disk does not have as it is here.

        Raises
        ------
        StoreWriteError
            A file cannot be written; what is missing stays in memory.
        """
        self.standing.write(files)
        self._grow_levels(files)
        for group in self.groups.values():
            group.write_chunks(files)
        for ladder in self.ladders.values():
            for level in ladder.levels:
                level.write_chunks(files)

    def declare_layers(self, layers: Sequence[LayerInfo]) -> None:
        """Fix the layer dimension; once, before the first batch.

        On a resumed run the same layers may be declared again.

        Raises
        ------
        ValueError
            No layer, a name twice, or other layers than the run has.
        """
        names = [layer.name for layer in layers]
        if self.layers is not None:
            had = [layer.name for layer in self.layers]
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
        self.set_layers(tuple(layers))

    def declare_output(self, phase: str, info: OutputInfo) -> None:
        """Say what the labelled group of `phase` is about, before its first window.

        Raises
        ------
        ValueError
            An unknown task, no units, or another output than declared before.
        """
        if info.task not in TASKS:
            raise ValueError(f"task {info.task!r} is not one of {', '.join(TASKS)}")
        known = self.outputs.get(phase)
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
        variables = named_output_variables(info)
        group = self.make_output_group(path, info)
        group.declare(v for v in variables.values() if v.dims[-1] == "window")
        self.groups[path] = group
        self.outputs[phase] = info

    def declare_gradients(self, info: GradientInfo) -> None:
        """Say which parameters have gradients, before the first batch that has one.

        Raises
        ------
        ValueError
            Other parameters or bins than the run has.
        """
        known = self.gradients
        if known is None or not known.parameters:
            self.gradients = info  # or it had gradients of outputs alone so far
            return
        if (known.parameters, known.sharded, known.axis) != (
            info.parameters,
            info.sharded,
            info.axis,
        ):
            names = {p.name for p in known.parameters} ^ {p.name for p in info.parameters}
            odd = ", ".join(map(repr, sorted(names)[:5])) or "their shapes, bins or sharding differ"
            raise ValueError(
                f"run {str(self.path)!r} has the gradients of {len(known.parameters)} parameters "
                f"and got {len(info.parameters)} others: {odd}; the parameters of a run never "
                "change: record into a new run"
            )

    def append_batches(self, rows: BatchRows, files: RunFiles) -> None:
        """Add batches to their phase, each whole or not at all; committed later.

        Raises
        ------
        ValueError
            No layers declared yet, a phase's or logged name that cannot be
            recorded, or arrays of another shape than the run's. None is added.
        OverflowError
            A count beyond the run's integers. None is added.
        StoreWriteError
            A full chunk cannot be written; try again later with the batches
            beyond `n_batches`.
        """
        group = self._phase(rows.phase)
        if rows.sampled is not None and not group.length and SAMPLED.name not in group:
            group.declare([SAMPLED])
        if (rows.sampled is not None) != (SAMPLED.name in group):
            was = "sampled" if SAMPLED.name in group else "read whole"
            raise ValueError(f"phase {rows.phase!r} was {was} so far; it stays so in a run")
        for name in dict.fromkeys(name for logged in rows.logged for name in logged):
            if name not in group or name in PHASE:
                check_name(name, "logged variable")
                variable = Variable(name, ("batch",), "float64", f"{name}, as logged by the user")
                if group.length:
                    group.declare_late(variable, files)
                else:
                    group.declare([variable])
        values: dict[str, NDArray[Any]] = {
            name: np.array([logged.get(name, np.nan) for logged in rows.logged])
            for name in group.names
            if name not in PHASE
        }
        values |= zip(_COUNTER_NAMES, rows.counters, strict=True)
        values |= zip(_MOMENT_NAMES, rows.moments, strict=True)
        values |= {name: np.asarray(getattr(rows, name)) for name in _ROW_NAMES}
        if rows.sampled is not None:
            values[SAMPLED.name] = rows.sampled
        together = [(group, values)]
        for name, parts in (
            (GRADIENT_GROUP, rows.gradient),
            (OUTPUT_GRADIENT_GROUP, rows.output_gradient),
        ):
            found = self._gradient_group(rows.phase, name, parts, files)
            if found is not None:
                none = self._no_gradient[name]
                whole = [part or none for part in parts or [None] * len(rows)]
                together.append((found, gradient_values(whole)))
        before = group.length
        try:
            append_together(together, len(rows), files, lambda: self._grow_levels(files))
        finally:
            added = group.length - before
            if added:
                last = added - 1
                group.attributes.update(
                    last_step=int(rows.step[last]), last_epoch=int(rows.epoch[last])
                )
                self.last_epochs[rows.phase] = self._last_epoch(rows.phase).with_batches(
                    *(np.asarray(part)[:added] for part in (rows.epoch, rows.loss, rows.samples))
                )

    def append_windows(self, rows: WindowRows, files: RunFiles) -> None:
        """Add windows of one group, each whole or not at all; committed later.

        Raises
        ------
        ValueError
            An undeclared group, missing or unknown variables, other shapes. None
            is added.
        OverflowError
            A count beyond the run's integers. None is added.
        StoreWriteError
            A full chunk cannot be written; try again later.
        """
        path = f"{rows.phase}/{rows.group}"
        if rows.group == UNIT_GROUP and path not in self.groups:
            self._phase(rows.phase)
            unit = self.make_unit_group(path)
            unit.declare(v for v in UNIT.values() if v.dims[-1] == "window")
            self.groups[path] = unit
        group = self.groups.get(path)
        if group is None:
            raise ValueError(f"group {path!r} takes no windows; declare its output first")
        batches = np.asarray(rows.batches)
        ends = self.n_batches(rows.phase) - np.asarray(rows.later)
        for n, end in zip(batches.tolist(), ends.tolist(), strict=True):
            if not 0 < n <= end:
                raise ValueError(
                    f"a window of {n} batches cannot end at batch {end} of {rows.phase!r}"
                )
        values: dict[str, NDArray[Any]] = dict(rows.values)
        values.update(first_batch=ends - batches, batches=batches, epoch=np.asarray(rows.epoch))
        if set(values) != set(group.names):
            raise ValueError(
                f"a window of {path!r} has the variables {', '.join(sorted(group.names))}; "
                f"got {', '.join(sorted(values))}"
            )
        before = group.length
        try:
            append_together([(group, values)], len(rows), files)
        finally:
            added = group.length - before
            labelled = rows.group == OUTPUT_GROUP and self.outputs[rows.phase].task != "regression"
            if added and labelled:
                self.last_epochs[rows.phase] = self._last_epoch(rows.phase).with_windows(
                    np.asarray(rows.epoch)[:added],
                    {name: value[:added] for name, value in rows.values.items()},
                )

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        """Phase -> batches, epochs and how the last one went, as JSON holds it."""
        found = {}
        for phase in self.phases:
            group = self.groups[phase]
            last = group.attributes.get("last_epoch")
            epochs = 0 if last is None else last + 1
            went = self._last_epoch(phase).to_dict()
            found[phase] = {"batches": group.length, "epochs": epochs, **went}
        return found

    def _last_epoch(self, phase: str) -> LastEpoch:
        return self.last_epochs.get(phase, LastEpoch())

    def n_batches(self, phase: str) -> int:
        """Return how many batches `phase` has, those not yet committed included."""
        group = self.groups.get(phase)
        return group.length if group else 0

    def set_layers(self, layers: tuple[LayerInfo, ...]) -> None:
        """Fix the layers and with them the width of counts."""
        self.layers = layers
        elements = max(int(np.prod(layer.shape, dtype=object)) for layer in layers)
        self.count = _count_dtype(elements * SAFE_SAMPLES)
        self.put_root()

    def put_root(self) -> None:
        """Put the root's arrays: the layers, none before they are declared, and the bins."""
        layers = self.layers or ()
        values: dict[str, Any] = {
            "layer": [layer.name for layer in layers],
            "layer_type": [layer.type for layer in layers],
            "layer_shape": ["x".join(str(int(n)) for n in layer.shape) for layer in layers],
            "layer_order": np.array([layer.order for layer in layers], np.int32),
            "layer_units": np.array([layer.units for layer in layers], np.int32),
            "bin_left": self.axis.left,
            "bin_right": self.axis.right,
        }
        for name, variable in _ROOT.items():
            self.standing.put("", variable, values[name])

    def _phase(self, phase: str) -> GrowingGroup:
        group = self.groups.get(phase)
        if group is None:
            check_name(phase, "phase")
            if self.layers is None:
                raise ValueError(f"phase {phase!r} has no layers yet; call declare_layers first")
            group = self.make_phase(phase)
            group.declare(PHASE_VARIABLES)
            self.groups[phase] = group
            if self._levels:
                self.ladders[phase] = self.make_ladder(group)
        return group

    def _grow_levels(self, files: RunFiles) -> None:
        for ladder in self.ladders.values():
            ladder.grow(files)

    def make_ladder(self, phase: GrowingGroup) -> Ladder:
        """Return a phase's levels, none yet."""
        return Ladder(
            phase,
            lambda factor, largest: self.make_level(phase.path, factor, largest),
            self._weight,
        )

    def make_level(self, phase: str, factor: int, largest: int = 0) -> GrowingGroup:
        """Return a level's group without arrays yet.

        Parameters
        ----------
        phase : str
        factor : int
            Batches in a column.
        largest : int
            A count that it must hold, whatever the layers' shapes let expect.
        """
        sizes = {"layer": len(self.layers or ()), "bin": self.axis.n_bins}
        elements = max(math.prod(layer.shape) for layer in self.layers or ())
        count = _count_dtype(max(elements * SAFE_SAMPLES * factor, largest))
        return GrowingGroup(
            level_path(phase, factor), sizes, count, {"factor": factor}, LEVEL_SHARD_BYTES
        )

    def make_phase(self, phase: str) -> GrowingGroup:
        """Return a phase's group without arrays yet."""
        sizes = {"layer": len(self.layers or ()), "bin": self.axis.n_bins}
        return GrowingGroup(phase, sizes, self.count, {"last_step": None, "last_epoch": None})

    def _gradient_group(
        self, phase: str, name: str, parts: Sequence[GradientRow | None], files: RunFiles
    ) -> GrowingGroup | None:
        """Return a phase's gradient group, None before its first gradient."""
        path = f"{phase}/{name}"
        group = self.groups.get(path)
        if group is None and any(part is not None and part.seen for part in parts):
            group = self.make_gradient_group(path, name)
            group.length = self.n_batches(phase)
            for variable in growing_variables(name).values():
                if group.length:
                    group.declare_late(variable, files)
                else:
                    group.declare([variable])
            self.put_gradient_lists(path, name)
            self.groups[path] = group
        return group

    def make_gradient_group(self, path: str, name: str) -> GrowingGroup:
        """Return a gradient group without arrays yet.

        Raises
        ------
        ValueError
            The gradients are not declared.
        """
        info = self.gradients
        if info is None:
            raise ValueError(f"group {path!r} takes no gradients; call declare_gradients first")
        if name == GRADIENT_GROUP:
            dim, n = "parameter", len(info.parameters)
            count = _count_dtype(max((p.elements for p in info.parameters), default=0))
        else:
            dim, n, count = "layer", len(self.layers or ()), self.count
        self._no_gradient[name] = GradientRow.empty(n, info.axis.n_bins)
        sizes = {dim: n, "gradient_bin": info.axis.n_bins}
        return GrowingGroup(path, sizes, count, gradient_attributes(name, info))

    def put_gradient_lists(self, path: str, name: str) -> None:
        """Put a gradient group's lists of names and edges."""
        info = self.gradients
        if info is None:
            return
        values: dict[str, Any] = {
            "parameter": [p.name for p in info.parameters],
            "parameter_shape": ["x".join(map(str, p.shape)) for p in info.parameters],
            "gradient_bin_left": info.axis.left,
            "gradient_bin_right": info.axis.right,
        }
        for variable in gradient_variables(name):
            if variable.name in values:
                self.standing.put(path, variable, values[variable.name])

    def make_output_group(self, path: str, info: OutputInfo) -> GrowingGroup:
        """Return an output group without arrays yet, and put its lists of names."""
        sizes = {
            "output_unit": len(info.units),
            "target_class": len(info.classes),
            "role": len(info.roles),
            "bin": self.axis.n_bins,
        }
        attributes = {
            "task": info.task,
            "layer": info.layer,
            "threshold": info.threshold if np.isfinite(info.threshold) else None,
        }
        variables = named_output_variables(info)
        for name, texts in (
            ("output_unit", info.units),
            ("role", info.roles),
            ("target_class", info.classes),
        ):
            if name in variables:
                self.standing.put(path, variables[name], texts)
        count = _count_dtype(len(info.units) * SAFE_WINDOW)
        return GrowingGroup(path, sizes, count, attributes)

    def make_unit_group(self, path: str) -> GrowingGroup:
        """Return a unit group without arrays yet, and put its lists of units.

        Raises
        ------
        ValueError
            No layer has units.
        """
        units = [layer.units for layer in self.layers or ()]
        if not sum(units):
            raise ValueError("no layer of this run has units, so it takes no windows of units")
        layer = np.repeat(np.arange(len(units)), units)
        channel = np.concatenate([np.arange(n) for n in units])
        self.standing.put(path, UNIT["unit_layer"], layer)
        self.standing.put(path, UNIT["unit_channel"], channel)
        return GrowingGroup(path, {"unit": sum(units)}, self.count)
