"""The rows of a run's layer dimension while they are being filled.

Each recorded module has a row for each tensor it returns. Rows are found in the
first recorded forward and fixed after it; from then on their sums lie side by
side in the ring that the writer reads. May import torch and NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import nn

from actrace.capture.batch import Batch
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.graphs import capture_call
from actrace.capture.cuda.rows import HostRow, Rates, fill_row
from actrace.capture.kernels.select import Kernel
from actrace.capture.kernels.slots import CALLS, ELEMENTS, Slot
from actrace.capture.layer_rows import MOST_BOUND, Bound, LayerRow, Recorded
from actrace.capture.model.wrappers import type_name
from actrace.capture.ring import Ring
from actrace.capture.schedules import Schedules
from actrace.capture.slot_table import SlotTable
from actrace.capture.tensors import flat_view, leaves, unit_dim, unit_kind, why_not
from actrace.store.rows import LayerInfo

__all__ = ["MAX_UNITS", "LayerTable"]

#: A layer with more units takes no part in the unit group.
MAX_UNITS: Final = 65_536


class LayerTable:
    """All rows of a run, and how an output is added to them.

    Parameters
    ----------
    modules : dict of str to Module
        What is recorded.
    kernel : Kernel
    n_bins : int
    known : tuple of LayerInfo, optional
        The rows of a run that is being resumed.
    schedules : Schedules, optional
        Which layers leave batches out.
    partial : bool
        Not all of a batch is read, see `SlotTable.partial`.
    split_calls : bool
        Each call of a module in a batch has a row of its own.
    device : DeviceCapture, optional
        Counts the tensors that lie on another device than the CPU.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        kernel: Kernel,
        n_bins: int,
        known: tuple[LayerInfo, ...] = (),
        schedules: Schedules | None = None,
        *,
        partial: bool = False,
        split_calls: bool = False,
        device: DeviceCapture[Batch] | None = None,
    ) -> None:
        self.kernel = kernel
        self.device = device
        self.n_bins = n_bins
        self.recorded = {
            name: Recorded(name, type_name(module), unit_kind(module))
            for name, module in modules.items()
        }
        self.partial = partial
        self.split_calls = split_calls
        if split_calls:
            for recorded in self.recorded.values():
                recorded.calls = {}
        #: The modules that have a schedule of their own, with it.
        self.scheduled: list[tuple[Recorded, Callable[[int], bool]]] = []
        self._schedules = schedules or Schedules()
        for recorded in self.recorded.values():
            self._schedule(recorded)
        self.rows: tuple[LayerRow, ...] = ()
        #: Where the rows' sums lie, None before they are fixed.
        self.ring: Ring | None = None
        #: Rows outside of the unit group.
        self._apart: list[LayerRow] = []
        #: Functions that no row could be made for -> why.
        self.late_functions: dict[str, str] = {}
        #: Where the unambiguous layer called last kept its units.
        self.context: str | None = None
        self.calls = 0
        for layer in known:
            self._restore(layer)
        if known:
            self._lay_out([self._row_named(layer.name) for layer in known])

    def function(self, name: str, function: str) -> Recorded | None:
        """Return the entry of a function's call, None if it came too late for a row."""
        recorded = self.recorded.get(name)
        if recorded is None:
            if self.fixed:
                self.late_functions.setdefault(
                    name, "first called after the first recorded forward, which fixes the layers"
                )
                return None
            recorded = self.recorded[name] = Recorded(name, f"{function}()", None)
            self._schedule(recorded)
        return recorded

    def add_leaf(
        self, recorded: Recorded, module: nn.Module, path: str, tensor: torch.Tensor
    ) -> None:
        """Add one tensor of a module's output, which compiled code computed."""
        recorded.fired += 1
        if recorded.kind is not None:
            self.context = recorded.kind
        self._add_tensor(recorded, module, path, tensor)

    def fired(self) -> dict[str, bool]:
        """Return whether each recorded module was called so far."""
        return {name: bool(recorded.fired) for name, recorded in self.recorded.items()}

    def add(self, recorded: Recorded, module: nn.Module | None, output: object) -> None:
        """Add a module's output, or a function's, to its rows."""
        recorded.fired += 1
        if recorded.kind is not None:
            self.context = recorded.kind
        if isinstance(output, torch.Tensor):
            self._add_tensor(recorded, module, "", output)
            return
        found = False
        for path, tensor in leaves(output):
            found = True
            self._add_tensor(recorded, module, path, tensor)
        if not found:
            recorded.strangers.setdefault("", f"returned {type(output).__name__} without a tensor")

    def bind(self, recorded: Recorded, output: object) -> None:
        """Find the short way for outputs like this one, which was just added the long way."""
        row = recorded.rows.get("")
        if (
            type(output) is not torch.Tensor
            or self.ring is None
            or (self.device is not None and self.device.takes(output))
            or row is None
            or row.own is not None
            or not row.seen
            or recorded.calls is not None
            or why_not(output) is not None
            or output.is_neg()
            or not output.numel()
        ):
            return
        key = output.shape, output.stride(), output.dtype
        bound = recorded.bounds.get(key)
        if bound is None and len(recorded.bounds) < MOST_BOUND:
            tensor = output.detach()
            flat, shape = flat_view(tensor, row.dims[tensor.dim()])
            table = self.ring.table
            start, stop = table.spans[row.index]
            if flat.data_ptr() != tensor.data_ptr() or shape[2] != stop - start:
                return  # laid out anew, or with other units
            slot = Slot(
                table.count[:, row.index],
                table.tally[:, row.index],
                table.sums[:, row.index],
                table.active[:, start:stop],
            )
            plan = self.kernel.bind(output.dtype, shape, slot)
            bound = Bound(*key, plan.run, plan.address, row, plan)
            recorded.bounds[key] = bound
        recorded.bound = bound

    def fix(self) -> list[LayerInfo]:
        """Fix the rows as found so far; return them for the store."""
        rows: list[LayerRow] = []
        for recorded in self.recorded.values():
            if not recorded.rows:
                recorded.rows[""] = self._new_row(recorded, "")
            rows.extend(recorded.rows.values())
        self._lay_out(rows)
        return [row.info() for row in rows]

    @property
    def fixed(self) -> bool:
        """Whether the rows are fixed."""
        return self.ring is not None

    def apart(self) -> dict[int, tuple[float, float]]:
        """Return the rates of rows outside of the unit group, by their place."""
        return {row.index: row.rates() for row in self._apart}

    def clear(self) -> None:
        """Forget the batch in progress."""
        ring = self.ring
        # Where every row waits for the writer none is ours, and the next comes empty.
        if ring is not None and ring.has_row:
            ring.table.clear(ring.at, ring.at + 1)
        self.begin()

    def begin(self) -> None:
        """Be ready for a batch whose row in the ring is empty."""
        self.context = None
        self.number_calls_anew()
        for row in self._apart if self.fixed else self._all_rows():
            row.clear()

    def number_calls_anew(self) -> None:
        """Let the next call of each module be its first."""
        if self.split_calls:
            for recorded in self.recorded.values():
                if recorded.calls:
                    recorded.calls.clear()

    def _all_rows(self) -> Iterator[LayerRow]:
        for recorded in self.recorded.values():
            yield from recorded.rows.values()

    def forget(self, recorded: Recorded) -> None:
        """Take one module's part of the batch in progress back."""
        for row in recorded.rows.values():
            row.clear()
            if row.index >= 0:
                self._slot(row).clear()
            if self.device is not None:
                self.device.forget(self._number(row))

    def unread(self) -> dict[str, str]:
        """Return why nothing was counted in the batch in progress, by layer called."""
        return {
            row.name: row.skipped
            for row in self.rows
            if row.skipped is not None
            and not self._slot(row).tally[ELEMENTS]
            and not (row.seen and self.device is not None)
        }

    def others(self) -> dict[int, dict[int, int]]:
        """Return what `LayerRow.there` has of this batch, by the layers' places."""
        return {row.index: dict(row.there) for row in self._apart if row.there}

    def newest(self) -> tuple[SlotTable, int, Rates] | None:
        """Return where the open batch's sums lie, by now, and its `apart`.

        Waits for the device where one counts.
        """
        ring, device = self.ring, self.device
        if ring is None:
            return None
        words = None if device is None or device.off else device.peek()
        if words is None or device is None or device.ring is None:
            return ring.table, ring.at, self.apart()
        apart, copied = self.apart(), SlotTable(self.n_bins, ring.table.units.tolist())
        rates = fill_row(
            device.ring.layout, words, copied, 0, HostRow.of(ring.table, ring.at),
            void=device.void, apart=apart, others=self.others(),
        )  # fmt: skip
        return copied, 0, apart | rates

    def skipped(self) -> dict[str, str]:
        """Return why something is missing, by layer."""
        reasons: dict[str, str] = {}
        for recorded in self.recorded.values():
            for row in recorded.rows.values():
                if row.skipped is not None:
                    reasons[row.name] = row.skipped
            for path, reason in recorded.strangers.items():
                reasons.setdefault(recorded.name + path, reason)
            if recorded.off is not None:
                reasons[recorded.name] = recorded.off
        return reasons

    def _schedule(self, recorded: Recorded) -> None:
        schedule = self._schedules.of_layer(recorded.name)
        if schedule is not None:
            self.scheduled.append((recorded, schedule))

    def _add_tensor(
        self, recorded: Recorded, module: nn.Module | None, path: str, tensor: torch.Tensor
    ) -> None:
        if recorded.calls is not None:
            recorded.calls[path] = recorded.calls.get(path, 0) + 1
            path = recorded.key(path)
        row = recorded.rows.get(path)
        if row is None:
            if self.fixed:
                if path not in recorded.strangers:
                    recorded.strangers[path] = (
                        "first seen after the first recorded forward, which fixes the layers"
                    )
                return
            row = recorded.rows[path] = self._new_row(recorded, path)
        row.fired += 1
        device = self.device
        if device is not None and device.add_again(row.index, tensor):
            return
        reason = why_not(tensor, None if device is None else device.place)
        if reason is not None:
            if device is not None and device.off and tensor.device == device.device:
                reason = f"on {device.device}: recording there was given up"
            row.skipped = row.skipped or reason
            return
        ndim = tensor.dim()
        if ndim in row.dims:
            dim = row.dims[ndim]
        else:
            dim = row.dims[ndim] = unit_dim(module, ndim, self.context)
        tensor = tensor.detach()
        if tensor.is_neg():
            tensor = tensor.resolve_neg()
        if device is not None and device.takes(tensor) and device.capturing():
            capture_call(device, row, tensor, dim)
            return
        flat, shape = flat_view(tensor, dim)
        units = shape[2]
        if not row.seen:
            self._first_call(row, tuple(tensor.shape[1:]), units, flat.numel())
        slot = self._slot(row)
        if flat.numel() == 0:
            slot.tally[CALLS] += 1
            return
        if device is not None and device.takes(tensor):
            if shape[2] == slot.active.size and flat.data_ptr() == tensor.data_ptr():
                device.learn(row.index, tensor, shape)
            self._add_on_device(device, row, flat, shape, slot)
            return
        each = shape[0] * shape[1] * shape[3]
        if units != slot.active.size:
            self._add_other(row, flat, shape, each)
            return
        if row.own is not None:
            row.total += each
        self.kernel.add(flat, shape, slot)

    def _add_on_device(
        self,
        device: DeviceCapture[Batch],
        row: LayerRow,
        flat: torch.Tensor,
        shape: tuple[int, int, int, int],
        slot: Slot,
    ) -> None:
        units = shape[2]
        if units != slot.active.size:
            if row.grouped:
                self._leave_group(
                    row,
                    f"units not recorded: their number changed from {slot.active.size} to {units}",
                )
            row.there[units] = row.there.get(units, 0) + shape[0] * shape[1] * shape[3]
        device.add(self._number(row), flat, shape)

    def _number(self, row: LayerRow) -> int:
        """Return what the device knows a row by, which in its first batch is not the place."""
        early = self.device is None or self.device.ring is None
        return id(row) if early else row.index

    def lay_out_device(self) -> None:
        """Let the device have rows like the ring's, after its first batch told what is in them."""
        device, ring = self.device, self.ring
        if device is None or ring is None or device.off or device.ring is not None:
            return
        own = [row.units if row.own is None else row.own.size for row in self.rows]
        try:
            # Batches wait for the device in the ring: half of it is left to the writer.
            device.lay_out(own, [id(row) for row in self.rows], ring.n_rows // 2)
        except Exception as error:
            device.give_up(error)
            raise

    def _slot(self, row: LayerRow) -> Slot:
        """Return where a row's sums of the batch in progress lie."""
        ring = self.ring
        slot = row.slot if ring is None else ring.table.slots(ring.at)[row.index]
        return slot if row.own is None else replace(slot, active=row.own)

    def _add_other(
        self, row: LayerRow, flat: torch.Tensor, shape: tuple[int, int, int, int], each: int
    ) -> None:
        """Add a call whose number of units is not the row's."""
        units = shape[2]
        slot = self._slot(row)
        if row.grouped:
            self._leave_group(
                row,
                f"units not recorded: their number changed from {slot.active.size} to {units}",
            )
        active, total = row.others.get(units) or (np.zeros(units, np.int64), 0)
        row.others[units] = (active, total + each)
        self.kernel.add(flat, shape, replace(slot, active=active))

    def _leave_group(self, row: LayerRow, reason: str) -> None:
        row.grouped = False
        row.skipped = row.skipped or reason
        slot = self._slot(row)
        row.total = int(slot.tally[ELEMENTS]) // max(1, slot.active.size)
        row.own = slot.active.copy()
        # Its place in the group stays, and takes nothing from now on.
        slot.active.fill(0)
        if self.fixed:
            self._apart.append(row)
            for recorded in self.recorded.values():
                if row in recorded.rows.values():
                    recorded.bound = None
                    recorded.bounds.clear()

    def _first_call(self, row: LayerRow, shape: tuple[int, ...], units: int, n: int) -> None:
        if not self.fixed:
            if row.order < 0:
                row.order = self.calls
                self.calls += 1
            row.shape = shape
        elif row.units == 0 and row.grouped:
            self._leave_group(
                row, "units not recorded: first called after the first recorded forward"
            )
        if n == 0:
            return
        row.seen = True
        if not self.fixed:
            row.units = units
            row.slot.active = np.zeros(units, np.int64)
            if units > MAX_UNITS:
                self._leave_group(row, f"units not recorded: {units} are more than {MAX_UNITS}")
        elif row.units == 0:
            row.own = np.zeros(units, np.int64)

    def _new_row(self, recorded: Recorded, path: str) -> LayerRow:
        return LayerRow(
            name=recorded.name + path,
            type=recorded.type,
            path=path,
            slot=Slot.empty(self.n_bins, 0),
        )

    def _restore(self, layer: LayerInfo) -> None:
        """Take over a row of the run that is resumed."""
        if layer.type.endswith("()"):
            # A function's call: no module stands for it.
            recorded = self.recorded[layer.name] = Recorded(layer.name, layer.type, None)
            self._schedule(recorded)
            name = layer.name
        else:
            name = max(
                (name for name in self.recorded if layer.name.startswith(name)), key=len, default=""
            )
            recorded = self.recorded[name]
        row = self._new_row(recorded, layer.name[len(name) :])
        row.shape, row.order, row.units = layer.shape, layer.order, layer.units
        row.grouped = layer.units > 0
        recorded.rows[row.path] = row

    def _row_named(self, name: str) -> LayerRow:
        for recorded in self.recorded.values():
            for row in recorded.rows.values():
                if row.name == name:
                    return row
        raise KeyError(name)

    def _lay_out(self, rows: list[LayerRow]) -> None:
        """Put the rows' sums side by side, keeping what is in them."""
        ring = Ring(self.n_bins, [row.info().units for row in rows])
        ring.table.partial = self.partial
        for at, (row, slot) in enumerate(zip(rows, ring.table.slots(0), strict=True)):
            slot.count[:] = row.slot.count
            slot.tally[:] = row.slot.tally
            slot.sums[:] = row.slot.sums
            if slot.active.size == row.slot.active.size:
                slot.active[:] = row.slot.active
            row.index = at
        self._apart = [row for row in rows if not row.grouped]
        self.rows = tuple(rows)
        self.ring = ring
