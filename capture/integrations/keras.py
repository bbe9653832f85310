"""A callback for Keras 3 on its torch backend.

Keras keeps its layers in lists that torch does not look into, so they are
recorded as the children of a module of ours, under Keras' own names. Imports
Keras and torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from actrace.capture.hooks import _Hook, _silent
from actrace.capture.integrations.attachment import Attachment, missing
from actrace.errors import MissingDependencyError, RecorderError

try:
    import keras
except ImportError as absent:
    if absent.name in ("tensorflow", "jax", "openvino"):
        raise MissingDependencyError(
            f"Keras finds no {absent.name}, and actrace records its torch backend: set "
            "KERAS_BACKEND=torch before keras is imported"
        ) from None
    missing("keras", absent)

__all__ = ["KerasCallback"]


class KerasCallback(keras.callbacks.Callback):
    """Records a Keras model while it fits, evaluates or predicts.

    Phases are ``train``, ``valid`` (the validation of a fit), ``test``
    (``evaluate``) and ``predict``. Beside each batch stand its loss and, in
    training, the learning rate as ``lr`` and the optimizer's steps so far as
    ``global_step``; beside the last batch of a phase Keras' logs. Targets are
    those that the loss is called with. Layers have Keras' names. The run is
    closed when Keras is done, and gone on with when the callback is used again.

    Parameters
    ----------
    path : str or path
        Where the run goes.
    **settings
        Whatever `actrace.record` takes. By default, layers are all layers
        without layers of their own.

    Raises
    ------
    RecorderError
        A setting that means nothing, or Keras has another backend.

    Examples
    --------
    >>> from actrace import every
    >>> KerasCallback("runs/mnist", schedule=every(10))
    KerasCallback(at rest, 'runs/mnist')
    """

    def __init__(self, path: str | os.PathLike[str], **settings: Any) -> None:
        super().__init__()
        if keras.backend.backend() != "torch":
            raise RecorderError(
                f"Keras runs on {keras.backend.backend()!r}, and actrace records its torch "
                "backend: set KERAS_BACKEND=torch before keras is imported"
            )
        self.attachment = Attachment(path, settings)
        self._layers: _Layers | None = None
        self._fitting = False
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._batch_model: Any = None

    # Keras' events: begin and end.

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the run, or go on with it."""
        self._attach()
        self._fitting = True
        self.attachment.begin_training()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch."""
        with self.attachment.harmless("beginning an epoch"):
            self.attachment.begin_epoch(int(epoch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the epoch's logs, onto its last batch."""
        self._log(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the run."""
        self._fitting = False
        self.attachment.end_training()
        self._close()

    def on_test_begin(self, logs: Any = None) -> None:
        """Begin the run, or go on with it, unless a fit did."""
        if not self._fitting:
            self._attach()

    def on_test_end(self, logs: Any = None) -> None:
        """Take the logs; close the run, unless this was a fit's validation."""
        if not self._fitting:
            self._log(logs)
            self._close()

    def on_predict_begin(self, logs: Any = None) -> None:
        """Begin the run, or go on with it."""
        if not self._fitting:
            self._attach()

    def on_predict_end(self, logs: Any = None) -> None:
        """Close the run."""
        if not self._fitting:
            self._close()

    # Keras' events: batches.

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch; learning rate and steps are those it is trained with."""
        with self.attachment.harmless("beginning a batch"):
            self.attachment.begin_batch("train", None)
            optimizer = self.model.optimizer
            if optimizer is not None:
                rate, steps = optimizer.learning_rate, optimizer.iterations
                rate, steps = getattr(rate, "value", rate), getattr(steps, "value", steps)
                self.attachment.log({"lr": rate, "global_step": steps})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """End the batch."""
        with self.attachment.harmless("ending a batch"):
            self.attachment.end_batch()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch."""
        with self.attachment.harmless("beginning a batch"):
            self.attachment.begin_batch("valid" if self._fitting else "test", None)

    on_test_batch_end = on_train_batch_end

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch."""
        with self.attachment.harmless("beginning a batch"):
            self.attachment.begin_batch("predict", None)

    on_predict_batch_end = on_train_batch_end

    # What they share.

    def loss_computed(self, y: Any, y_pred: Any, loss: Any) -> None:
        """Take target and loss of a batch, as the compiled loss sees them."""
        with self.attachment.harmless("reading the loss"):
            session = self.attachment.recorder and self.attachment.recorder._session
            if session is None or session.batch is None:
                return
            value = loss.detach() if isinstance(loss, torch.Tensor) else loss
            self.attachment.log(loss=value)
            if isinstance(y, torch.Tensor) and isinstance(y_pred, torch.Tensor):
                self.attachment.log(target=_plain(y, y_pred))

    def _attach(self) -> None:
        attachment, model = self.attachment, self.model
        if attachment.silent:
            return
        if self._layers is None or self._layers.model_id != id(model):
            self._layers = _Layers(model)
        layers = self._layers
        attachment.attach(
            layers,
            held=True,
            layers=None if "layers" in attachment.settings else layers.is_leaf,
        )
        if not self._handles:
            self._handles.append(
                model.register_forward_hook(_Forward(self, layers), with_kwargs=True)
            )
            self._batch_model = model
            model.__dict__["compute_loss"] = _Loss(self, model.compute_loss)

    def _close(self) -> None:
        with self.attachment.harmless("closing the run"):
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            if self._batch_model is not None:
                self._batch_model.__dict__.pop("compute_loss", None)
                self._batch_model = None
            self.attachment.close()

    def _log(self, logs: Any) -> None:
        with self.attachment.harmless("reading the logs"):
            self.attachment.log(logs)

    def __repr__(self) -> str:
        return f"KerasCallback({self.attachment!r})"


class _Layers(nn.Module):
    """All layers of a Keras model under Keras' names, for torch to see."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model_id = id(model)
        self._leaves: set[int] = set()
        prefix = f"{model.name}/"
        taken: set[str] = set()
        seen: set[int] = set()
        for layer in _inside(model):
            if id(layer) in seen or isinstance(layer, keras.layers.InputLayer):
                continue
            seen.add(id(layer))
            path = str(layer.path or layer.name).removeprefix(prefix)
            name = path = path.replace(".", "_")
            n = 1
            while name in taken:
                n += 1
                name = f"{path}_{n}"
            taken.add(name)
            self._modules[name] = layer
            if not layer._layers:
                self._leaves.add(id(layer))

    def named_modules(
        self,
        memo: set[nn.Module] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yield the layers by Keras' names alone."""
        yield prefix, self
        for name, layer in self._modules.items():
            if layer is not None:
                yield f"{prefix}.{name}" if prefix else name, layer

    def is_leaf(self, name: str, module: nn.Module) -> bool:
        """Return whether a module is a layer without layers of its own."""
        return id(module) in self._leaves

    def train(self, mode: bool = True) -> _Layers:
        """Leave the layers' own modes alone."""
        self.training = mode
        return self


def _inside(layer: Any) -> Iterator[Any]:
    """Yield the layers in a layer in their order, each before those in it."""
    for part in layer._layers:
        yield part
        yield from _inside(part)


class _Forward(_Hook):
    """Forward hook of the Keras model: it is the output of a batch."""

    __slots__ = ("callback", "layers")

    def __init__(self, callback: KerasCallback, layers: _Layers) -> None:
        self.callback = callback
        self.layers = layers

    def __call__(self, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Show it to the session."""
        recorder = self.callback.attachment.recorder
        if recorder is not None and not torch.compiler.is_compiling():
            session = recorder._session
            if session.held.open:
                session.begin(self.layers, args, kwargs)
                session.end(output)


class _Loss:
    """Stands in for a model's `compute_loss`: calls it, and shows what it saw."""

    def __init__(self, callback: KerasCallback, compute: Any) -> None:
        self.callback = callback
        self.compute = compute

    def __call__(
        self, x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        loss = self.compute(x, y, y_pred, *args, **kwargs)
        if not torch.compiler.is_compiling():
            self.callback.loss_computed(y, y_pred, loss)
        return loss

    def __reduce__(self) -> Any:
        return _silent, ()


def _plain(y: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """Return class numbers where Keras has them in a column, or as floats."""
    if y_pred.ndim == 2 and y_pred.shape[1] > 1:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 1:
            return y.long()
    return y
