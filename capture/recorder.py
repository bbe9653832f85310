"""The user's face of capture: `record` and the `Recorder` it returns.

Checks what was asked before anything is touched, hangs the hooks on the model
and takes them off again. What happens in between is `batches`. May import torch
and the store's writer.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn

from actrace.capture.batches import Session
from actrace.capture.checks import (
    as_number,
    as_tensor,
    check_criterion,
    check_model,
    check_same_run,
    check_settings,
    checked_config,
    checked_name,
    checked_tags,
)
from actrace.capture.environment import run_environment
from actrace.capture.gradient_settings import (
    GradientChoice,
    check_gradients,
    check_same_parameters,
    record_gradients,
)
from actrace.capture.hooks import (
    BeginHook,
    CriterionHook,
    EndHook,
    EnterHook,
    ExitHook,
    LayerHook,
    LeaveHook,
    OutputHook,
    ProbeHook,
    WrapperHook,
)
from actrace.capture.kernels.select import make_kernel
from actrace.capture.label_group import LabelWork
from actrace.capture.latest import LayerStatistics
from actrace.capture.layer_table import LayerTable
from actrace.capture.model_changes import ModelChanges
from actrace.capture.phases import TRAIN, PhaseClock
from actrace.capture.ranks import find_place
from actrace.capture.report import Report, report_of
from actrace.capture.schedules import ScheduleChoice, Schedules
from actrace.capture.selection import (
    LayerChoice,
    find_module,
    module_names,
    other_names,
    select_modules,
)
from actrace.capture.targets import check_classes
from actrace.capture.tensors import unit_kind
from actrace.capture.wrappers import compiled_parts, compiled_wrappers, is_leaf, root_of
from actrace.store.axis import Asinh, Axis
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

__all__ = ["Recorder", "record"]


def record(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    layers: LayerChoice = None,
    axis: Axis | None = None,
    criterion: nn.Module | None = None,
    schedule: ScheduleChoice = None,
    layer_schedule: Mapping[str, Callable[[int], bool]] | None = None,
    functional: bool = False,
    classes: int | Sequence[str] | None = None,
    task: str | None = None,
    output: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    active_threshold: float = 1e-8,
    gradients: GradientChoice = False,
    scaler: torch.amp.GradScaler | None = None,
    resume: bool = False,
    overwrite: bool = False,
    durability: Literal["process", "power"] = "process",
    flush_seconds: float = 10.0,
    distributed: bool | None = None,
    kernel: str | None = None,
) -> Recorder:
    """Return a recorder that writes what the model's layers do from now on.

    Every forward of `model` is a batch. Outputs, gradients, random state and
    weights of the training are bitwise those without the recorder.

    Parameters
    ----------
    model : Module
        The model whose calls are the batches.
    path : str or path
        Where the run goes; ``.zarr`` is added to its name if missing.
    layers : str, type, callable or iterable of str and types, optional
        Name patterns (``"layer?.conv*"``), module types or a predicate
        ``(name, module) -> bool``. Default: every leaf module.
    axis : Axis, default Asinh()
        The bins of every histogram; a resumed run keeps its own.
    criterion : Module, optional
        The loss module that the loop calls: its calls give loss and targets.
    schedule : callable or mapping of str to callable, optional
        Which batches are recorded, ``step -> bool``: ``actrace.every(10)``,
        ``actrace.first(100) | actrace.every(50)``, or one for each of some
        phases. In training the step counts training batches, elsewhere the
        batches of that phase. Default: all.
    layer_schedule : mapping of str to callable, optional
        Name pattern -> schedule of the layers it matches, which are left out of
        the other batches.
    functional : bool, default False
        Also record activation functions (``F.relu(x)``), which no module's hook
        sees; their rows are called ``block.relu()``. Not in compiled code.
    classes : int or sequence of str, optional
        Number or names of the classes.
    task : str, optional
        ``"single-label"``, ``"binary"``, ``"multi-label"`` or ``"regression"``.
        Default: told by criterion, targets and outputs.
    output : str, optional
        Name of the output layer. Default: the layer whose output is the model's.
    config : mapping, optional
        Anything that JSON can hold, kept with the run.
    tags : sequence of str
    active_threshold : float, default 1e-8
        An element is active if its absolute value is above this (monitorch).
    gradients : bool or "outputs", default False
        Record each parameter's gradient after the backward pass; with
        ``"outputs"`` also the gradients of the layers' outputs.
    scaler : GradScaler, optional
        The loop's, in mixed precision: gradients are divided by its loss scale.
    resume : bool
        Go on with the run at `path`; begin one if there is none.
    overwrite : bool
        Replace the run at `path`.
    durability : {"process", "power"}
        What a committed batch survives: the death of the process, or of the
        machine.
    flush_seconds : float, default 10
        Commit about this often.
    distributed : bool, optional
        Whether this process is one of several that train together. Each of them
        then records ``rank-<n>.zarr`` in a folder named as the run, without
        waiting for the others, and `actrace.open` of the folder merges them.
        Default: told by torch.distributed or torchrun's environment.
    kernel : str, optional
        ``"numba"``, ``"torch"`` or ``"reference"``. Default: the fastest there is.

    Raises
    ------
    RecorderError
        Something asked for cannot be; nothing was touched.
    RunExistsError, RunLockedError, NotARunError, NewerSchemaError, DamagedRunError
        What stands at `path` forbids it.
    StoreWriteError
        `path` cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> with record(model, folder.name + "/first") as recorder:
    ...     for _ in range(5):
    ...         _ = model(torch.randn(16, 4))
    >>> recorder.report().batches
    {'train': 5}
    >>> folder.cleanup()
    """
    check_model(model)
    check_criterion(criterion)
    check_settings(
        axis=axis,
        functional=functional,
        active_threshold=active_threshold,
        flush_seconds=flush_seconds,
        durability=durability,
        resume=resume,
        overwrite=overwrite,
    )
    check_gradients(model, gradients, scaler)
    names = check_classes(classes, task)
    schedules = Schedules(schedule, {} if layer_schedule is None else layer_schedule)
    given, model = model, root_of(model)
    chosen = select_modules(model, layers, exclude=() if criterion is None else (criterion,))
    if not functional:
        schedules.check_layers(chosen)
    named_output = None if output is None else find_module(model, output)
    attributes = {
        **run_environment(),
        "config": checked_config(config),
        "tags": checked_tags(tags),
        "active_threshold": float(active_threshold),
        **schedules.attributes(),
        "output_layer": output,
    }
    place = find_place(path, distributed, resume=resume, overwrite=overwrite)
    attributes |= place.attributes
    going_on = resume and place.path.exists()
    ready = make_kernel(kernel, axis or Asinh(), active_threshold)
    if going_on:
        writer = RunWriter.resume(place.path, durability=durability)
        try:
            check_same_run(writer, axis, active_threshold, chosen, functional)
            check_same_parameters(writer, model, gradients)
        except BaseException:
            writer.close("finished")
            raise
        ready = make_kernel(kernel, writer.axis, active_threshold)
    else:
        writer = RunWriter.create(
            place.path,
            axis=axis or Asinh(),
            attributes=attributes,
            overwrite=overwrite,
            durability=durability,
        )
    place.settle(writer)
    for dtype in _dtypes(model):
        ready.warm_up(dtype)
    worker = WriterThread(writer, flush_seconds=flush_seconds)
    remarks: list[str] = []
    labels = LabelWork(
        writer.axis,
        criterion,
        task,
        names,
        compiled=ready.name == "numba",
        warn=remarks.append,
        known=next((info for p in writer.phases if (info := writer.output(p))), None),
    )
    labels.warm_up()
    session = Session(
        model,
        worker,
        LayerTable(chosen, ready, writer.axis.n_bins, writer.layers or (), schedules),
        labels,
        axis=writer.axis,
        clock=_resumed_clock(place.last_scalars(writer)),
        schedules=schedules,
        functional=functional,
        output=None if named_output is None else (named_output[0], named_output[2]),
        has_criterion=criterion is not None,
    )
    labels.say = session.warn
    if named_output is not None:
        session.squashed = isinstance(named_output[1], nn.Sigmoid)
    record_gradients(
        session, model, gradients, scaler, kernel=ready.name, threshold=active_threshold
    )
    session.changes = ModelChanges(model, chosen)
    handles = _attach(model, session, chosen, criterion, named_output)
    handles += _watch_compiled(given, model, session)
    return Recorder(session, writer.path, handles)


class Recorder:
    """Records a model until it is closed; made by `record`.

    Also a context manager. One that is never closed is closed when the
    interpreter ends.

    Attributes
    ----------
    path : Path
        The run's directory.
    """

    def __init__(
        self, session: Session, path: Path, handles: list[torch.utils.hooks.RemovableHandle]
    ) -> None:
        self.path = path
        self._session = session
        self._handles = handles
        self._at_exit: Callable[[], None] | None = partial(_close_at_exit, self)
        # Strong, so that a recorder nobody kept still writes its last batch.
        atexit.register(self._at_exit)

    @property
    def closed(self) -> bool:
        """Whether recording has ended."""
        return self._session.closed

    def log(self, *, target: Any = None, loss: Any = None, **scalars: Any) -> None:
        """Attach a target, a loss or named numbers to the batch that is open.

        A target that does not fit the output is warned of, never raised.

        Parameters
        ----------
        target : Tensor or array, optional
            What the output of the batch should have been.
        loss : float or tensor, optional
        **scalars : float or tensor of one element
            Recorded along the batches under these names.

        Raises
        ------
        RecorderError
            A name that cannot stand in the store, or a value that is no number.

        Examples
        --------
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Linear(4, 3)
        >>> with record(model, folder.name + "/logged") as recorder:
        ...     loss = model(torch.zeros(2, 4)).sum()
        ...     recorder.log(target=torch.tensor([0, 2]), loss=loss, lr=3e-2)
        >>> recorder.report().output
        'Linear: single-label, 3 units'
        >>> folder.cleanup()
        """
        session = self._session
        values = {checked_name(name): as_number(name, value) for name, value in scalars.items()}
        number = None if loss is None else as_number("loss", loss)
        wanted = None if target is None else as_tensor(target)
        batch = session.batch
        if batch is None:
            if not session.skipping and not session.closed:
                session.warn(
                    "recorder.log() was called while no batch was open, so its values are not "
                    "recorded; call it after the model's forward and before the next one"
                )
            return
        batch.logged.update(values)
        if number is not None:
            batch.loss = number
        if wanted is not None:
            session.log_target(wanted)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Recorder]:
        """Let the batches inside a ``with`` be of phase `name`.

        Raises
        ------
        RecorderError
            The name cannot stand in the store.

        Examples
        --------
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Linear(4, 3)
        >>> with record(model, folder.name + "/tested") as recorder:
        ...     with recorder.phase("test"):
        ...         _ = model(torch.zeros(2, 4))
        >>> recorder.report().batches
        {'test': 1}
        >>> folder.cleanup()
        """
        self._session.clock.enter(name)
        self._session.seal()
        try:
            yield self
        finally:
            self._session.seal()
            self._session.clock.leave()

    @contextlib.contextmanager
    def batch(self, *, samples: int | None = None) -> Iterator[Recorder]:
        """Let everything inside a ``with`` be one batch, whatever modules are called.

        For a loop that calls parts of the model, or the model several times, for
        one batch. A batch that ends in an error is dropped.

        Parameters
        ----------
        samples : int, optional
            Samples in the batch. Default: told by the first forward of the model.

        Examples
        --------
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.ModuleDict({"encoder": nn.Linear(4, 2), "decoder": nn.Linear(2, 4)})
        >>> with record(model, folder.name + "/parts") as recorder:
        ...     for x in torch.randn(3, 16, 4):
        ...         with recorder.batch(samples=len(x)):
        ...             _ = model["decoder"](model["encoder"](x))
        >>> recorder.report().batches
        {'train': 3}
        >>> folder.cleanup()
        """
        held = self._session.held
        if held.is_mine():
            yield self  # inside another one: part of it
            return
        held.begin(samples=samples)
        try:
            yield self
        except BaseException:
            held.drop()
            raise
        held.end()

    def step(self, step: int) -> None:
        """Set the number of training batches so far, so that the next is number `step`.

        For a loop that goes on from a checkpoint; otherwise steps count themselves.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        self._session.clock.set_step(step)

    def epoch(self, epoch: int) -> None:
        """Set the epoch of the batches to come, counted from 0.

        From the first call on, epochs are no longer told by the return to
        training: name each one.

        Raises
        ------
        RecorderError
            Not a whole number from 0.
        """
        self._session.clock.set_epoch(epoch)
        self._session.seal()
        self._session.close_windows()

    def flush(self, timeout: float | None = None) -> bool:
        """Write all that was recorded; return whether readers see it now.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.
        """
        session = self._session
        session.seal()
        session.close_windows()
        return session.flush(timeout)

    def close(self, status: Literal["finished", "failed"] = "finished") -> None:
        """End the recording: take the hooks off, write everything; twice is once.

        Parameters
        ----------
        status : {"finished", "failed"}
            How the run is said to have ended.
        """
        session = self._session
        if session.closed:
            return
        session.seal()
        session.close_windows()
        session.closed = True
        if session.gradients is not None:
            session.gradients.close()
        for handle in (*self._handles, *session.probes):
            handle.remove()
        self._handles.clear()
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None  # it leads back here, and only gc would free the two
        session.finish(status)

    def latest(self, layer: str) -> LayerStatistics | None:
        """Return the newest statistics of a layer, without touching the disk.

        Those of the batch whose forward ended last, also before it is written;
        None before the first. While a forward runs: those asked for last.

        Parameters
        ----------
        layer : str
            Name of a recorded layer, as in the store.

        Raises
        ------
        LayerNotFoundError
            No such layer is recorded.

        Examples
        --------
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> with record(model, folder.name + "/watched") as recorder:
        ...     _ = model(torch.full((16, 4), -1e9))
        ...     relu = recorder.latest("1")
        >>> relu.step, relu.elements
        (0, 128)
        >>> folder.cleanup()
        """
        return self._session.latest(layer)

    def report(self) -> Report:
        """Return what fired, what did not and why, and what recording cost."""
        return report_of(self._session, self.path)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # sys.exit() and sys.exit(0) are how a script that went well ends.
        well = isinstance(error, SystemExit) and error.code in (None, 0)
        self.close("finished" if kind is None or well else "failed")

    def __repr__(self) -> str:
        session = self._session
        counts = ", ".join(f"{name} {n}" for name, n in session.batches.items())
        state = "closed" if session.closed else "recording"
        n_layers = len(session.table.rows) or len(session.table.recorded)
        return (
            f"Recorder({str(self.path)!r}, {state}, "
            f"{n_layers} {'layer' if n_layers == 1 else 'layers'}, "
            f"batches: {counts or 'none yet'})"
        )

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def _close_at_exit(recorder: Recorder) -> None:
    # An unhandled exception leaves its value behind; in an interactive session
    # that may be of any earlier cell.
    raised = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
    recorder.close("failed" if raised else "finished")


def _attach(
    model: nn.Module,
    session: Session,
    chosen: dict[str, nn.Module],
    criterion: nn.Module | None,
    named_output: tuple[str, nn.Module, str] | None,
) -> list[torch.utils.hooks.RemovableHandle]:
    handles = [model.register_forward_pre_hook(BeginHook(session), prepend=True, with_kwargs=True)]
    for name, module in chosen.items():
        hook = LayerHook(
            session,
            session.table.recorded[name],
            module,
            gradients=session.gradients is not None and session.gradients.outputs is not None,
        )
        handles.append(module.register_forward_hook(hook))
    if named_output is not None:
        _, module, leaf = named_output
        handles.append(module.register_forward_hook(OutputHook(session, leaf)))
    named = module_names(model)
    watching = handles if session.coverage.functional else session.probes
    for name, module in named.items():
        if name not in chosen and module is not model and module is not criterion:
            probe = ProbeHook(session, name, unit_kind(module))
            session.probes.append(module.register_forward_hook(probe))
        # A leaf of torch's own returns what its function returned: its hook sees it.
        sees = is_leaf(module) and type(module).__module__.startswith("torch.")
        if module is not model:
            enter, leave = EnterHook(session, name, sees), ExitHook(session, name)
            watching.append(module.register_forward_pre_hook(enter))
            watching.append(module.register_forward_hook(leave))
    handles.append(model.register_forward_hook(EndHook(session)))
    handles.append(model.register_forward_hook(LeaveHook(session), always_call=True))
    if criterion is not None:
        handles.append(criterion.register_forward_hook(CriterionHook(session), with_kwargs=True))
    session.coverage.shared = {
        name: others for name, others in other_names(model).items() if name in chosen
    }
    return handles


def _watch_compiled(
    given: nn.Module, model: nn.Module, session: Session
) -> list[torch.utils.hooks.RemovableHandle]:
    """Hang hooks on what `torch.compile` made, to tell a recorder that came too late."""
    wrappers = {id(found): found for found in compiled_wrappers(given)}
    handles = [
        found.register_forward_hook(WrapperHook(session, None)) for found in wrappers.values()
    ]
    for name, part in compiled_parts(model).items():
        handles.append(part.register_forward_hook(WrapperHook(session, name)))
    return handles


def _dtypes(model: nn.Module) -> set[torch.dtype]:
    """Return the floating dtypes that the model's layers will likely give."""
    found = {p.dtype for p in model.parameters() if p.dtype.is_floating_point}
    return found or {torch.float32}


def _resumed_clock(last: dict[str, dict[str, int]]) -> PhaseClock:
    """Return a clock that goes on after a run's last committed batches, by phase."""
    clock = PhaseClock()
    if last:
        trained = last[TRAIN]["step"] + 1 if TRAIN in last else 0
        step = max(trained, *(scalars["step"] for scalars in last.values()))
        epoch = max(scalars["epoch"] for scalars in last.values())
        # A batch of another phase came after the last training batch.
        away = any(p != TRAIN and s["step"] >= step > 0 for p, s in last.items())
        clock.resume(epoch, step, away)
    return clock
