"""The contents of a run as its last commit left them, for a writer that goes on.

Reads the root document's word alone: what a killed writer put on disk beyond it
is cut away. May import NumPy.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from actrace.errors import DamagedRunError, NewerSchemaError, RemoteError
from actrace.store.axis import Axis
from actrace.store.catalogue.last_epoch import LastEpoch
from actrace.store.contents import PHASE, UNIT, RunContents, named_output_variables
from actrace.store.files import RunFiles
from actrace.store.gradients import growing_variables, info_from
from actrace.store.group import GrowingGroup
from actrace.store.layout import decode_chunk, decode_strings
from actrace.store.levels.ladder import FIRST, STEP, factors
from actrace.store.levels.rules import weight_of
from actrace.store.manifest import Manifest
from actrace.store.paths import ROOT_DOCUMENT
from actrace.store.rows import LayerInfo, OutputInfo
from actrace.store.schema import (
    GRADIENT_GROUP,
    GRADIENT_GROUPS,
    LEVEL_VARIABLES,
    OUTPUT_GROUP,
    SAMPLED,
    UNIT_GROUP,
    Variable,
)

__all__ = ["remove_uncommitted", "restore_contents"]


def restore_contents(manifest: Manifest, axis: Axis, files: RunFiles) -> RunContents:
    """Return the run's contents with its unfinished chunks in memory.

    Raises
    ------
    DamagedRunError
        Something that was committed is missing or damaged.
    RemoteError
        An object store does not answer.
    NewerSchemaError
        The run holds what this version would not go on writing.
    """
    where = manifest.place or manifest.directory
    contents = RunContents(where, axis, weight=weight_of(manifest.attributes))
    try:
        layers = _layers(manifest, files)
        if layers:
            contents.set_layers(layers)
        for phase in manifest.phases:
            attributes = manifest.groups.get(f"{phase}/{OUTPUT_GROUP}")
            if attributes is not None:
                contents.outputs[phase] = _output(manifest, files, phase, attributes)
        _find_gradients(contents, manifest, files)
    except RemoteError:
        raise
    except (KeyError, OSError, ValueError) as error:
        raise DamagedRunError(
            f"{manifest.where} cannot be resumed: its layers, outputs or "
            f"gradients cannot be read ({error}); restore it from a copy or record into a new run"
        ) from error
    for phase in manifest.phases:
        _restore_phase(contents, manifest, files, phase)
        contents.last_epochs[phase] = _last_epoch(manifest, phase)
    _keep_unknown(contents, manifest)
    unknown = sorted((set(manifest.groups) | set(manifest.arrays)) - set(contents.documents()))
    if unknown:
        # Going on without them would leave the run's parts of different length.
        raise NewerSchemaError(
            f"{manifest.where} cannot be resumed: it holds {unknown[0]!r}, which "
            "this actrace does not write; resume it with the version that began it "
            f"({manifest.attributes.get('actrace_version')}) or a later one"
        )
    return contents


def _keep_unknown(contents: RunContents, manifest: Manifest) -> None:
    """Take over what this version does not write itself and what does not grow.

    Attributes of known arrays that others have set, arrays of a fixed size, and
    groups of such alone.
    """
    standing = contents.standing.documents
    for path, document in standing.items():
        if path in manifest.arrays:
            document["attributes"] |= manifest.arrays[path].attributes
    known = set(contents.documents())
    nodes = json.loads(manifest.text)["consolidated_metadata"]["metadata"]
    growing = [path for path, entry in manifest.arrays.items() if entry.grows]
    for path in {*manifest.groups, *manifest.arrays} - known:
        if not any(f"{one}/".startswith(f"{path}/") for one in growing):
            standing[path] = nodes[path]


def remove_uncommitted(manifest: Manifest) -> None:
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


def _names(manifest: Manifest, files: RunFiles, path: str) -> list[str]:
    if manifest.arrays[path].shape == (0,):
        return []
    data = files.read(f"{path}/c/0")
    return decode_strings(data, f"{manifest.where}: {path!r}")


def _numbers(manifest: Manifest, files: RunFiles, path: str) -> list[int]:
    entry = manifest.arrays[path]
    data = files.read(f"{path}/c/0")
    what = f"{manifest.where}: {path!r}"
    return [int(n) for n in decode_chunk(data, np.dtype(entry.dtype), entry.shape, what)]


def _layers(manifest: Manifest, files: RunFiles) -> tuple[LayerInfo, ...]:
    names = _names(manifest, files, "layer")
    if not names:
        return ()
    rows = zip(
        names,
        _names(manifest, files, "layer_type"),
        _names(manifest, files, "layer_shape"),
        _numbers(manifest, files, "layer_order"),
        _numbers(manifest, files, "layer_units"),
        strict=True,
    )
    return tuple(
        LayerInfo(name, kind, tuple(int(n) for n in text.split("x") if n), order, units)
        for name, kind, text, order, units in rows
    )


def _output(
    manifest: Manifest, files: RunFiles, phase: str, attributes: Mapping[str, Any]
) -> OutputInfo:
    path = f"{phase}/{OUTPUT_GROUP}"
    regression = attributes["task"] == "regression"
    threshold = attributes["threshold"]
    return OutputInfo(
        str(attributes["layer"]),
        str(attributes["task"]),
        () if regression else tuple(_names(manifest, files, f"{path}/target_class")),
        tuple(_names(manifest, files, f"{path}/output_unit")),
        float("nan") if threshold is None else float(threshold),
    )


def _last_epoch(manifest: Manifest, phase: str) -> LastEpoch:
    """Return how the phase's last epoch went so far, as far as the run says so."""
    last = manifest.groups[phase].get("last_epoch")
    try:
        found = manifest.attributes["summary"]["phases"][phase]
        if found["batches"] == manifest.length(phase):
            return LastEpoch.from_dict(found)
    except (KeyError, TypeError, ValueError):
        pass  # a run of before there was a summary
    return LastEpoch() if last is None else LastEpoch.unknown(last)


def _find_gradients(contents: RunContents, manifest: Manifest, files: RunFiles) -> None:
    """Learn from the phases' groups which gradients the run has."""
    for name in GRADIENT_GROUPS:
        for phase in manifest.phases:
            path = f"{phase}/{name}"
            if path not in manifest.groups or contents.gradients is not None:
                continue
            by_parameter = name == GRADIENT_GROUP
            contents.declare_gradients(
                info_from(
                    _names(manifest, files, f"{path}/parameter") if by_parameter else (),
                    _names(manifest, files, f"{path}/parameter_shape") if by_parameter else (),
                    manifest.groups[path],
                )
            )


def _restore_phase(contents: RunContents, manifest: Manifest, files: RunFiles, phase: str) -> None:
    entry = manifest.arrays.get(f"{phase}/count")
    if entry is not None:
        # The committed width stays, whatever a later version would choose.
        contents.count = np.dtype(entry.dtype)
    _restore_group(contents, manifest, files, contents.make_phase(phase), PHASE)
    path = f"{phase}/{OUTPUT_GROUP}"
    if path in manifest.groups:
        info = contents.outputs[phase]
        group = contents.make_output_group(path, info)
        _restore_group(contents, manifest, files, group, named_output_variables(info))
    path = f"{phase}/{UNIT_GROUP}"
    if path in manifest.groups:
        _restore_group(contents, manifest, files, contents.make_unit_group(path), UNIT)
    _restore_levels(contents, manifest, files, phase)
    for name in GRADIENT_GROUPS:
        path = f"{phase}/{name}"
        if path in manifest.groups:
            gradient = contents.make_gradient_group(path, name)
            contents.put_gradient_lists(path, name)
            _restore_group(contents, manifest, files, gradient, growing_variables(name))


def _restore_levels(contents: RunContents, manifest: Manifest, files: RunFiles, phase: str) -> None:
    ladder = contents.make_ladder(contents.groups[phase])
    variables = {v.name: v for v in (*LEVEL_VARIABLES, SAMPLED)}
    for at, factor in enumerate(factors(manifest.groups, phase)):
        if factor != FIRST * STEP**at:
            # Left to the check for what this version does not write.
            break
        level = contents.make_level(phase, factor)
        level.restore(manifest, variables, files)
        ladder.levels.append(level)
    contents.ladders[phase] = ladder


def _restore_group(
    contents: RunContents,
    manifest: Manifest,
    files: RunFiles,
    group: GrowingGroup,
    variables: Mapping[str, Variable],
) -> None:
    group.attributes |= manifest.groups[group.path]
    group.restore(manifest, variables, files)
    contents.groups[group.path] = group
