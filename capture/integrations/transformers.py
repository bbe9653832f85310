"""A callback for Transformers' Trainer.

A forward of the model inside the Trainer's loops is a batch. Imports
Transformers and torch.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

import torch
from torch import nn

from actrace.capture.hooks import _Hook
from actrace.capture.integrations.attachment import Attachment, learning_rates, missing, safe_name
from actrace.capture.integrations.model_outputs import labels_and_loss

try:
    from transformers import Trainer, TrainerCallback
except ImportError as absent:
    missing("transformers", absent)

__all__ = ["TransformersCallback"]


class TransformersCallback(TrainerCallback):
    """Records a model while a Trainer trains, evaluates or predicts.

    Phases are ``train``, ``valid`` (evaluation) and ``test`` (prediction). Beside
    each batch stand its loss, the learning rates as ``lr``, ``lr_1``, ... and the
    optimizer's steps so far as ``global_step``; what the Trainer logs stands
    beside the batch that was the last one then. Targets are the labels of models
    that classify each sample. The run is closed when the Trainer is done, and
    gone on with when it is used again.

    Parameters
    ----------
    path : str or path
        Where the run goes; a trial of a search for hyperparameters adds its name.
    **settings
        Whatever `actrace.record` takes. By default, `classes` are the model's
        own ``id2label`` where it classifies sequences, images or audio.

    Raises
    ------
    RecorderError
        A setting that means nothing.

    Examples
    --------
    >>> from actrace import every
    >>> TransformersCallback("runs/reviews", schedule=every(10))
    TransformersCallback(at rest, 'runs/reviews')
    """

    def __init__(self, path: str | os.PathLike[str], **settings: Any) -> None:
        self.attachment = Attachment(path, settings)
        self._state: Any = None
        self._optimizer: Any = None
        #: An evaluation or prediction outside of a training, that woke us.
        self._woken = False
        self._wakers: list[torch.utils.hooks.RemovableHandle] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    # The Trainer's events.

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Watch the model for an evaluation before any training."""
        self._watch(kwargs.get("model"))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the run, or go on with it."""
        attachment = self.attachment
        self._state, self._optimizer = state, kwargs.get("optimizer")
        if state.is_hyper_param_search:
            attachment.turn_to(f"{attachment.base}-{safe_name(str(state.trial_name))}")
        self._watch(kwargs["model"])
        self._attach(kwargs["model"])
        with attachment.harmless("beginning a training"):
            attachment.begin_training(state.global_step * args.gradient_accumulation_steps)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an epoch."""
        with self.attachment.harmless("beginning an epoch"):
            # It is a fraction that may fall short of a whole number.
            self.attachment.begin_epoch(int((state.epoch or 0) + 1e-6))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take what the Trainer logs."""
        with self.attachment.harmless("reading the logs"):
            kept = {name: logs[name] for name in logs or {} if name != "epoch"}
            self.attachment.log(kept)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the run."""
        self.attachment.end_training()
        self._close()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the run, unless the evaluation is a training's."""
        if self._woken:
            self._close()

    def on_predict(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Take the metrics; close the run, unless the prediction is a training's."""
        with self.attachment.harmless("reading the metrics"):
            self.attachment.log(metrics)
        if self._woken:
            self._close()

    # What its hooks call.

    def forward_begins(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        """Go on with the run for an evaluation or prediction outside of a training."""
        attachment = self.attachment
        if attachment.recording or attachment.silent:
            return
        phase = self._running()
        if phase is None:
            return
        self._attach(model)
        recorder = attachment.recorder
        if recorder is None:
            return
        self._woken = True
        recorder._session.clock.enter(attachment.told or phase)
        # Hooks hung up in a forward miss its beginning.
        recorder._session.begin(model, args, kwargs)

    def forward_ended(self, model: nn.Module, kwargs: Any, output: Any) -> None:
        """Take labels, loss, learning rates and steps of a batch."""
        attachment = self.attachment
        with attachment.harmless("reading a batch"):
            labels, loss = labels_and_loss(model, kwargs, output)
            attachment.log(target=labels, loss=loss)
            if model.training:
                groups = getattr(self._optimizer, "param_groups", ())
                rates = learning_rates(group.get("lr") for group in groups)
                attachment.log({**rates, "global_step": getattr(self._state, "global_step", None)})

    # What they share.

    def _running(self) -> str | None:
        """Return the phase of our Trainer's loop that this call is made from, if any."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_name
            if name in ("evaluate", "predict"):
                trainer = frame.f_locals.get("self")
                if isinstance(trainer, Trainer) and self in trainer.callback_handler.callbacks:
                    return "test" if name == "predict" else "valid"
            frame = frame.f_back
        return None

    def _watch(self, model: nn.Module | None) -> None:
        for handle in self._wakers:
            handle.remove()
        self._wakers.clear()
        if model is not None and not self.attachment.silent:
            waker = _Waker(self)
            self._wakers.append(
                model.register_forward_pre_hook(waker, prepend=True, with_kwargs=True)
            )

    def _attach(self, model: nn.Module) -> None:
        self._woken = False
        self.attachment.attach(model, held=False, classes=_classes(model))
        for handle in self._hooks:
            handle.remove()
        self._hooks = [model.register_forward_hook(_Reader(self), with_kwargs=True)]

    def _close(self) -> None:
        with self.attachment.harmless("closing the run"):
            self._woken = False
            for handle in self._hooks:
                handle.remove()
            self._hooks.clear()
            self.attachment.close()

    def __repr__(self) -> str:
        return f"TransformersCallback({self.attachment!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_wakers": [], "_hooks": [], "_optimizer": None}


class _Waker(_Hook):
    """Forward pre-hook of the model: the Trainer may evaluate or predict."""

    __slots__ = ("callback",)

    def __init__(self, callback: TransformersCallback) -> None:
        self.callback = callback

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Wake the callback."""
        if not torch.compiler.is_compiling():
            self.callback.forward_begins(module, args, kwargs)


class _Reader(_Hook):
    """Forward hook of the model: a batch's labels and loss are there."""

    __slots__ = ("callback",)

    def __init__(self, callback: TransformersCallback) -> None:
        self.callback = callback

    def __call__(self, module: nn.Module, _args: Any, kwargs: Any, output: Any) -> None:
        """Pass them on."""
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() == -1:
            self.callback.forward_ended(module, kwargs, output)


def _classes(model: nn.Module) -> list[str] | None:
    """Return the names of the classes that a classifier of samples tells apart."""
    config = getattr(model, "config", None)
    kinds = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")
    if config is None or not type(model).__name__.endswith(kinds):
        return None
    n, labels = getattr(config, "num_labels", 0), getattr(config, "id2label", None) or {}
    if n < 2 or getattr(config, "problem_type", None) == "regression":
        return None
    names = [str(labels.get(at, at)) for at in range(n)]
    return names if len(set(names)) == n else None
