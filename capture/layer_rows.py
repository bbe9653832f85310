"""A recorded module, its rows, and the short way from its output to the kernel.

Values that the table fills; what is done with them is `layer_table`'s. May import
torch and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from actrace.capture.kernels.select import Plan
from actrace.capture.kernels.slots import Slot
from actrace.store.rows import LayerInfo

__all__ = ["MOST_BOUND", "Bound", "LayerRow", "Recorded"]


@dataclass(slots=True)
class LayerRow:
    """One row: one tensor of one module's output.

    Attributes
    ----------
    name, type : str
    path : str
        Place in the module's output, empty where that is one tensor.
    slot : Slot
        Sums of the first batch, before the rows are fixed.
    shape, order, units
        As in `LayerInfo`, known from the first call on.
    index : int
        Place among the rows, once they are fixed.
    own : ndarray or None
        Its activity, where it takes no part in the unit group.
    total : int
        Elements that each unit of `own` had in this batch.
    others : dict of int to (ndarray, int)
        Active elements and total of calls with another number of units.
    grouped : bool
        Its units take part in the unit group.
    skipped : str or None
        Why something of it is missing.
    fired : int
        Calls seen in all batches.
    there : dict of int to int
        Elements that each unit had in calls on the device whose number of units was
        not the row's, by that number.
    """

    name: str
    type: str
    path: str
    slot: Slot
    shape: tuple[int, ...] = ()
    order: int = -1
    units: int = 0
    index: int = -1
    own: NDArray[np.int64] | None = None
    total: int = 0
    others: dict[int, tuple[NDArray[np.int64], int]] = field(default_factory=dict)
    grouped: bool = True
    skipped: str | None = None
    fired: int = 0
    seen: bool = False
    there: dict[int, int] = field(default_factory=dict)
    dims: dict[int, int | None] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget what of the batch in progress lies outside of the ring."""
        self.slot.clear()
        self.there.clear()
        self.total = 0
        self.others.clear()
        if self.own is not None:
            self.own.fill(0)

    def rates(self) -> tuple[float, float]:
        """Return (activation rate, death rate) of the batch for a row outside of the unit group.

        Mean over units of the share of active elements, and share of units with
        none (monitorch, OutputActivation); NaN without units.
        """
        units, share, dead = 0, 0.0, 0
        own = [] if self.own is None else [(self.own, self.total)]
        for active, total in (*own, *self.others.values()):
            if total and active.size:
                units += active.size
                share += float(active.sum()) / total
                dead += active.size - int(np.count_nonzero(active))
        return (share / units, dead / units) if units else (float("nan"), float("nan"))

    def info(self) -> LayerInfo:
        """Return what the store is told of the row."""
        units = self.units if self.grouped else 0
        return LayerInfo(self.name, self.type, self.shape, self.order, units)


#: How many shapes of a layer's output are bound; those beyond take the longer way.
MOST_BOUND: Final = 64


@dataclass(frozen=True, slots=True)
class Bound:
    """The short way to add a layer's output: what it has to be like, and the call.

    Attributes
    ----------
    shape, stride, dtype
        Of the output, a plain dense CPU tensor.
    run : callable
        Takes the tensor's address, `address` and the ring's row.
    address : int
    row : LayerRow
    plan : Plan
        What `address` lies in.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    run: Callable[[int, int, int], None]
    address: int
    row: LayerRow
    plan: Plan


@dataclass(slots=True)
class Recorded:
    """A recorded module: its rows and what recording it took.

    Attributes
    ----------
    name, type : str
    kind : str or None
        Where its type keeps units, see `unit_kind`.
    rows : dict of str to LayerRow
        By the path in the output.
    seconds : float
        Spent in its hook.
    off : str or None
        Why it was switched off.
    resting : bool
        Its own schedule leaves this batch out.
    bound : Bound or None
        The short way for an output like the last one.
    calls : dict of str to int or None
        Where calls have rows of their own: how many of each leaf came in this batch.
    """

    name: str
    type: str
    kind: str | None
    rows: dict[str, LayerRow] = field(default_factory=dict)
    seconds: float = 0.0
    off: str | None = None
    resting: bool = False
    bound: Bound | None = None
    bounds: dict[tuple[Any, ...], Bound] = field(default_factory=dict)
    calls: dict[str, int] | None = None
    strangers: dict[str, str] = field(default_factory=dict)
    fired: int = 0

    def key(self, path: str) -> str:
        """Return under which key of `rows` the leaf's last call stands: ``#2`` for the second."""
        nth = 0 if self.calls is None else self.calls.get(path, 0)
        return f"#{nth}{path}" if nth > 1 else path
