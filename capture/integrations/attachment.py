"""What the callbacks of all frameworks share: one recording that follows a host.

Begins, ends and goes on with the run, names and checks the numbers that a host
logs, and keeps its own faults from the training. May import torch, and none of
the frameworks.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import re
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.context import get_spawning_popen
from numbers import Number
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import nn

from actrace.capture.checks import check_settings, checked_config, checked_tags
from actrace.capture.labels.targets import check_classes
from actrace.capture.record import record
from actrace.capture.recorder import Recorder
from actrace.capture.tensors import first_tensor
from actrace.errors import ActraceWarning, MissingDependencyError, RecorderError
from actrace.store.schema import check_name

__all__ = ["Attachment", "learning_rates", "missing", "n_samples", "number", "safe_name"]

Target = Callable[[Any], Any]


class Attachment:
    """The recording that a host's callback holds: at rest, or following a training.

    A copy, or one that was unpickled, is silent: it records nothing.

    Parameters
    ----------
    path : str or path
        Where the run goes.
    settings : mapping
        Whatever else `actrace.record` takes.
    target : callable, optional
        Gives the target of a host's batch.

    Raises
    ------
    RecorderError
        A setting that `actrace.record` does not take, or a value that means
        nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        *,
        target: Target | None = None,
    ) -> None:
        self.path = self.base = os.fspath(path)
        self.settings = _checked(settings)
        if target is not None and not callable(target):
            raise RecorderError(
                f"target must be a function from a batch to its target, got {target!r}; "
                "for example target=lambda batch: batch[1]"
            )
        self.target = target
        self.silent = False
        self.recorder: Recorder | None = None
        #: Phase that the user named for whatever comes.
        self.told: str | None = None
        self._model: weakref.ref[nn.Module] | None = None
        self._began = False
        self._next_epoch = 0
        self._first_epoch = 0
        self._training = False

    # The run.

    @property
    def recording(self) -> bool:
        """Whether something is recorded now."""
        return self.recorder is not None and not self.recorder.closed

    def attach(self, model: nn.Module, *, held: bool, **found: Any) -> None:
        """Begin the run, or go on with it where it was begun before.

        Parameters
        ----------
        model : Module
        held : bool
            The host tells where batches begin and end; otherwise a forward is one.
        **found
            Settings that the host gave, where the user gave none.
        """
        if self.silent:
            return
        if self.recording:
            if self._model is not None and self._model() is model:
                return
            self.close()
        taken = inspect.signature(record).parameters
        settings = {
            **{name: value for name, value in found.items() if name in taken and value is not None},
            **self.settings,
        }
        if self._began:
            settings.update(resume=True, overwrite=False)
        recorder = record(model, self.path, **settings)
        recorder._session.held.only = held
        self.recorder = recorder
        self._model = weakref.ref(model)
        self._began = True
        clock = recorder._session.clock
        self._next_epoch = clock.epoch + 1 if clock.step else 0

    def turn_to(self, path: str) -> None:
        """Record what comes into another run."""
        if path != self.path:
            self.close()
            self.path, self._began, self._next_epoch = path, False, 0

    def begin_training(self, step: int = 0) -> None:
        """Take note that a training begins, after `step` batches by the host's count.

        Where a host counts from 0 again, the recording counts on.
        """
        self._training = True
        self._first_epoch = -1
        if self.recorder is not None and step:
            self.recorder.step(step)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch of a training, by the host's count."""
        if self.recorder is None:
            return
        if self._first_epoch < 0:
            self._first_epoch = self._next_epoch if epoch == 0 else 0
        at = self._first_epoch + epoch
        self.recorder.epoch(at)
        self._next_epoch = at + 1

    def end_training(self) -> None:
        """Take note that the training ended as it should."""
        self._training = False

    def close(self, status: Literal["finished", "failed"] | None = None) -> None:
        """Close the run; it failed if a training began and did not end."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None and not recorder.closed:
            recorder.close(status or ("failed" if self._training else "finished"))
        self._training = False

    # Batches and what belongs to them.

    def begin_batch(self, phase: str, data: Any) -> None:
        """Begin a batch of `phase`, or of the phase that the user named."""
        if self.recorder is not None:
            held = self.recorder._session.held
            held.begin(phase=self.told or phase, samples=n_samples(data))

    def end_batch(self, data: Any = None) -> None:
        """End the batch, and take its target if the user said how."""
        if self.recorder is not None:
            self.recorder._session.held.end()
            if self.target is not None and data is not None:
                self.log(target=self.target(data))

    def log(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        target: torch.Tensor | None = None,
        loss: Any = None,
    ) -> None:
        """Attach numbers to the batch that is open; what is no number is left out."""
        recorder = self.recorder
        if recorder is None or recorder._session.batch is None:
            return
        scalars: dict[str, float] = {}
        for name, value in (values or {}).items():
            plain = number(value)
            if plain is not None:
                scalars[safe_name(name)] = plain
        recorder.log(target=target, loss=number(loss), **scalars)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Let whatever the host runs inside a ``with`` be of phase `name`.

        Raises
        ------
        RecorderError
            The name cannot stand in the store.
        """
        try:
            self.told, before = check_name(name, "phase"), self.told
        except ValueError as error:
            raise RecorderError(str(error)) from None
        try:
            yield
        finally:
            self.told = before

    @contextlib.contextmanager
    def harmless(self, what: str) -> Iterator[None]:
        """Let no fault of ours out into the training: say it once."""
        try:
            yield
        except Exception as error:
            if self.recorder is not None:
                self.recorder._session.fault(what, error)
                return
            text = f"{what} failed: {type(error).__name__}: {error}. The training goes on"
            # Where warnings are errors, this one must still not reach the training.
            with contextlib.suppress(ActraceWarning):
                warnings.warn(text, ActraceWarning, stacklevel=3)

    # Copies.

    def __deepcopy__(self, memo: dict[int, Any]) -> Attachment:
        return _silent_copy()

    def __copy__(self) -> Attachment:
        return _silent_copy()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if get_spawning_popen() is not None:
            # On its way into a worker of this very training, which is to record.
            return _again, (self.path, self.settings, self.target)
        return _silent_copy, ()

    def __repr__(self) -> str:
        if self.silent:
            return "a copy, which records nothing"
        return repr(self.recorder) if self.recorder is not None else f"at rest, {self.path!r}"


def _again(path: str, settings: dict[str, Any], target: Target | None) -> Attachment:
    return Attachment(path, settings, target=target)


def _silent_copy() -> Attachment:
    copy = Attachment("", {})
    copy.silent = True
    return copy


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of `record` as far as they can be checked without a model."""
    known = inspect.signature(record).parameters
    for name in settings:
        if name not in known or name in ("model", "path"):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ", see actrace.record"
            raise RecorderError(f"{name!r} is no setting of a recorder{hint}")
    asked = {name: settings.get(name, known[name].default) for name in known}
    check_settings(**{name: asked[name] for name in inspect.signature(check_settings).parameters})
    check_classes(asked["classes"], asked["task"])
    checked_config(asked["config"])
    checked_tags(asked["tags"])
    return dict(settings)


def missing(package: str, error: ImportError) -> NoReturn:
    """Raise for a framework that is not installed; let its own faults pass.

    Raises
    ------
    MissingDependencyError
        Names the pip line.
    """
    absent = (error.name or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and absent in (package, "pytorch_lightning"):
        raise MissingDependencyError(
            f'{package} is not installed; run pip install "actrace[{package}]"'
        ) from None
    raise error


def safe_name(name: str) -> str:
    """Return a name that the store takes for a number that a host calls `name`.

    Examples
    --------
    >>> safe_name("val/acc"), safe_name("loss"), safe_name("2nd lr")
    ('val_acc', 'logged_loss', 'logged_2nd_lr')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", str(name)).strip("_")[:64]
    try:
        return check_name(plain, "logged variable")
    except ValueError:
        return f"logged_{plain}"[:64].rstrip("_")


def number(value: Any) -> float | None:
    """Return a value as a float, None if it is no number or lies on a device.

    Reading a number from a device would wait for it.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return float(value) if value.is_cpu and value.numel() == 1 else None
    if isinstance(value, np.ndarray):
        return float(value.reshape(())) if value.size == 1 and value.dtype.kind in "biuf" else None
    if isinstance(value, (Number, np.generic)) and not isinstance(value, complex):
        with contextlib.suppress(TypeError, ValueError):
            return float(value)  # type: ignore[arg-type]
    return None


def n_samples(data: Any) -> int | None:
    """Return how many samples a host's batch has, None if it does not tell."""
    source = first_tensor(data)
    return source.shape[0] if source is not None and source.ndim else None


def learning_rates(rates: Iterable[Any]) -> dict[str, Any]:
    """Return the learning rates of parameter groups by the names they get.

    Examples
    --------
    >>> learning_rates([0.1, 0.01])
    {'lr': 0.1, 'lr_1': 0.01}
    """
    return {f"lr_{at}" if at else "lr": rate for at, rate in enumerate(rates)}
