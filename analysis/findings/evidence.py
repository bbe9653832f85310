"""What the rules read of a run, each part once. May import xarray.

A rule asks for a phase's statistics, its units' activity, its labelled output; what
the run has not is an error that says how to record it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.analysis.design import silent_by_design
from actrace.analysis.findings.columns import Columns, read_columns
from actrace.analysis.reduce import sum_over
from actrace.errors import NotRecordedError
from actrace.store.schema import GRADIENT_GROUP, OUTPUT_GROUP, UNIT_GROUP

__all__ = ["Activity", "Evidence", "is_kind"]

T = TypeVar("T")
Floats = NDArray[np.float64]

#: Columns of histograms that a stretch of batches is read in, from the level that suits.
_WIDTH: Final = 32

#: Layers that hand on what they are given: what they show was found before them.
_HANDS_ON: Final = ("Flatten", "Unflatten", "Identity", "Dropout", "AlphaDropout", "Pool", "Pad")

#: Layers with weights whose output's distribution says what the weights do.
_WEIGHTED: Final = ("Linear", "Conv", "Embedding", "RNN", "LSTM", "GRU", "Attention")


@dataclass(frozen=True, slots=True)
class Activity:
    """How active each unit was, epoch by epoch.

    Attributes
    ----------
    layer, channel : ndarray of int64, shape (n_units,)
    active, total : ndarray of float64, shape (n_units, n_epochs)
        Active and all elements.
    epochs, steps, last_steps : ndarray of int64, shape (n_epochs,)
    """

    layer: NDArray[np.int64]
    channel: NDArray[np.int64]
    active: Floats
    total: Floats
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    last_steps: NDArray[np.int64]


def is_kind(kind: str, words: Sequence[str]) -> bool:
    """Return whether a layer's type, or function, holds one of the words.

    Examples
    --------
    >>> is_kind("BatchNorm2d", ("Norm",)), is_kind("relu()", ("Norm",))
    (True, False)
    """
    return any(word.lower() in kind.lower() for word in words)


class Evidence:
    """What the rules read of a run, each part once.

    Parameters
    ----------
    run : DataTree
        As `actrace.open` returns it.

    Attributes
    ----------
    run : DataTree
    layers, kinds : tuple of str
        Name and type of each layer.
    order : ndarray of int64, shape (n_layers,)
        Place in the first forward, -1 if never called.
    silent : ndarray of bool, shape (n_layers,)
        Silent by design.
    output : int or None
        Index of the output layer.
    phases : tuple of str
        Those that have a batch.
    """

    __slots__ = ("_kept", "kinds", "layers", "order", "output", "phases", "run", "silent")

    def __init__(self, run: xr.DataTree) -> None:
        self.run = select.root(run)
        self.layers = select.layer_names(run)
        data = run.dataset
        self.kinds = tuple(str(kind) for kind in data["layer_type"].to_numpy())
        self.order = data["layer_order"].to_numpy().astype(np.int64)
        self.silent = silent_by_design(run)
        name = run.attrs.get("output_layer")
        self.output = self.layers.index(name) if name in self.layers else None
        self.phases = tuple(
            name for name in select.phase_names(run) if run.children[name].sizes.get("batch", 0)
        )
        self._kept: dict[Any, Any] = {}

    def judged(self) -> tuple[str, ...]:
        """Return the phases, of which there must be one.

        Raises
        ------
        NotRecordedError
            The run has no batch.
        """
        if not self.phases:
            raise NotRecordedError("this run recorded no batch")
        return self.phases

    @property
    def train(self) -> str:
        """The phase that trains: ``train``, the first there is otherwise.

        Raises
        ------
        NotRecordedError
            The run has no batch.
        """
        return self.judged()[0]

    @property
    def valid(self) -> str:
        """The phase that validates.

        Raises
        ------
        NotRecordedError
            The run has none.
        """
        if "valid" not in self.phases or self.train != "train":
            raise NotRecordedError(
                "there are not both phases 'train' and 'valid'; validate while recording"
            )
        return "valid"

    @property
    def steady(self) -> str:
        """The phase whose data is the same in each epoch: ``valid`` if there is one."""
        return "valid" if "valid" in self.phases else self.train

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made before under the key, or make it."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    def hands_on(self, layer: int) -> bool:
        """Return whether a layer hands on what it is given."""
        return is_kind(self.kinds[layer], _HANDS_ON)

    def weighted(self) -> list[int]:
        """Return layers that have weights and are no normalisation, in the forward's order."""
        return [at for at in self.in_order() if is_kind(self.kinds[at], _WEIGHTED)]

    def in_order(self, chosen: Sequence[int] | NDArray[Any] | None = None) -> list[int]:
        """Return layers that were called, in the order of the forward."""
        some = range(len(self.layers)) if chosen is None else [int(at) for at in chosen]
        return sorted((at for at in some if self.order[at] >= 0), key=lambda at: self.order[at])

    def columns(self, phase: str) -> Columns:
        """Return the statistics of a phase's layers."""

        def make() -> Columns:
            node = self.run.children[phase].to_dataset()
            return read_columns(node, node, "layer")

        return self.once(("columns", phase), make)

    def gradients(self, phase: str) -> tuple[Columns, tuple[str, ...]]:
        """Return the statistics of a phase's gradients, and the parameters' names.

        Raises
        ------
        NotRecordedError
            None were recorded.
        """
        node = self.run.children[phase].children.get(GRADIENT_GROUP)
        if node is None or not node.sizes.get("batch", 0):
            raise NotRecordedError("gradients were not recorded; record with gradients=True")
        group = node.to_dataset()

        def make() -> Columns:
            return read_columns(group, self.run.children[phase].to_dataset(), "parameter")

        names = tuple(str(name) for name in group["parameter"].to_numpy())
        return self.once(("gradients", phase), make), names

    def activity(self, phase: str) -> Activity:
        """Return how active each unit was, epoch by epoch.

        Raises
        ------
        NotRecordedError
            The phase has no units.
        """

        def make() -> Activity:
            parts = select.unit_parts(self.run, phase, "epoch")
            node = self.run.children[phase].children[UNIT_GROUP].to_dataset()
            active, total = (
                sum_over(node[name], "window", parts).to_numpy().astype(np.float64)
                for name in ("active", "total")
            )
            step = self.run.children[phase].dataset["step"].to_numpy()
            first = node["first_batch"].to_numpy()
            last = first + node["batches"].to_numpy() - 1
            return Activity(
                layer=node["unit_layer"].to_numpy().astype(np.int64),
                channel=node["unit_channel"].to_numpy().astype(np.int64),
                active=active,
                total=total,
                epochs=np.array(list(parts), np.int64),
                steps=np.array([step[first[at[0]]] for at in parts.values()], np.int64),
                last_steps=np.array([step[last[at[-1]]] for at in parts.values()], np.int64),
            )

        return self.once(("activity", phase), make)

    def histogram(
        self, phase: str, layers: Sequence[int], start: int, stop: int
    ) -> NDArray[np.uint64]:
        """Return the counts of a stretch of batches, from a level where it is long.

        Parameters
        ----------
        phase : str
        layers : sequence of int
        start, stop : int
            Batches; columns of a level that reach over an end are whole.

        Returns
        -------
        ndarray of uint64, shape (len(layers), n_bins + 2)
            Under- and overflow outermost.
        """
        node = self._window(phase, start, stop).isel(layer=list(layers))
        parts = {0: slice(0, node.sizes["batch"])}
        below, count, above = (
            sum_over(node[name], "batch", parts).transpose("layer", ..., "epoch").to_numpy()[..., 0]
            for name in ("underflow", "count", "overflow")
        )
        return np.concatenate([below[:, None], count, above[:, None]], axis=1)

    def _window(self, phase: str, start: int, stop: int) -> xr.Dataset:
        window = getattr(self.run, "window", None)
        if window is None:
            return self.run.children[phase].to_dataset().isel(batch=slice(start, stop))
        found: xr.Dataset = window(phase, start, stop, width=_WIDTH)
        return found

    def targets(self, phase: str) -> xr.Dataset:
        """Return the labelled group of a phase, also of a regression.

        Raises
        ------
        NotRecordedError
            No targets were recorded.
        """
        node = self.run.children[phase].children.get(OUTPUT_GROUP)
        if node is None or not node.sizes.get("window", 0):
            raise NotRecordedError(
                f"phase {phase!r} has no targets; record with criterion=loss_fn, or call "
                "recorder.log(target=...)"
            )
        return node.to_dataset()

    def output_group(self, phase: str) -> xr.Dataset:
        """Return the labelled group of a phase that classifies.

        Raises
        ------
        NotRecordedError
            No targets were recorded, or the run is a regression.
        """
        group = self.targets(phase)
        if group.attrs.get("task") == "regression":
            raise NotRecordedError("the run is a regression, which has no classes")
        return group
