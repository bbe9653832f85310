"""A callback for fastai's Learner.

Imports fastai's basics and hooks, which need no torchvision, and torch.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from torch import nn

from actrace.capture.integrations.attachment import Attachment, Target, learning_rates, missing

try:
    with warnings.catch_warnings():
        # fastai 2.8 still uses torch.jit.script, which torch calls deprecated.
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        from fastai.callback.core import Callback
except ImportError as absent:
    missing("fastai", absent)

__all__ = ["FastaiCallback"]


class FastaiCallback(Callback):
    """Records a Learner's model while it fits, validates or predicts.

    Phases are ``train`` and ``valid``; epochs go on from fit to fit. Beside each
    batch stand its loss and the learning rates as ``lr``, ``lr_1``, ...; beside
    the last of an epoch what fastai's own table shows. The search for a learning
    rate (``lr_find``) is not recorded. The run is closed after each fit and gone
    on with in the next.

    Parameters
    ----------
    path : str or path
        Where the run goes.
    target : callable, optional
        Gives the target of a batch ``(*xb, *yb)``. Default: what the loss
        function is called with, where it is a module or fastai's wrapper of one.
    **settings
        Whatever `actrace.record` takes.

    Raises
    ------
    RecorderError
        A setting that means nothing.

    Examples
    --------
    >>> from actrace import every
    >>> FastaiCallback("runs/mnist", schedule=every(10))
    FastaiCallback(at rest, 'runs/mnist')
    """

    #: After the schedulers (60), so that a batch's learning rate is known.
    order = 70

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        target: Target | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.attachment = Attachment(path, settings, target=target)
        self._fitting = False

    def before_fit(self) -> None:
        """Begin the run, or go on with it."""
        learn, attachment = self.learn, self.attachment
        if hasattr(learn, "lr_finder"):
            return
        scaler = next((cb.scaler for cb in learn.cbs if hasattr(cb, "scaler")), None)
        attachment.attach(
            learn.model,
            held=True,
            criterion=_criterion(learn.loss_func),
            scaler=scaler if attachment.settings.get("gradients") else None,
        )
        self._fitting = False

    def before_train(self) -> None:
        """Begin an epoch; an epoch without training is a look of the user's."""
        with self.attachment.harmless("beginning an epoch"):
            if self.attachment.recording:
                if not self._fitting:
                    self._fitting = True
                    self.attachment.begin_training()
                self.attachment.begin_epoch(int(self.learn.epoch))

    def before_batch(self) -> None:
        """Begin a batch."""
        learn, attachment = self.learn, self.attachment
        if not attachment.recording:
            return
        with attachment.harmless("beginning a batch"):
            attachment.begin_batch("train" if learn.training else "valid", learn.xb)
            if learn.training:
                rates = [group.get("lr") for group in learn.opt.hypers]
                attachment.log(learning_rates(rates))

    def after_batch(self) -> None:
        """End the batch with its loss."""
        learn, attachment = self.learn, self.attachment
        if not attachment.recording:
            return
        with attachment.harmless("ending a batch"):
            attachment.end_batch((*learn.xb, *learn.yb))
            if len(learn.yb):
                attachment.log(loss=learn.loss)

    def after_epoch(self) -> None:
        """Take the epoch's row of fastai's table, onto its last batch."""
        recorder = getattr(self.learn, "recorder", None)
        if recorder is None or not self.attachment.recording:
            return
        with self.attachment.harmless("reading the metrics"):
            names, values = list(recorder.metric_names)[1:], list(recorder.log)[1:]
            if self._fitting and len(names) >= len(values):
                row = dict(zip(names, values, strict=False))
                row.pop("time", None)
                self.attachment.log(row)

    def after_fit(self) -> None:
        """Close the run."""
        with self.attachment.harmless("closing the run"):
            self.attachment.end_training()
            self.attachment.close()

    def __repr__(self) -> str:
        return f"FastaiCallback({self.attachment!r})"


def _criterion(loss_func: Any) -> nn.Module | None:
    """Return the module of a loss function, which fastai may wrap."""
    inner = getattr(loss_func, "func", loss_func)
    return inner if isinstance(inner, nn.Module) else None
