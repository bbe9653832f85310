"""A batch from its forward to the store.

The session is what the hooks talk to. A forward of the root opens a batch; it
stays open, for a loss and targets to join it, until the next forward, a change
of phase, a flush or the end seals it: then it is in the ring, and the writer's
thread does the rest (`digest`). Whatever goes wrong in here is caught, said once
and counted. May import torch.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from threading import Lock, get_ident
from typing import Any

import torch
from torch import nn

from actrace.capture.batch import ANY_THREAD, Batch
from actrace.capture.compiled import new_buffer
from actrace.capture.cuda.graphs import (
    forward_captured,
    named_captured,
    output_captured,
    say_strays,
)
from actrace.capture.cuda.outbox import DeviceOutbox
from actrace.capture.governor import Spent
from actrace.capture.gradients.parameters import Gradients
from actrace.capture.guard import Guard
from actrace.capture.held_batch import HeldBatch
from actrace.capture.hook_calls import hook_call_seconds
from actrace.capture.hooks_at_rest import HooksAtRest
from actrace.capture.labels.group import LabelWork
from actrace.capture.labels.joining import BatchLabels, target_of
from actrace.capture.labels.outputs import OutputWatch, main_tensor
from actrace.capture.latest import Latest, LayerStatistics
from actrace.capture.layer_calls import function_called
from actrace.capture.layer_table import LayerTable
from actrace.capture.model.changes import ModelChanges
from actrace.capture.model.coverage import Coverage
from actrace.capture.model.selection import module_names, root_name
from actrace.capture.outbox import Outbox
from actrace.capture.phases import TRAIN, PhaseClock
from actrace.capture.remarks import Remarks
from actrace.capture.sampler import Sampler
from actrace.capture.schedules import Schedules, words_of
from actrace.capture.telling import (
    TOO_LATE,
    log_coverage,
    look_for_changes,
    save_skips,
    save_thinning,
    say_cost,
    say_coverage,
    skips,
    thinning,
)
from actrace.capture.tensors import first_tensor
from actrace.store.axis import Axis
from actrace.store.worker import WriterThread

__all__ = ["Session"]


class Session:
    """One recording: the state that hooks, recorder and writer share.

    Parameters
    ----------
    model : Module
        Kept by weak reference.
    worker : WriterThread
    table : LayerTable
    labels : LabelWork
    axis : Axis
    clock : PhaseClock
    schedules : Schedules
    sampler : Sampler
    functional : bool
        Activation functions are recorded too.
    output : tuple of (str, str) or None
        Name and leaf path of the output layer that the user named.
    """

    def __init__(
        self,
        model: nn.Module,
        worker: WriterThread,
        table: LayerTable,
        labels: LabelWork,
        *,
        axis: Axis,
        clock: PhaseClock,
        schedules: Schedules,
        sampler: Sampler,
        functional: bool = False,
        output: tuple[str, str] | None = None,
        has_criterion: bool = False,
    ) -> None:
        self.model = weakref.ref(model)
        self.worker = worker
        self.table = table
        self.device = table.device
        self.labels = labels
        self.clock = clock
        #: Thread whose forward is being recorded, 0 while none is.
        self.gate = 0
        #: See `compiled`: what keeps the observations of compiled code in order.
        self.order = new_buffer()
        self.coverage = Coverage(
            functional=functional, saw=partial(function_called, weakref.proxy(self))
        )
        self.coverage.place = None if self.device is None else self.device.place
        self.batch: Batch | None = None
        self.skipping = False
        self.watching: OutputWatch | None = None
        if not output:
            self.watching = OutputWatch(self.coverage.place)
        self.batches: dict[str, int] = {}
        self.seconds = 0.0
        self.remarks = Remarks(worker.on_its_thread)
        self.warn, self.fault = self.remarks.warn, self.remarks.fault
        self.closed = False
        #: Set by the recorder, which knows the modules.
        self.changes: ModelChanges | None = None
        self.probes: list[torch.utils.hooks.RemovableHandle] = []
        #: The hooks inside the model, None where some of it is compiled already.
        self.inside: HooksAtRest | None = None
        #: Those of each layer with a schedule of its own.
        self.thinned: dict[str, HooksAtRest] = {}
        self._schedules = schedules
        self.sampler = sampler
        self._latest = Latest()
        #: Phase, epoch and step of the batch in the table, while it is whole and unread.
        self._counted: tuple[str, int, int] | None = None
        # DataParallel calls copies of its module, each in a thread of its own.
        self._open_gate = ANY_THREAD if isinstance(model, nn.DataParallel) else 0
        self.lock = Lock()
        self.held = HeldBatch(weakref.proxy(self))
        self._depth = 0
        self._owner = 0
        #: The ring's row that the open batch adds up.
        self.row = 0
        #: A guard is entered, and clocks what is inside.
        self.clocked = False
        self._process = os.getpid()
        self._looked = False
        self.said_cost = False
        #: What the store was told to be missing.
        self.saved_skips: dict[str, str] = {}
        self._axis = axis
        #: What joins a batch besides its layers.
        self.joining = BatchLabels(
            labels,
            output[0] + output[1] if output else None,
            has_criterion=has_criterion,
            device=self.device,
        )
        self.outbox: Outbox
        sampled = not sampler.exact
        if self.device is None:
            self.outbox = Outbox(table, worker, self.joining, axis.n_bins, sampled=sampled)
        else:
            self.outbox = DeviceOutbox(
                table, worker, self.joining, axis.n_bins,
                device=self.device, fault=self.fault, sampled=sampled,
            )  # fmt: skip
        self._declared = False
        self.gradients: Gradients | None = None

    # What the hooks call.

    def is_open(self) -> bool:
        """Return whether this thread's forward is being recorded."""
        gate = self.gate
        return gate == ANY_THREAD or gate == get_ident()

    def begin(self, model: nn.Module, args: Any, kwargs: Any, compiled: bool = False) -> None:
        """Open a batch: the root's forward begins; `compiled`: what it calls may be."""
        if not self._may_begin():
            return
        if "_is_replica" in model.__dict__:
            self.warn(
                "DataParallel runs copies of the recorded model, each a part of a batch, so they "
                "are not recorded; record the DataParallel itself"
            )
            return
        if self.held.open or self.held.only:
            with self._guarded("looking at the model's input"):
                self.held.joined(first_tensor(args, kwargs), model, compiled=compiled)
            return
        if self._depth:
            mine = self._owner == get_ident()
            calls = _calls_of(model, self._owner)
            if mine and calls > 1:
                self._depth += 1  # the root calls itself: the same batch
                return
            if not mine and calls:
                self.warn("a forward in another thread at the same time is not recorded")
                return
            self.drop_half()
        with self._guarded("beginning a batch"):
            source = first_tensor(args, kwargs)
            self._begin(
                model.training, source.shape[0] if source is not None and source.ndim else 0
            )
            if self.gate and (self.coverage.functional or not self.table.fixed):
                self.coverage.begin(model, compiled=compiled)

    def begin_compiled(self, training: bool, samples: int) -> None:
        """Open a batch whose forward is compiled as a whole."""
        if self._may_begin() and not self.held.open and not self.held.only:
            if self._depth:
                self.drop_half()
            with self._guarded("beginning a batch"):
                self._begin(training, samples)
                self.coverage.note_compiled(whole=True)

    def end(self, output: Any) -> None:
        """Close the gate: the root's forward is over."""
        if self.capturing:
            with self._guarded("looking at a CUDA graph"):
                output_captured(self, main_tensor(output))
            return
        if self.held.open:
            with self._guarded("looking at the model's output"):
                self.held.saw_output(main_tensor(output))
            return
        if not self._depth or self._owner != get_ident():
            return
        if torch._C._current_graph_task_id() != -1:
            return
        self._depth -= 1
        if self._depth or not self.is_open():
            return
        with self._guarded("ending a batch"):
            self._end(main_tensor(output))

    def end_compiled(self, found: tuple[str, torch.Tensor] | None) -> None:
        """Close the gate: a compiled forward is over; `found` is its main tensor."""
        if self.capturing:
            with self._guarded("looking at a CUDA graph"):
                output_captured(self, found)
        elif self.held.open:
            with self._guarded("looking at the model's output"):
                self.held.saw_output(found)
        elif self._depth and self.is_open() and torch._C._current_graph_task_id() == -1:
            self._depth = 0
            with self._guarded("ending a batch"):
                self._end(found)

    def criterion_called(self, args: Any, kwargs: Any, output: Any) -> None:
        """Take loss and target from a call of the criterion."""
        with self._guarded("reading the criterion"):
            given = first_tensor(kwargs.get("input", args[0] if args else None))
            if not self.capturing:
                self.held.saw_criterion(given)
            self._take_loss(first_tensor(output), first_tensor(target_of(args, kwargs)), given)

    def criterion_computed(self, loss: torch.Tensor, target: torch.Tensor | None) -> None:
        """Take loss and target from compiled code."""
        with self._guarded("reading the criterion"):
            self._take_loss(loss, target, None)

    def log_target(self, target: torch.Tensor) -> None:
        """Take a target that the user logged."""
        batch = self.batch
        if batch is not None and not self.capturing:
            with self._guarded("reading a logged target"):
                self.joining.take_target(batch, target, None)

    def keep_named(self, output: torch.Tensor) -> None:
        """Keep the value of the output layer that the user named."""
        if self.capturing:
            named_captured(self, output)
        elif self.batch is not None:
            self.joining.keep(self.batch, output, sum(self.batches.values()))

    def wrapper_called(self) -> None:
        """Say so if a compiled model was called and its hooks were not."""
        if not self.closed and not self.coverage.began:
            self.warn(TOO_LATE)

    def part_called(self, name: str) -> None:
        """Note that a compiled part of the model ran."""
        if self.is_open():
            self.coverage.wrapper_called(name)

    # What the recorder calls.

    def latest(self, layer: str) -> LayerStatistics | None:
        """Return the newest statistics of a layer, None before the first."""
        self._read_latest()
        return self._latest.of(layer, self._axis)

    def _read_latest(self) -> None:
        if self._counted is not None:
            self._latest.read(self.table, *self._counted)
            self._counted = None

    def seal(self) -> None:
        """Hand the open batch over; what `latest` tells of it stays."""
        if self.batch is not None and self.batch.ended:
            with self._guarded("reading the newest statistics"):
                self._read_latest()
        self._close_batch()
        self.outbox.drain()

    def _close_batch(self) -> None:
        """Hand the open batch over."""
        self._counted = None
        given = self.outbox.given
        batch, self.batch = self.batch, None
        if batch is None:
            return
        if not batch.ended:
            self._clear()
            return
        with self._guarded("sealing a batch", batch):
            try:
                self._seal(batch)
            except BaseException as error:
                if not isinstance(error, Exception) and self.outbox.given == given:
                    # A signal (Ctrl-C) cut it off: it is sealed later, where it still can be.
                    self.batch = batch
                raise

    def cost(self) -> float:
        """Return the seconds that recording has taken in the training's thread so far."""
        cost = self.seconds + sum(recorded.seconds for recorded in self.table.recorded.values())
        return cost if self.gradients is None else cost + self.gradients.seconds

    def spent(self) -> Spent:
        """Return all that recording has taken so far."""
        calls = sum(self.batches.values()) * len(self.table.recorded)
        return Spent(self.cost(), calls * hook_call_seconds(), self.worker.processor_seconds)

    @property
    def short_ways(self) -> bool:
        """Whether outputs may go to the kernel without a look at what they are."""
        return self.gradients is None or self.gradients.outputs is None

    def settle(self) -> None:
        """Wait until the writer's thread has seen every batch handed over."""
        if not self.closed:
            self.outbox.settle()
        self.remarks.tell()

    def flush(self, timeout: float | None) -> bool:
        """Commit and wait; return whether all is written."""
        done: list[bool] = []
        with self._guarded("flushing"):
            self.outbox.settle(timeout)
            save_skips(self)
            done.append(self.worker.flush(timeout))
        self.remarks.tell()
        return done == [True]

    def finish(self, status: str) -> None:
        """Close the writer; report what was lost or never seen."""
        if self._process != os.getpid():
            return
        self.worker.wait()
        with self._guarded("looking for replays of CUDA graphs"):
            say_strays(self)
        self.remarks.tell()
        attributes: dict[str, Any] = {
            "skipped": skips(self),
            "output_layer": self.joining.layer,
            **thinning(self),
        }
        with self._guarded("looking for changes of the model"):
            look_for_changes(self)
            attributes["coverage"] = self.coverage.attributes(self.table)
        if not self.batches:
            self.warn("no batch was recorded: the model was never called while recording")
        with self._guarded("closing the run"):
            self.worker.close(status, attributes)
        with self._guarded("saying what was recorded"):
            log_coverage(self, "end")

    def commit(self) -> None:
        """End the windows and ask for a commit."""
        self.outbox.close_windows()
        save_skips(self)
        save_thinning(self)
        self.worker.commit()

    def _guarded(self, what: str, batch: Batch | None = None) -> Guard:
        return Guard(self, what, batch)

    def failed(self, what: str, error: Exception, batch: Batch | None) -> None:
        """Say that something of ours failed, and count the batch it cost."""
        hurt = batch or self.batch
        if hurt is not None:
            # Kept by the writer, who tells the store of it at the next commit.
            self.worker.lose(hurt.phase)
        self.gate = 0
        self.batch = None
        self.fault(what, error)

    def _may_begin(self) -> bool:
        """Return whether a forward that begins now could be a batch."""
        if self.closed or torch._C._current_graph_task_id() != -1:
            return False  # closed; or checkpointing runs the model again for its backward
        if self._process != os.getpid():
            self.closed = True  # a forked child has no writer
            return False
        if not self.capturing:
            return True
        with self._guarded("looking at a CUDA graph"):
            forward_captured(self)
        return False

    @property
    def capturing(self) -> bool:
        """Whether what runs now goes into a CUDA graph, to be done when that is replayed."""
        return self.device is not None and self.device.capturing()

    @property
    def leaves_out(self) -> bool:
        """Whether batches are left out."""
        return self._schedules.phases is not None or self.sampler.thins

    def _begin(self, training: bool, samples: int) -> None:
        self._close_batch()
        if self.remarks.pending:
            self.remarks.tell()
        phase, epoch, step = self.clock.begin(training)
        at = step if phase == TRAIN else self.clock.nth(phase)
        self.coverage.began = True
        self.skipping = not (
            self._taken(self._schedules.of_phase(phase), at) and self.sampler.takes(phase, epoch)
        )
        self._depth = 1
        self._owner = get_ident()
        if self.skipping or torch._C._get_tracing_state() is not None:
            if self.inside is not None:
                self.inside.take_off()
            return
        if self.inside is not None:
            self.inside.put_on()
        self.sampler.begin(self.spent)
        row = self.outbox.open_row(phase)
        if row is None:
            return
        if self.gradients is not None:
            self.gradients.begin()
        for recorded, schedule in self.table.scheduled:
            # The first forward tells the rows, so all layers take part in it.
            recorded.resting = self.table.fixed and not self._taken(schedule, at)
            if recorded.resting and self.device is not None and self.device.captured:
                self.table.forget(recorded)  # a CUDA graph counts it all the same
            if recorded.name in self.thinned:
                hooks = self.thinned[recorded.name]
                (hooks.take_off if recorded.resting else hooks.put_on)()
        self.batch = Batch(phase, epoch, step, samples)
        self.row = row
        if self.watching is not None:
            self.watching.seen.clear()
        self.gate = self._open_gate or get_ident()

    def _taken(self, schedule: Callable[[int], bool] | None, at: int) -> bool:
        if schedule is None:
            return True
        try:
            return bool(schedule(at))
        except Exception as error:
            self.fault(f"the schedule {words_of(schedule)}, which now takes every batch,", error)
            return True

    def _end(self, found: tuple[str, torch.Tensor] | None) -> None:
        """Close the gate on a batch whose main tensor is `found`."""
        self.close_gate()
        batch = self.batch
        if batch is None:
            return
        if self.watching is not None:
            self.find_output(found)
        self.keep_main(batch, found)

    def close_gate(self) -> None:
        """End the open batch; it stays open for a loss, targets and gradients alone."""
        self.gate = 0
        self.coverage.leave()
        batch = self.batch
        if batch is None:
            return
        batch.time = time.time()
        if self.gradients is not None:
            self.gradients.forward_ended()
        if not self._declared:
            if not self.table.fixed:
                self.table.fix()
                self.table.lay_out_device()
                self._forget_resting(batch)
            self.table.lay_out_device()
            self.worker.declare_layers([row.info() for row in self.table.rows])
            # Last: a signal may have come between the steps.
            self._declared = True
        self.outbox.rest()
        if self.gradients is not None:
            self.gradients.layers_fixed()
        batch.ended = True
        self._counted = (batch.phase, batch.epoch, batch.step)
        if not self._looked:
            self._looked = True
            say_coverage(self)

    def keep_main(self, batch: Batch, found: tuple[str, torch.Tensor] | None) -> None:
        """Keep the value of the model's output, unless the user named another."""
        output = None if found is None or self.joining.named else found[1]
        self.joining.keep(batch, output, sum(self.batches.values()))

    def find_output(self, found: tuple[str, torch.Tensor] | None) -> None:
        """Find out whose output the model's is; then stop watching."""
        watching, self.watching = self.watching, None
        if not self.coverage.compiled:
            # Compiled code is compiled anew when hooks go, and costs nothing for probes.
            for handle in self.probes:
                handle.remove()
            self.probes.clear()
        model = self.model()
        if watching is None or found is None or model is None:
            return
        # By module: a batch that is held has an output before its rows are fixed.
        modules = self.table.recorded.values()
        names = frozenset(row.name for module in modules for row in module.rows.values())
        owner = watching.owner(found[1], names)
        # A function after the last layer made it: it is the model's own.
        self.joining.layer = owner or root_name(model) + found[0]
        self.joining.squashed = isinstance(module_names(model).get(owner or ""), nn.Sigmoid)
        self.worker.update_attributes({"output_layer": self.joining.layer})

    def _take_loss(
        self, loss: torch.Tensor | None, target: torch.Tensor | None, given: torch.Tensor | None
    ) -> None:
        if self.closed or torch._C._current_graph_task_id() != -1:
            return
        self.joining.criterion_called()
        if self.capturing:
            self.joining.capture_loss(loss, target)
        elif self.batch is not None:
            self.joining.take_loss(self.batch, loss, target, given)

    def _forget_resting(self, batch: Batch) -> None:
        """Take back what the first forward counted of layers that were to be left out."""
        at = batch.step if batch.phase == TRAIN else self.clock.nth(batch.phase)
        for recorded, schedule in self.table.scheduled:
            if not self._taken(schedule, at):
                self.table.forget(recorded)

    def _clear(self) -> None:
        """Make the table ready for a batch; the one in it was half."""
        self._counted = None
        self.outbox.empty_row()

    def begin_told(self, samples: int) -> bool:
        """Open a batch that somebody will end; return whether this session can."""
        model = self.model()
        if model is None or not self._may_begin():
            return False
        if self._depth:
            self.drop_half()
        with self._guarded("beginning a batch"):
            self._begin(model.training, samples)
        return not self.closed

    def end_told(self) -> None:
        """Close the gate on the batch that `begin_told` opened."""
        self._depth = 0
        if self.is_open():
            with self._guarded("ending a batch"):
                self.close_gate()
                self._keep_replayed()

    def _keep_replayed(self) -> None:
        model, batch = self.model(), self.batch
        if model is not None and batch is not None:
            n = sum(self.batches.values())
            self.joining.keep_replayed(batch, training=model.training, n_batches=n)

    def is_owner(self) -> bool:
        """Return whether this thread began the batch that runs."""
        return self._owner == get_ident()

    def drop_half(self) -> None:
        """Forget a batch whose forward never ended."""
        self._depth = 0
        self.gate = 0
        self.batch = None
        self._clear()

    def _seal(self, batch: Batch) -> None:
        phase = batch.phase
        if self.device is None:
            self.joining.settle(batch)
        remark = self.joining.remark(self.batches.get(TRAIN, 0) + 1) if phase == TRAIN else None
        if remark is not None:
            self.warn(remark)
        batch.apart = self.table.apart()
        if self.gradients is not None:
            batch.gradient, batch.output_gradient = self.gradients.take()
        self.batches[phase] = self.batches.get(phase, 0) + 1
        say_cost(self)
        self.outbox.give(batch)
        if self.worker.commit_due():
            self.commit()


def _calls_of(model: nn.Module, thread: int) -> int:
    """Return how many calls of `model` a thread is in."""
    code = nn.Module._call_impl.__code__
    frame, calls = sys._current_frames().get(thread), 0
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is model:
            calls += 1
        frame = frame.f_back
    return calls
