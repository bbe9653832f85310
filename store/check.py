"""Whether a run holds what schema 1 says: variables, dims, dtypes, lengths.

Works on the root document alone, before any data is read. Imports the schema
and the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable

from actrace.errors import AxisError, DamagedRunError
from actrace.store.axis import axis_from_dict
from actrace.store.levels.ladder import FIRST, factors, level_path
from actrace.store.manifest import ArrayEntry, Manifest
from actrace.store.rewriting.marks import ATTRIBUTE, thinned_cells
from actrace.store.schema import (
    COUNT,
    GRADIENT_GROUPS,
    LEVEL_VARIABLES,
    OUTPUT_GROUP,
    PHASE_VARIABLES,
    ROOT_VARIABLES,
    TASKS,
    UNIT_GROUP,
    UNIT_VARIABLES,
    WINDOW_SCALARS,
    Variable,
    gradient_variables,
    output_variables,
)

__all__ = ["check_schema"]


def _fits(variable: Variable, entry: ArrayEntry) -> bool:
    dtypes = ("uint32", "uint64") if variable.dtype == COUNT else (variable.dtype,)
    return entry.dims == variable.dims and entry.dtype in dtypes


def _check_group(manifest: Manifest, group: str, variables: Iterable[Variable]) -> None:
    prefix = f"{group}/" if group else ""
    where = manifest.where
    for variable in variables:
        entry = manifest.arrays.get(prefix + variable.name)
        if entry is None:
            raise DamagedRunError(
                f"{where} is damaged: it lacks {prefix + variable.name!r}, which schema 1 requires"
            )
        if not _fits(variable, entry):
            raise DamagedRunError(
                f"{where} is damaged: {entry.path!r} is {entry.dtype} over {entry.dims}, "
                f"expected {variable.dtype} over {variable.dims}"
            )


def _check_sizes(manifest: Manifest) -> None:
    """Refuse arrays that disagree about the length of a dimension."""
    where = manifest.where
    known: dict[tuple[str, str], tuple[int, str]] = {}
    for entry in manifest.arrays.values():
        group = entry.path.rpartition("/")[0]
        for dim, n in zip(entry.dims, entry.shape, strict=True):
            # Layers and bins are one dimension for the whole run.
            scope = "" if dim in ("layer", "bin") else group
            had, by = known.setdefault((scope, dim), (n, entry.path))
            if had != n:
                raise DamagedRunError(
                    f"{where} is damaged: {entry.path!r} has {n} along {dim!r} and {by!r} has {had}"
                )


def _check_gradients(manifest: Manifest, phase: str, name: str) -> None:
    """Refuse a gradient group that is not in step with its phase, or has other bins."""
    group = f"{phase}/{name}"
    where = manifest.where
    _check_group(manifest, group, gradient_variables(name))
    rows, batches = manifest.length(group), manifest.length(phase)
    if rows != batches:
        raise DamagedRunError(
            f"{where} is damaged: {group!r} has {rows} batches and {phase!r} has {batches}"
        )
    try:
        axis = axis_from_dict(manifest.groups[group].get("axis") or {})
    except (AxisError, TypeError, ValueError) as error:
        raise DamagedRunError(
            f"{where} is damaged: the axis of {group!r} is not valid: {error}"
        ) from error
    n_bins = manifest.arrays[f"{group}/gradient_bin_left"].shape[0]
    if axis.n_bins != n_bins:
        raise DamagedRunError(
            f"{where} is damaged: the axis of {group!r} has {axis.n_bins} bins and its "
            f"'gradient_bin_left' has {n_bins}"
        )


def _check_levels(manifest: Manifest, phase: str) -> None:
    """Refuse a level that is not whole, or longer than its phase."""
    for factor in factors(manifest.groups, phase):
        group = level_path(phase, factor)
        _check_group(manifest, group, LEVEL_VARIABLES)
        columns, batches = manifest.length(group), manifest.length(phase)
        if columns * factor > batches:
            raise DamagedRunError(
                f"{manifest.where} is damaged: {group!r} has {columns} columns of "
                f"{factor} batches and {phase!r} has {batches} batches"
            )


def _check_thinned(manifest: Manifest) -> None:
    """Refuse what was thinned if no level has it."""
    wrong = f"{manifest.where} is damaged: its attribute {ATTRIBUTE!r} is not valid: "
    try:
        found = thinned_cells(manifest.attributes)
    except ValueError as error:
        raise DamagedRunError(f"{wrong}{error}") from error
    for path, marks in found.items():
        phase, _, name = path.rpartition("/")
        if phase not in manifest.phases or name != "count":
            raise DamagedRunError(f"{wrong}{path!r} is no histogram of a phase")
        columns = manifest.length(level_path(phase, FIRST))
        layers = manifest.arrays[path].shape[0]
        for part in marks.parts:
            if any(layer >= layers for layer in part.layers):
                raise DamagedRunError(f"{wrong}{path!r} has {layers} layers")
            if (part.batches % FIRST).any() or part.batches[-1, 1] > columns * FIRST:
                raise DamagedRunError(
                    f"{wrong}of {path!r} it names batches that are in no column of a level"
                )


def check_schema(manifest: Manifest) -> None:
    """Return quietly if the run is a whole one of schema 1.

    Raises
    ------
    DamagedRunError
        A required variable is missing or of another form, or lengths differ.
    """
    where = manifest.where
    _check_group(manifest, "", ROOT_VARIABLES)
    _check_sizes(manifest)
    try:
        axis = axis_from_dict(manifest.attributes.get("axis") or {})
    except (AxisError, TypeError, ValueError) as error:
        raise DamagedRunError(f"{where} is damaged: its axis is not valid: {error}") from error
    n_bins = manifest.arrays["bin_left"].shape[0]
    if axis.n_bins != n_bins:
        raise DamagedRunError(
            f"{where} is damaged: its axis has {axis.n_bins} bins and 'bin_left' has {n_bins}"
        )
    for phase in manifest.phases:
        _check_group(manifest, phase, PHASE_VARIABLES)
        for name in GRADIENT_GROUPS:
            if f"{phase}/{name}" in manifest.groups:
                _check_gradients(manifest, phase, name)
        _check_levels(manifest, phase)
        if f"{phase}/{UNIT_GROUP}" in manifest.groups:
            _check_group(manifest, f"{phase}/{UNIT_GROUP}", (*UNIT_VARIABLES, *WINDOW_SCALARS))
        output = f"{phase}/{OUTPUT_GROUP}"
        if output in manifest.groups:
            task = manifest.groups[output].get("task")
            if task not in TASKS:
                raise DamagedRunError(
                    f"{where} is damaged: {output!r} has task {task!r}, "
                    f"expected one of {', '.join(TASKS)}"
                )
            sizes = [manifest.arrays.get(f"{output}/{n}") for n in ("target_class", "output_unit")]
            n_classes, n_units = (entry.shape[0] if entry else 0 for entry in sizes)
            _check_group(manifest, output, output_variables(task, n_classes, n_units))
    _check_thinned(manifest)
