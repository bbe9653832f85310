"""A recorder for loops that Accelerate prepared, and its tracker.

The loop is the user's, so `record` does nearly all; here is what Accelerate
wraps, and what its trackers expect. Imports Accelerate and torch.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
from torch import nn

from actrace.capture.hooks import _Hook
from actrace.capture.integrations.attachment import learning_rates, missing, number, safe_name
from actrace.capture.integrations.model_outputs import labels_and_loss
from actrace.capture.record import record
from actrace.capture.recorder import Recorder
from actrace.errors import RecorderError

try:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker
except ImportError as absent:
    missing("accelerate", absent)

__all__ = ["ActraceTracker", "record_accelerate"]


def record_accelerate(
    accelerator: Accelerator, model: nn.Module, path: str | os.PathLike[str], **settings: Any
) -> Recorder:
    """Return a recorder of a model that Accelerate prepared.

    As `actrace.record` of the model inside, and besides: the learning rates of
    the prepared optimizers stand beside each training batch as ``lr``, ``lr_1``,
    ...; ``accelerator.log({...})`` attaches numbers to the batch that is open;
    ``accelerator.end_training()`` closes the recorder. Models that compute their
    own loss from labels, as those of Transformers do, give both.

    Parameters
    ----------
    accelerator : Accelerator
    model : Module
        As ``accelerator.prepare`` returned it.
    path : str or path
        Where the run goes.
    **settings
        Whatever `actrace.record` takes.

    Raises
    ------
    RecorderError
        Not an Accelerator, or what `actrace.record` raises.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> accelerator = Accelerator(cpu=True)
    >>> model = accelerator.prepare(nn.Linear(4, 3))
    >>> with record_accelerate(accelerator, model, folder.name + "/run") as recorder:
    ...     _ = model(torch.zeros(2, 4))
    ...     accelerator.log({"accuracy": 0.5})
    >>> recorder.report().batches
    {'train': 1}
    >>> folder.cleanup()
    """
    if not isinstance(accelerator, Accelerator):
        raise RecorderError(
            f"accelerator must be an accelerate.Accelerator, got {type(accelerator).__name__}; "
            "call actrace.record_accelerate(accelerator, model, path)"
        )
    if settings.get("gradients") and getattr(accelerator, "scaler", None) is not None:
        settings.setdefault("scaler", accelerator.scaler)
    inner = accelerator.unwrap_model(model, keep_fp32_wrapper=True, keep_torch_compile=False)
    recorder = record(inner, path, **settings)
    reader = _Reader(recorder, accelerator)
    recorder._handles.append(inner.register_forward_hook(reader, with_kwargs=True))
    tracker = ActraceTracker(recorder)
    # init_trackers begins anew from log_with; before or without it, trackers is what is asked.
    accelerator.log_with = [*(accelerator.log_with or ()), tracker]
    accelerator.trackers.append(tracker)
    return recorder


class ActraceTracker(GeneralTracker):
    """Accelerate's tracker of a recorder; `record_accelerate` adds it by itself.

    Parameters
    ----------
    recorder : Recorder
    """

    name = "actrace"
    requires_logging_directory = False

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    @property
    def tracker(self) -> Recorder:
        """The recorder."""
        return self._recorder

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Leave it: the run's config is what `record` was given."""

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        """Attach numbers to the batch that is open; `step` is the recorder's own."""
        session = self._recorder._session
        scalars = {safe_name(name): number(value) for name, value in values.items()}
        if session.batch is not None:
            kept = {name: value for name, value in scalars.items() if value is not None}
            self._recorder.log(**kept)

    def finish(self) -> None:
        """Close the recorder."""
        self._recorder.close()


class _Reader(_Hook):
    """Forward hook of the model: learning rates, and labels and loss if it has them."""

    __slots__ = ("accelerator",)

    def __init__(self, recorder: Recorder, accelerator: Accelerator) -> None:
        super().__init__(recorder._session)
        self.accelerator = accelerator

    def __call__(self, module: nn.Module, _args: Any, kwargs: Any, output: Any) -> None:
        """Attach them to the batch."""
        session = self.session
        if torch.compiler.is_compiling() or torch._C._current_graph_task_id() != -1:
            return
        batch = session.batch
        if batch is None:
            return
        try:
            labels, loss = labels_and_loss(module, kwargs, output)
            value = number(loss)
            if value is not None:
                batch.loss = value
            if labels is not None:
                session.log_target(labels)
            if module.training:
                optimizers = getattr(self.accelerator, "_optimizers", ())
                groups = [group.get("lr") for each in optimizers for group in each.param_groups]
                for name, rate in learning_rates(groups).items():
                    with contextlib.suppress(TypeError, ValueError):
                        plain = number(rate)
                        if plain is not None:
                            batch.logged[name] = plain
        except Exception as error:
            session.fault("reading a batch", error)
