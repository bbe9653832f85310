"""A callback for Lightning's Trainer.

A batch is what lies between Lightning's batch hooks, whatever modules the step
calls. May import Lightning, under either of its names, and torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from actrace.capture.integrations.attachment import (
    Attachment,
    Target,
    learning_rates,
    missing,
    number,
)
from actrace.errors import RecorderError

try:
    from lightning.pytorch import Callback
except ImportError as absent:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        missing("lightning", absent)

__all__ = ["LightningCallback"]


class LightningCallback(Callback):
    """Records a LightningModule while a Trainer fits, validates, tests or predicts.

    A batch of the Trainer is a batch, also under gradient accumulation. Phases
    are ``train``, ``valid``, ``test`` and ``predict``; the sanity check is not
    recorded. Beside each batch stand its loss, the learning rates as ``lr``,
    ``lr_1``, ..., the optimizer's steps so far as ``global_step``, and what the
    module logged. The run is closed when the Trainer is done, and gone on with
    when it is used again.

    Parameters
    ----------
    path : str or path
        Where the run goes.
    criterion : Module or str, optional
        The loss module, or its name in the LightningModule. Default: the one
        loss of `torch.nn` in it, if there is exactly one.
    target : callable, optional
        Gives the target of a batch, where no criterion does:
        ``lambda batch: batch[1]``.
    **settings
        Whatever `actrace.record` takes. By default, layers are all leaf modules
        but losses and metrics.

    Raises
    ------
    RecorderError
        A setting that means nothing.

    Examples
    --------
    >>> from actrace import every
    >>> LightningCallback("runs/mnist", schedule=every(10))
    LightningCallback(at rest, 'runs/mnist')
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        criterion: nn.Module | str | None = None,
        target: Target | None = None,
        **settings: Any,
    ) -> None:
        self.attachment = Attachment(path, settings, target=target)
        self._criterion = criterion

    # Lightning's hooks: begin and end.

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the run, or go on with it."""
        self._attach(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over how far a restored training has come."""
        with self.attachment.harmless("beginning a training"):
            # What a checkpoint restored; 0 in a training that begins.
            batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
            self.attachment.begin_training(int(batches))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch."""
        with self.attachment.harmless("beginning an epoch"):
            self.attachment.begin_epoch(int(trainer.current_epoch))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Take what is known only at the end of an epoch."""
        self._log_metrics(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take note that the training ended as it should."""
        self.attachment.end_training()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin or go on with the run, unless a fit did."""
        if not trainer.sanity_checking:
            self._attach(trainer, pl_module)

    on_test_start = on_validation_start
    on_predict_start = on_validation_start

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the metrics of the validation, onto its last batch."""
        if not trainer.sanity_checking:
            self._log_metrics(trainer)

    on_test_end = on_validation_end

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the run as failed."""
        with self.attachment.harmless("closing the run"):
            self.attachment.close("failed")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close the run."""
        with self.attachment.harmless("closing the run"):
            self.attachment.close()

    # Lightning's hooks: batches.

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin a batch; learning rates and steps are those it is trained with."""
        with self.attachment.harmless("beginning a batch"):
            self.attachment.begin_batch("train", batch)
            groups = [g.get("lr") for o in trainer.optimizers for g in o.param_groups]
            rates = learning_rates(groups)
            self.attachment.log({**rates, "global_step": trainer.global_step})

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the batch with its loss and what was logged."""
        with self.attachment.harmless("ending a batch"):
            self.attachment.end_batch(batch)
            loss = number(_loss(outputs))
            if loss is not None and pl_module.automatic_optimization:
                # Lightning has divided it by the batches it accumulates.
                loss *= trainer.accumulate_grad_batches
            self.attachment.log(loss=loss)
        self._log_metrics(trainer)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a batch."""
        if not trainer.sanity_checking:
            self._begin("valid", batch)

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End the batch with its loss, if the step returned it."""
        if not trainer.sanity_checking:
            with self.attachment.harmless("ending a batch"):
                self.attachment.end_batch(batch)
                self.attachment.log(loss=_loss(outputs))

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a batch."""
        self._begin("test", batch)

    on_test_batch_end = on_validation_batch_end

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Begin a batch."""
        self._begin("predict", batch)

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End the batch; predictions are no loss, and have no target."""
        with self.attachment.harmless("ending a batch"):
            self.attachment.end_batch()

    # What they share.

    def _attach(self, trainer: Any, module: nn.Module) -> None:
        attachment = self.attachment
        criterion = self._criterion
        if isinstance(criterion, str):
            criterion = _named(module, criterion)
        elif criterion is None:
            criterion = _only_loss(module)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        attachment.attach(
            module,
            held=True,
            criterion=criterion,
            layers=None if "layers" in attachment.settings else _Layers(module),
            scaler=scaler if attachment.settings.get("gradients") else None,
        )

    def _begin(self, phase: str, batch: Any) -> None:
        with self.attachment.harmless("beginning a batch"):
            self.attachment.begin_batch(phase, batch)

    def _log_metrics(self, trainer: Any) -> None:
        with self.attachment.harmless("reading the metrics"):
            if self.attachment.recording:
                self.attachment.log(trainer.callback_metrics)

    def __repr__(self) -> str:
        return f"LightningCallback({self.attachment!r})"


class _Layers:
    """Chooses the leaf modules that are neither loss nor metric nor inside one."""

    def __init__(self, model: nn.Module) -> None:
        left_out = {id(part) for m in model.modules() if _is_aside(m) for part in m.modules()}
        self._left_out = left_out

    def __call__(self, name: str, module: nn.Module) -> bool:
        return id(module) not in self._left_out and next(module.children(), None) is None


def _is_aside(module: nn.Module) -> bool:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(module).__mro__}
    return _is_loss(module) or bool(
        kinds & {"torchmetrics.metric.Metric", "torchmetrics.collections.MetricCollection"}
    )


def _is_loss(module: nn.Module) -> bool:
    return isinstance(module, torch.nn.modules.loss._Loss)


def _only_loss(model: nn.Module) -> nn.Module | None:
    found = list(_losses(model))
    return found[0] if len(found) == 1 else None


def _losses(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if _is_loss(module))


def _named(model: nn.Module, name: str) -> nn.Module:
    found: nn.Module | None = dict(model.named_modules()).get(name)
    if found is None:
        losses = [repr(at) for at, module in model.named_modules() if _is_loss(module)]
        raise RecorderError(
            f"criterion={name!r} is no module of {type(model).__name__}; its losses are "
            f"{', '.join(losses) or 'none: give target=lambda batch: batch[1] instead'}"
        )
    return found


def _loss(outputs: Any) -> Any:
    return outputs.get("loss") if isinstance(outputs, Mapping) else outputs
