"""`record`: checks what is asked, then builds a recording and hangs it on the model.

Nothing is touched before everything is checked. May import torch and the
store's writer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn

from actrace.capture.attaching import attach, watch_compiled
from actrace.capture.batch import Batch
from actrace.capture.batches import Session
from actrace.capture.checks import (
    check_criterion,
    check_model,
    check_same_run,
    check_settings,
    checked_config,
    checked_tags,
)
from actrace.capture.cuda.capture import DeviceCapture
from actrace.capture.cuda.opening import check_cuda
from actrace.capture.environment import run_environment
from actrace.capture.gradients.settings import (
    GradientChoice,
    check_gradients,
    check_same_parameters,
    record_gradients,
)
from actrace.capture.hook_calls import hook_call_seconds
from actrace.capture.kernels.sampling import Sampling
from actrace.capture.kernels.select import make_kernel
from actrace.capture.labels.group import LabelWork
from actrace.capture.labels.targets import check_classes
from actrace.capture.layer_table import LayerTable
from actrace.capture.model.changes import ModelChanges
from actrace.capture.model.selection import LayerChoice, find_module, select_modules
from actrace.capture.model.wrappers import root_of
from actrace.capture.phases import TRAIN, PhaseClock
from actrace.capture.ranks import find_place
from actrace.capture.recorder import Recorder
from actrace.capture.sampler import AUTO, Sampler
from actrace.capture.schedules import ScheduleChoice, Schedules
from actrace.errors import RecorderError
from actrace.store.axis import Asinh, Axis
from actrace.store.worker import WriterThread
from actrace.store.writer import RunWriter

__all__ = ["record"]


def record(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    layers: LayerChoice = None,
    axis: Axis | None = None,
    criterion: nn.Module | None = None,
    schedule: ScheduleChoice | Literal["auto"] = None,
    layer_schedule: Mapping[str, Callable[[int], bool]] | None = None,
    functional: bool = False,
    split_calls: bool = False,
    classes: int | Sequence[str] | None = None,
    task: str | None = None,
    output: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    active_threshold: float = 1e-8,
    sample: Literal["exact", "histogram", "all", "auto"] = "exact",
    sample_stride: int = 17,
    sample_cost: float = 0.02,
    gradients: GradientChoice = False,
    scaler: torch.amp.GradScaler | None = None,
    resume: bool = False,
    overwrite: bool = False,
    durability: Literal["process", "power"] = "process",
    flush_seconds: float = 10.0,
    distributed: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    kernel: str | None = None,
    cuda: bool = False,
) -> Recorder:
    """Return a recorder that writes what the model's layers do from now on.

    Every forward of `model` is a batch. Outputs, gradients, random state and
    weights of the training are bitwise those without the recorder.

    Parameters
    ----------
    model : Module
        The model whose calls are the batches.
    path : str or path
        Where the run goes, a directory or ``s3://bucket/path``; ``.zarr`` is added to
        its name if missing.
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
        batches of that phase. ``"auto"`` leaves out as many as it takes to keep
        the cost under `sample_cost`, in one process alone. Default: all.
    layer_schedule : mapping of str to callable, optional
        Name pattern -> schedule of the layers it matches, which are left out of
        the other batches.
    functional : bool, default False
        Also record activation functions (``F.relu(x)``), which no module's hook
        sees; their rows are called ``block.relu()``. Not in compiled code.
    split_calls : bool, default False
        Give each call of a module in one batch a row of its own (``act``,
        ``act#2``), instead of adding them up: for cells and shared layers.
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
    sample : {"exact", "histogram", "all", "auto"}, default "exact"
        Read all of every tensor; or take the histogram from one block of 128
        elements in `sample_stride` and everything else from all; or read those
        blocks alone; or as ``"all"`` with a stride that keeps the cost under
        `sample_cost` if reading less can; what it cannot get under is said. Small
        tensors are always read whole, labels never sampled.
    sample_stride : int, default 17
        From 1; odd ones cannot beat with the channels.
    sample_cost : float, default 0.02
        What recording may take with ``"auto"``, as a share of a step without it:
        hooks, kernels and all of the writer thread's processor time.
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
        machine. In a bucket both: what it has acknowledged lasts.
    flush_seconds : float, default 10
        Commit about this often.
    distributed : bool, optional
        Whether this process is one of several that train together. Each of them
        then records ``rank-<n>.zarr`` in a folder named as the run, without
        waiting for the others, and `actrace.open` of the folder merges them.
        Default: told by torch.distributed or torchrun's environment.
    storage_options : mapping, optional
        For a URL, as for `actrace.open`; never stored. Default: the environment's.
    kernel : str, optional
        ``"numba"``, ``"torch"`` or ``"reference"``. Default: the fastest there is.
    cuda : bool, default False
        Also record tensors on a GPU: that of the model, or else the current one.
        Counted there, without a wait; experimental, see ``docs/gpu.md``. Not with
        `gradients`. Without it such tensors are left out, which is said.

    Raises
    ------
    RecorderError
        Something asked for cannot be; nothing was touched.
    RunExistsError, RunLockedError, NotARunError, NewerSchemaError, DamagedRunError
        What stands at `path` forbids it.
    StoreWriteError
        `path` cannot be written.
    MissingDependencyError, RemoteError
        Of a URL, as `actrace.open`.

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
        split_calls=split_calls,
        active_threshold=active_threshold,
        flush_seconds=flush_seconds,
        sample=sample,
        sample_stride=sample_stride,
        sample_cost=sample_cost,
        durability=durability,
        resume=resume,
        overwrite=overwrite,
    )
    check_gradients(model, gradients, scaler)
    gpu = check_cuda(model, cuda, stride=sample_stride, gradients=gradients)
    names = check_classes(classes, task)
    thins = isinstance(schedule, str) and schedule == AUTO
    schedules = Schedules(
        None if thins else cast("ScheduleChoice", schedule),
        {} if layer_schedule is None else layer_schedule,
    )
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
    if thins:
        attributes["schedule"] = AUTO
    place = find_place(
        path, distributed, resume=resume, overwrite=overwrite, storage_options=storage_options
    )
    if thins and place.rank is not None:
        raise RecorderError(
            'schedule="auto" goes by the clock of its own process, so the ranks would record '
            "different batches and could not be merged; use actrace.every(n), which is the same "
            "for all"
        )
    attributes |= place.attributes
    attributes["sample"] = Sampler(Sampling(), sample, sample_stride, sample_cost).attributes()
    going_on = resume and place.is_taken
    ready = make_kernel(kernel, axis or Asinh(), active_threshold)
    if going_on:
        writer = RunWriter.resume(
            place.path, durability=durability, storage_options=storage_options
        )
        try:
            check_same_run(
                writer,
                axis,
                active_threshold,
                chosen,
                functional=functional,
                split_calls=split_calls,
                sample=attributes["sample"]["mode"],
            )
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
            storage_options=storage_options,
        )
    place.settle(writer)
    sampler = Sampler(
        ready.sampling, sample, sample_stride, sample_cost, thins=thins, on_device=gpu is not None
    )
    sampler.left_out.update(writer.attributes.get("left_out") or {})
    if sampler.governor is not None:
        hook_call_seconds()  # now, where it holds up no step
    ready.warm_up(*_dtypes(model))
    remarks: list[str] = []
    device: DeviceCapture[Batch] | None = None
    if gpu is not None:
        device = DeviceCapture.on(
            gpu,
            writer.axis,
            active_threshold,
            remarks.append,
            None if sampler.exact else ready.sampling,
            partial=sampler.partial,
        )
    worker = WriterThread(writer, flush_seconds=flush_seconds)
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
        LayerTable(
            chosen,
            ready,
            writer.axis.n_bins,
            writer.layers or (),
            schedules,
            partial=sampler.partial,
            split_calls=split_calls,
            device=device,
        ),
        labels,
        axis=writer.axis,
        clock=_resumed_clock(place.last_scalars(writer)),
        schedules=schedules,
        sampler=sampler,
        functional=functional,
        output=None if named_output is None else (named_output[0], named_output[2]),
        has_criterion=criterion is not None,
    )
    labels.say = session.warn
    if device is not None:
        device.warn = session.warn
        for remark in remarks:
            session.warn(remark)
    if named_output is not None:
        session.joining.squashed = isinstance(named_output[1], nn.Sigmoid)
    record_gradients(
        session, model, gradients, scaler, kernel=ready.name, threshold=active_threshold
    )
    session.changes = ModelChanges(model, chosen)
    handles = attach(model, session, chosen, criterion, named_output)
    handles += watch_compiled(given, model, session)
    return Recorder(session, writer.path, handles)


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
