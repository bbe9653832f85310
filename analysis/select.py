"""Which part of a run a question is about: phases, layers, epochs, windows.

The one place where names become indices and epochs become batches. Imports
NumPy and xarray; loads nothing but names, ``epoch``, ``first_batch`` and
``batches``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis.step_windows import (
    TRAIN,
    StepWindows,
    Window,
    check_window,
    step_windows,
)
from actrace.errors import LayerNotFoundError, NotARunError, NotRecordedError, PhaseNotFoundError
from actrace.store.names import close_to, listed, matching_layers
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP

__all__ = [
    "EpochBatches",
    "Window",
    "bin_edges",
    "epoch_batches",
    "epochs",
    "layer_names",
    "output_layer",
    "phase_names",
    "root",
    "select_layer",
    "select_layers",
    "select_phases",
    "unit_parts",
    "window_indices",
    "windowed",
    "within",
]

#: Usual phases first, in the order in which a loop meets them; others by name.
_USUAL: Final = ("train", "valid", "test")

_NO_WINDOW: Final = "phase {!r} has recorded nothing of its units yet; ask when it has a batch"


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """The batches of one epoch, or window, of one phase that a question is about.

    Attributes
    ----------
    epoch : int
        Of windows their number.
    batches : ndarray of int64
        Indices along the phase's batch dimension, increasing, at least one.
    """

    epoch: int
    batches: NDArray[np.int64]

    @property
    def indexer(self) -> slice | NDArray[np.int64]:
        """What to index the batch dimension with: a slice wherever one will do."""
        first, last = int(self.batches[0]), int(self.batches[-1])
        if last - first + 1 == len(self.batches):
            return slice(first, last + 1)
        return self.batches


def root(run: xr.DataTree) -> xr.DataTree:
    """Return the run, checked to have the schema's root variables.

    Raises
    ------
    NotARunError
        `run` is something else than a DataTree of the schema.
    """
    if not isinstance(run, xr.DataTree):
        raise NotARunError(
            f"expected a run, got {type(run).__name__}; open one with actrace.open(path)"
        )
    missing = [name for name in ("layer", "bin_left", "bin_right") if name not in run.variables]
    if missing:
        raise NotARunError(
            f"this tree is no run of actrace: its root has no {', '.join(missing)}; "
            "give the whole run, as actrace.open(path) returns it, not one of its groups"
        )
    return run


def phase_names(run: xr.DataTree) -> tuple[str, ...]:
    """Return the names of the run's phases, train and valid first."""
    names = [name for name, child in root(run).children.items() if "count" in child.data_vars]
    return tuple(
        sorted(names, key=lambda name: (_USUAL.index(name) if name in _USUAL else 9, name))
    )


def select_phases(run: xr.DataTree, phases: str | Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the phases asked for, all of them for None.

    Raises
    ------
    PhaseNotFoundError
        A phase that the run does not have; the message lists those it has.
    """
    known = phase_names(run)
    if phases is None:
        return known
    asked = (phases,) if isinstance(phases, str) else tuple(phases)
    for name in asked:
        if name not in known:
            raise PhaseNotFoundError(
                f"phase {name!r} is not in this run; "
                + (f"it has {listed(known)}" if known else "it has none yet")
                + close_to(name, known)
            )
    return tuple(dict.fromkeys(asked))


def layer_names(run: xr.DataTree) -> tuple[str, ...]:
    """Return the names along the layer dimension, in the store's order."""
    return tuple(str(name) for name in _numbers(root(run), "layer"))


def select_layers(run: xr.DataTree, layers: str | Iterable[str] | None = None) -> NDArray[np.int64]:
    """Return the indices of the layers asked for, in the store's order.

    Parameters
    ----------
    run : DataTree
    layers : str or iterable of str, optional
        Names or shell patterns (``conv*``, ``*.fc?``); None is all layers. A name
        that is a layer's own is taken as it stands, also where it holds brackets
        (``lstm[0]``).

    Raises
    ------
    LayerNotFoundError
        A name or pattern that fits none; the message lists what there is.
    """
    names = layer_names(run)
    if layers is None:
        return np.arange(len(names), dtype=np.int64)
    asked = (layers,) if isinstance(layers, str) else tuple(layers)
    found = {at for pattern in asked for at in matching_layers(names, pattern)}
    return np.array(sorted(found), dtype=np.int64)


def select_layer(run: xr.DataTree, layer: str | None = None) -> str:
    """Return the name of the one layer asked for, the output layer for None.

    Raises
    ------
    LayerNotFoundError
        No layer fits, or several do.
    NotRecordedError
        None was asked for and the run does not know its output layer.
    """
    if layer is None:
        return output_layer(run)
    names = layer_names(run)
    fits = select_layers(run, layer)
    if len(fits) > 1:
        raise LayerNotFoundError(
            f"layer {layer!r} fits {len(fits)} layers: {listed([names[i] for i in fits])}; "
            "name one of them"
        )
    return names[int(fits[0])]


def output_layer(run: xr.DataTree) -> str:
    """Return the name of the run's output layer.

    Raises
    ------
    NotRecordedError
        The recorder saw no layer whose output is the model's.
    """
    name = root(run).attrs.get("output_layer")
    if name is None or name not in layer_names(run):
        made = f", which is {name!r}" if name else ""
        raise NotRecordedError(
            f"no recorded layer's output is the model's own{made}: a function after the last layer "
            "makes it, or the layer was left out; name a layer with layer=, or record with "
            "output='its name'"
        )
    return str(name)


def bin_edges(run: xr.DataTree) -> NDArray[np.float64]:
    """Return the run's bin edges, shape (n_bins + 1,), float64, activation units."""
    tree = root(run)
    left, right = _numbers(tree, "bin_left"), _numbers(tree, "bin_right")
    return np.append(left, right[-1]).astype(np.float64)


def epochs(run: xr.DataTree, phase: str) -> NDArray[np.int64]:
    """Return the epochs of a phase that hold a batch, increasing."""
    (name,) = select_phases(run, phase)
    return grouped(_numbers(run.children[name], "epoch"))[0]


def epoch_batches(run: xr.DataTree, phase: str, *, window: Window = "chart") -> list[EpochBatches]:
    """Return for each epoch, or window, of a phase its batches.

    Parameters
    ----------
    run : DataTree
    phase : str
    window : "chart", "epoch", int or (int, int), default "chart"
        By name as in `step_windows.NAMED`: of n training batches of an epoch the chart takes
        those from index 3n // 4 on, so at least one. Or windows of so many training
        batches; or one, from step to step. What belongs to one: `StepWindows.numbers`.

    Raises
    ------
    PhaseNotFoundError, ValueError
    """
    check_window(window)
    (name,) = select_phases(run, phase)
    if isinstance(window, str):
        number = _numbers(run.children[name], "epoch")
        known = np.ones(len(number), dtype=bool)
    else:
        windows = _step_windows(run, window)
        number = windows.numbers(name, _numbers(run.children[name], "step"))
        known = (number >= 0) & (number < len(windows))
    at = np.flatnonzero(known)
    return [
        EpochBatches(int(value), _tail(at[batches], name, window))
        for value, batches in zip(*grouped(number[at]), strict=True)
    ]


def window_indices(
    run: xr.DataTree, phase: str, group: str, *, window: Window = "chart"
) -> dict[int, NDArray[np.int64]]:
    """Return for each epoch, or window, the indices along a group's window dimension.

    Of an epoch a stored window belongs if it starts at or after the first batch that
    `epoch_batches` takes; the epoch's last window always belongs. Of windows of steps one
    belongs if all of its batches do, and none may lie across an edge.

    Parameters
    ----------
    run : DataTree
    phase : str
    group : {"output", "unit"}
    window : "chart", "epoch", int or (int, int), default "chart"

    Raises
    ------
    NotRecordedError
        The phase has no such group, or stored windows lie across the edges.
    """
    check_window(window)
    (name,) = select_phases(run, phase)
    if group not in run.children[name].children:
        needs = {
            OUTPUT_GROUP: "targets: record with criterion=, or call recorder.log(target=...)",
            UNIT_GROUP: "layers with units (channels or neurons)",
        }
        raise NotRecordedError(
            f"phase {name!r} has no {group!r} group, which needs {needs.get(group, group)}"
        )
    node = run.children[name].children[group]
    if not isinstance(window, str):
        return _indices_by_step(run, name, node, window)
    first, epoch = _numbers(node, "first_batch"), _numbers(node, "epoch")
    cut = {part.epoch: part.batches[0] for part in epoch_batches(run, name, window=window)}
    chosen: dict[int, NDArray[np.int64]] = {}
    for value, indices in zip(*grouped(epoch), strict=True):
        start = cut.get(int(value), first[indices].min())
        inside = indices[first[indices] >= start]
        chosen[int(value)] = inside if len(inside) else indices[-1:]
    return chosen


def within(
    run: xr.DataTree, names: tuple[str, ...], window: Window, *, all_of_them: bool
) -> tuple[str, ...]:
    """Return those of the phases that have a batch in the window.

    Parameters
    ----------
    all_of_them : bool
        Whether a phase that has none is an error, as one is that was asked for by name.

    Raises
    ------
    NotRecordedError
        None has a batch there, or one that must has not.
    """
    held = tuple(name for name in names if epoch_batches(run, name, window=window))
    missing = [name for name in names if name not in held]
    if missing and (all_of_them or not held):
        known = {name: _numbers(run.children[name], "step") for name in missing}
        where = ""
        if isinstance(window, (tuple, list)):
            where = f" in steps {window[0]} to {window[1]}"
        there = [
            f"{name!r} has " + (f"steps {step[0]} to {step[-1]}" if len(step) else "none at all")
            for name, step in known.items()
        ]
        raise NotRecordedError(
            f"no batch of phase {' nor '.join(map(repr, missing))} was recorded{where}: "
            + ", ".join(there)
        )
    if not held:
        raise NotRecordedError("no batch was recorded yet, so there is nothing to answer from")
    return held


def windowed(found: xr.Dataset, run: xr.DataTree, window: Window) -> xr.Dataset:
    """Return an answer by epoch as one by window, where windows of steps were asked for.

    Parameters
    ----------
    found : Dataset with dim ``epoch``, which then numbers the windows

    Returns
    -------
    Dataset with dim ``window`` and beside it ``step`` and ``last_step``, those between which
    the training was, and ``epoch``, that of the first; what was given for a window by name.
    """
    if isinstance(window, str):
        return found.assign_attrs(window=window)
    windows = _step_windows(run, window)
    at = found["epoch"].to_numpy()
    node = run.children[windows.phase]
    step, epoch = _numbers(node, "step"), _numbers(node, "epoch")
    start, stop = windows.edges[at], windows.edges[at + 1]
    if windows.length is None:
        first = np.minimum(np.searchsorted(step, start), len(step) - 1)
    else:
        first = at * windows.length
    coords = {"step": start, "last_step": stop - 1, "epoch": epoch[first]}
    renamed = found.rename(epoch="window").assign_coords(
        {name: ("window", values) for name, values in coords.items()}
    )
    return renamed.assign_attrs(
        window=list(window) if isinstance(window, (tuple, list)) else window
    )


def unit_parts(run: xr.DataTree, phase: str, by: str | int) -> dict[int, NDArray[np.int64]]:
    """Return the stored windows of the unit group by the window that is asked about.

    Parameters
    ----------
    run : DataTree
    phase : str
    by : "epoch" or int
        The window: an epoch, or so many batches of the phase, counted from its first.

    Returns
    -------
    dict of int to ndarray
        Epoch, or number of the window -> indices along the group's window dimension.

    Raises
    ------
    NotRecordedError
        The phase has no units, or no batch of them yet.
    ValueError
        Another `by`, or fewer batches than a stored window has.
    """
    if by == "epoch":
        parts = window_indices(run, phase, UNIT_GROUP, window="epoch")
        if not parts:
            raise NotRecordedError(_NO_WINDOW.format(phase))
        return parts
    if isinstance(by, bool) or not isinstance(by, (int, np.integer)) or by < 1:
        raise ValueError(f"by must be 'epoch' or a number of batches from 1, got {by!r}")
    window_indices(run, phase, UNIT_GROUP)  # the phase has units
    node = run.children[phase].children[UNIT_GROUP]
    first, batches = _numbers(node, "first_batch"), _numbers(node, "batches")
    if not len(first):
        raise NotRecordedError(_NO_WINDOW.format(phase))
    longest = int(batches.max(initial=1))
    if longest > by:
        raise ValueError(
            f"units of phase {phase!r} were recorded in windows of up to {longest} batches, so "
            f"their activity in windows of {by} cannot be told; ask for {longest} or more"
        )
    number = first // by
    return {int(n): np.flatnonzero(number == n).astype(np.int64) for n in np.unique(number)}


def grouped(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the different numbers, increasing, and where each stands.

    Examples
    --------
    >>> values, places = grouped(np.array([4, 4, 7]))
    >>> values.tolist(), [at.tolist() for at in places]
    ([4, 7], [[0, 1], [2]])
    """
    order = np.arange(len(numbers), dtype=np.int64)
    if (np.diff(numbers) < 0).any():  # epochs mostly rise, and sorting a million takes a while
        order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.append(True, np.diff(ordered) != 0)) if len(ordered) else order
    values: NDArray[np.int64] = ordered[starts].astype(np.int64)
    return values, np.split(order, starts[1:]) if len(starts) else []


def _numbers(node: xr.DataTree, name: str) -> NDArray[Any]:
    return node.dataset[name].to_numpy()


def _tail(batches: NDArray[np.int64], phase: str, window: Window) -> NDArray[np.int64]:
    return batches[3 * len(batches) // 4 :] if (window, phase) == ("chart", TRAIN) else batches


def _step_windows(run: xr.DataTree, window: int | tuple[int, int]) -> StepWindows:
    names = phase_names(run)
    phase = TRAIN if TRAIN in names else names[0]
    return step_windows(window, phase, _numbers(run.children[phase], "step"))


def _indices_by_step(
    run: xr.DataTree, phase: str, node: xr.DataTree, window: int | tuple[int, int]
) -> dict[int, NDArray[np.int64]]:
    """Return `window_indices` of windows of steps, none of whose edges may cut a stored one."""
    first, batches = _numbers(node, "first_batch"), _numbers(node, "batches")
    step = _numbers(run.children[phase], "step")
    last = np.minimum(first + batches, len(step)) - 1

    def cut(asked: int | tuple[int, int]) -> bool:
        number = _step_windows(run, asked).numbers(phase, step)
        return bool((number[first] != number[last]).any())

    if cut(window):
        longest = int((last - first + 1).max())
        if isinstance(window, (tuple, list)):
            # A window of training ends before the batch of a step, another phase's after it.
            ends = np.append(step[first], step[-1] + 1) if phase == TRAIN else step[last]
            what = f"{window[0]} to {window[1]} cut some of them"
            hint = " and ".join(_nearest(edge, ends) for edge in window)
        else:
            longer = [longest * 2**k for k in range(len(step).bit_length())]
            fits = [n for n in longer if n <= len(step) and not cut(n)]
            what = f"windows of {window} batches cut some of them"
            hint = f"{fits[0]:,}" if fits else "whole epochs, window='epoch'"
        raise NotRecordedError(
            f"the {node.name} group of phase {phase!r} was recorded in windows of up to {longest} "
            f"batches, and {what}; ask for {hint}"
        )
    windows = _step_windows(run, window)
    number = windows.numbers(phase, step)[first]
    inside = (number >= 0) & (number < len(windows))
    return {int(n): np.flatnonzero(number == n).astype(np.int64) for n in np.unique(number[inside])}


def _nearest(edge: int, ends: NDArray[np.int64]) -> str:
    """Return the ends next to an edge, in words."""
    below, above = ends[ends <= edge], ends[ends >= edge]
    near = sorted({int(some) for some in (below.max(initial=0), *above[:1])})
    return " or ".join(map(str, near))
