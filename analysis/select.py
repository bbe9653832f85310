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

from actrace.errors import LayerNotFoundError, NotARunError, NotRecordedError, PhaseNotFoundError
from actrace.store.names import close_to, listed, matching_layers
from actrace.store.schema import OUTPUT_GROUP, UNIT_GROUP

__all__ = [
    "WINDOWS",
    "EpochBatches",
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
]

#: ``chart``: the last quarter of an epoch's batches for phase ``train`` (where the
#: weights move) and all batches of any other. ``epoch``: always all batches.
WINDOWS: Final = ("chart", "epoch")

_TRAIN: Final = "train"
#: Usual phases first, in the order in which a loop meets them; others by name.
_USUAL: Final = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """The batches of one epoch of one phase that a question is about.

    Attributes
    ----------
    epoch : int
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
    return np.unique(_numbers(run.children[name], "epoch").astype(np.int64))


def epoch_batches(run: xr.DataTree, phase: str, *, window: str = "chart") -> list[EpochBatches]:
    """Return for each epoch of a phase the batches of its window.

    Parameters
    ----------
    run : DataTree
    phase : str
    window : {"chart", "epoch"}, default "chart"
        See `WINDOWS`. Of n training batches of an epoch the chart takes those from
        index 3n // 4 on, so at least one.

    Raises
    ------
    PhaseNotFoundError, ValueError
    """
    _check_window(window)
    (name,) = select_phases(run, phase)
    epoch = _numbers(run.children[name], "epoch")
    order = np.argsort(epoch, kind="stable").astype(np.int64)
    values, starts = np.unique(epoch[order], return_index=True)
    return [
        EpochBatches(int(value), _tail(batches, name, window))
        for value, batches in zip(values, np.split(order, starts[1:]), strict=True)
    ]


def window_indices(
    run: xr.DataTree, phase: str, group: str, *, window: str = "chart"
) -> dict[int, NDArray[np.int64]]:
    """Return for each epoch the indices along a group's window dimension.

    A stored window belongs if it starts at or after the first batch that
    `epoch_batches` takes; the epoch's last window always belongs.

    Parameters
    ----------
    run : DataTree
    phase : str
    group : {"output", "unit"}
    window : {"chart", "epoch"}, default "chart"

    Raises
    ------
    NotRecordedError
        The phase has no such group.
    """
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
    first, epoch = _numbers(node, "first_batch"), _numbers(node, "epoch")
    cut = {part.epoch: part.batches[0] for part in epoch_batches(run, name, window=window)}
    chosen: dict[int, NDArray[np.int64]] = {}
    for value in np.unique(epoch):
        indices = np.flatnonzero(epoch == value).astype(np.int64)
        start = cut.get(int(value), first[indices].min())
        inside = indices[first[indices] >= start]
        chosen[int(value)] = inside if len(inside) else indices[-1:]
    return chosen


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
        The phase has no units.
    ValueError
        Another `by`, or fewer batches than a stored window has.
    """
    if by == "epoch":
        return window_indices(run, phase, UNIT_GROUP, window="epoch")
    if isinstance(by, bool) or not isinstance(by, (int, np.integer)) or by < 1:
        raise ValueError(f"by must be 'epoch' or a number of batches from 1, got {by!r}")
    window_indices(run, phase, UNIT_GROUP)  # the phase has units
    node = run.children[phase].children[UNIT_GROUP]
    first, batches = _numbers(node, "first_batch"), _numbers(node, "batches")
    longest = int(batches.max(initial=1))
    if longest > by:
        raise ValueError(
            f"units of phase {phase!r} were recorded in windows of up to {longest} batches, so "
            f"their activity in windows of {by} cannot be told; ask for {longest} or more"
        )
    number = first // by
    return {int(n): np.flatnonzero(number == n).astype(np.int64) for n in np.unique(number)}


def _numbers(node: xr.DataTree, name: str) -> NDArray[Any]:
    return node.dataset[name].to_numpy()


def _tail(batches: NDArray[np.int64], phase: str, window: str) -> NDArray[np.int64]:
    return batches[3 * len(batches) // 4 :] if (window, phase) == ("chart", _TRAIN) else batches


def _check_window(window: str) -> None:
    if window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(map(repr, WINDOWS))}, got {window!r}")
