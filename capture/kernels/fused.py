"""The fused CPU kernel: everything about a tensor in one compiled pass.

Every countable dtype is read as it lies in memory; those narrower than float32
are widened block by block, in the cache. The compiled code itself is in `walk`,
what it is told in `plans`. May import NumPy, Numba and torch.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
import torch
from numba.core import event
from numpy.typing import NDArray

from actrace.capture.kernels.plans import (
    NARROW,
    RELEASE,
    WIDE,
    CompiledPlan,
    Scratch,
    compiled_plan,
    geometry,
    slot_fields,
)
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.slots import Shape, Slot
from actrace.capture.kernels.tables import bin_table, narrow_threshold
from actrace.capture.kernels.walk import run_narrow, run_wide
from actrace.store.axis import Axis

__all__ = ["FusedKernel"]

#: Plans that `add` keeps for the next call with the same slot and shape.
_REMEMBERED: Final = 1024


class FusedKernel:
    """The compiled kernel, bound to an axis and a threshold.

    Parameters
    ----------
    axis : Axis
    threshold : float
        An element is active if its absolute value is above this.

    Attributes
    ----------
    sampling : Sampling
        What plans read that were bound without a sampling of their own; exact.
    """

    name = "numba"

    def __init__(self, axis: Axis, threshold: float) -> None:
        self._n_bins = axis.n_bins
        self._threshold64 = float(threshold)
        self._threshold32 = float(narrow_threshold(threshold))
        self._table = bin_table(axis.edges)
        self._climb_wide = np.concatenate([[-np.inf], self._table.climb_wide])
        self._scratch = Scratch(axis.n_bins)
        self._tables: dict[torch.dtype, NDArray[np.float32]] = {}
        self._plans: dict[Any, tuple[CompiledPlan, Slot]] = {}
        self.sampling = Sampling()

    def bind(
        self,
        dtype: torch.dtype,
        shape: Shape,
        slot: Slot,
        sampling: Sampling | None = None,
    ) -> CompiledPlan:
        """Return how tensors of one dtype and shape are added to one slot.

        Parameters
        ----------
        dtype : torch.dtype
            Any countable one.
        shape : tuple of int
            (samples, outer, units, inner).
        slot : Slot
            Its arrays may have a row dimension in front, then `run` is told the row.
        sampling : Sampling, optional
            What is read; the kernel's own by default.

        Raises
        ------
        RecorderError
            The slot's arrays are not those of `shape`.
        """
        table, scratch = self._table, self._scratch
        plain = table.plain
        fields = geometry(shape) | slot_fields(slot, self._n_bins, shape[2])
        fields |= {
            "n_bins": self._n_bins,
            "packed": table.packed.ctypes.data,
            "first": table.first.ctypes.data,
            "scratch": scratch.address,
            "scratch_step": scratch.step,
            "scratches": scratch.ROOMS,
            "release": RELEASE,
        }
        kept: tuple[Any, ...] = (slot.count, slot.tally, slot.sums, slot.active)
        kept += (table, self._climb_wide, scratch)
        climb: NDArray[Any]
        if dtype in WIDE:
            run, threshold, climb = run_wide, self._threshold64, self._climb_wide
            plain = table.plain_wide
            fields["kind"] = WIDE[dtype]
        else:
            run, threshold, climb = run_narrow, self._threshold32, table.climb
            fields["kind"] = NARROW[dtype]
            if dtype is not torch.float32:
                values = self._values(dtype)
                fields["values"] = values.ctypes.data
                kept += (values,)
        fields["plain"] = int(plain)
        fields["climb"] = climb.ctypes.data
        return compiled_plan(run, fields, threshold, sampling or self.sampling, kept)

    def add(self, tensor: torch.Tensor, shape: Shape, slot: Slot) -> None:
        """Add a flat CPU tensor in memory order, of any countable dtype, to `slot`.

        The whole of it, whatever the kernel's sampling says.
        """
        key = (id(slot.count), id(slot.tally), id(slot.sums), id(slot.active), shape, tensor.dtype)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            # The plan keeps the arrays, so their identities stay theirs.
            known = self._plans[key] = (self.bind(tensor.dtype, shape, slot, _EXACT), slot)
        plan = known[0]
        plan.run(tensor.data_ptr(), plan.address, 0)

    def warm_up(self, *dtypes: torch.dtype) -> None:
        """Compile, or load from the cache, what the dtypes need.

        Says so in one line on stderr where the cache does not have it: it takes seconds.
        """
        slot = Slot.empty(self._n_bins, 1)
        with event.install_listener("numba:compile", _Speaker()):
            for dtype in dtypes:
                self.add(torch.zeros(1, dtype=dtype), (1, 1, 1, 1), slot)

    def _values(self, dtype: torch.dtype) -> NDArray[np.float32]:
        """Return the value of each bit pattern of a narrow dtype."""
        if dtype not in self._tables:
            if dtype.itemsize == 1:
                bits = torch.arange(256, dtype=torch.int16).to(torch.uint8)
            else:
                bits = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16))
            # Any byte but 0 is true.
            typed = bits.bool() if dtype is torch.bool else bits.view(dtype)
            self._tables[dtype] = typed.to(torch.float32).numpy()
        return self._tables[dtype]


class _Speaker(event.Listener):  # type: ignore[misc]
    """Says once that kernels are being compiled; silent where the cache has them."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        """A function is being compiled."""
        if not self._said and event.data["dispatcher"] in (run_narrow, run_wide):
            self._said = True
            sys.stderr.write("actrace: compiling its kernels, once on this machine ...\n")

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


_EXACT: Final = Sampling()
