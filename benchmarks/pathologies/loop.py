"""The training loop, and what a fault may lay its hands on. May import torch and actrace."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from benchmarks.pathologies.data import Split
from benchmarks.pathologies.models import build
from benchmarks.pathologies.trainings import Training
from torch import Tensor, nn
from torch.nn import functional as F

import actrace
from actrace.errors import ActraceWarning

__all__ = ["Epoch", "Loop", "prepare", "run"]

Optimizers = Callable[..., torch.optim.Optimizer]


@dataclass(slots=True)
class Loop:
    """A training about to run; what a fault changes of it.

    Attributes
    ----------
    training : Training
    split : Split
        The data; replaced as a whole.
    model : Module
    optimizer : Optimizer
    before_step : list of callable
        Called with the number of the training step that is about to run.
    change_batch : list of callable
        Each takes the step and the training inputs, and returns those that are used.
    penalty : callable
        Takes the outputs, returns what is added to the loss.
    around : context manager
        Entered for as long as the training runs.
    """

    training: Training
    split: Split
    model: nn.Module
    optimizer: torch.optim.Optimizer
    before_step: list[Callable[[int], None]] = field(default_factory=list)
    change_batch: list[Callable[[int, Tensor], Tensor]] = field(default_factory=list)
    penalty: Callable[[Tensor], Tensor | float] = lambda _: 0.0
    around: AbstractContextManager[Any] = field(default_factory=nullcontext)

    @property
    def steps_an_epoch(self) -> int:
        """Training batches of an epoch."""
        return -(-len(self.split.x) // self.training.batch_size)

    @property
    def steps(self) -> int:
        """Training batches of the whole training."""
        return self.training.epochs * self.steps_an_epoch

    def optimize(self, parameters: Any, lr: float | None = None) -> None:
        """Give the training another optimizer, for these parameters or groups of them."""
        self.optimizer = _optimizer(self.training, parameters, lr)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What the loop itself saw of an epoch.

    Attributes
    ----------
    loss, valid_loss : float
        Means over the samples, without a penalty.
    score, valid_score : float
        Share of samples told right, or of the variance explained; that of training is
        taken while the weights move.
    """

    loss: float
    score: float
    valid_loss: float
    valid_score: float


def prepare(training: Training, split: Split) -> Loop:
    """Return the training, ready to run and healthy: the same one each time."""
    torch.manual_seed(training.seed)
    n, n_valid = training.n_train or len(split.x), training.n_valid or len(split.x_valid)
    split = Split(
        split.x[:n],
        split.y[:n],
        split.x_valid[:n_valid],
        split.y_valid[:n_valid],
        split.classes,
        split.mean,
        split.spread,
    )
    model = build(training, split)
    return Loop(training, split, model, _optimizer(training, model.parameters(), None))


def run(loop: Loop, path: Path) -> list[Epoch]:
    """Train, recorded into a run at `path` in place of any that stands there.

    Returns
    -------
    list of Epoch
    """
    settings = dict(loop.training.record)
    if "every" in settings:
        settings["schedule"] = actrace.every(settings.pop("every"))
    criterion = _criterion(loop.training)
    lr_schedule = _schedule(loop)
    with warnings.catch_warnings(), loop.around:
        # A recorder that a fault hits says so; the store says it as well.
        warnings.simplefilter("ignore", ActraceWarning)
        recorder = actrace.record(
            loop.model, path, criterion=criterion, overwrite=True, tags=["pathologies"], **settings
        )
        with recorder:
            return list(_epochs(loop, criterion, lr_schedule))


def _epochs(
    loop: Loop, criterion: nn.Module, lr_schedule: torch.optim.lr_scheduler.LRScheduler
) -> Iterator[Epoch]:
    step, size = 0, loop.training.batch_size
    for _ in range(loop.training.epochs):
        loop.model.train()
        seen = _Seen(loop.training.task)
        for batch in torch.randperm(len(loop.split.x)).split(size):
            for act in loop.before_step:
                act(step)
            x, y = loop.split.x[batch], loop.split.y[batch]
            if loop.training.augment:
                x = _augmented(x)
            for change in loop.change_batch:
                x = change(step, x)
            target = _target(loop.training, x, y)
            outputs = loop.model(x)
            loss = criterion(outputs, target)
            loop.optimizer.zero_grad()
            (loss + loop.penalty(outputs)).backward()
            loop.optimizer.step()
            lr_schedule.step()
            seen.add(outputs, target, loss)
            step += 1
        loop.model.eval()
        seen_valid = _Seen(loop.training.task)
        with torch.no_grad():
            for at in range(0, len(loop.split.x_valid), size):
                x, y = (
                    loop.split.x_valid[at : at + size],
                    loop.split.y_valid[at : at + size],
                )
                target = _target(loop.training, x, y)
                outputs = loop.model(x)
                seen_valid.add(outputs, target, criterion(outputs, target))
        yield Epoch(seen.loss, seen.score, seen_valid.loss, seen_valid.score)


class _Seen:
    """Loss and score over the batches of an epoch."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._n = 0
        self._loss = self._right = self._spread = 0.0

    def add(self, outputs: Tensor, target: Tensor, loss: Tensor) -> None:
        outputs = outputs.detach()
        self._n += len(target)
        self._loss += float(loss.detach()) * len(target)
        if self._task == "single-label":
            self._right += float((outputs.argmax(1) == target).sum())
        elif self._task == "binary":
            self._right += float(((outputs > 0) == (target > 0.5)).sum())
        else:
            self._right += float(((outputs - target) ** 2).sum())
            self._spread += float(((target - target.mean(0)) ** 2).sum())

    @property
    def loss(self) -> float:
        return self._loss / self._n

    @property
    def score(self) -> float:
        if self._task == "regression":
            return 1 - self._right / self._spread
        return self._right / self._n


def _criterion(training: Training) -> nn.Module:
    if training.task == "binary":
        return nn.BCEWithLogitsLoss()
    return nn.MSELoss() if training.task == "regression" else nn.CrossEntropyLoss()


def _target(training: Training, x: Tensor, y: Tensor) -> Tensor:
    if training.task == "binary":
        return y[:, None].float()
    return x.flatten(1) if training.task == "regression" else y


def _optimizer(training: Training, parameters: Any, lr: float | None) -> torch.optim.Optimizer:
    lr = training.lr if lr is None else lr
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=training.weight_decay)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=lr, weight_decay=training.weight_decay)


def _schedule(loop: Loop) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    if loop.training.schedule == "cosine":
        return schedulers.CosineAnnealingLR(loop.optimizer, loop.steps)
    if loop.training.schedule == "onecycle":
        return schedulers.OneCycleLR(loop.optimizer, loop.training.lr, loop.steps + 1)
    warm = loop.steps // 5 if loop.training.schedule == "warmup" else 0
    return schedulers.LambdaLR(loop.optimizer, lambda step: min(1.0, (step + 1) / (warm + 1)))


def _augmented(x: Tensor) -> Tensor:
    """Return images, each shifted by up to a pixel, half of the coloured ones mirrored."""
    down, right = (int(n) for n in torch.randint(0, 3, (2,)))
    rows, columns = x.shape[2:]
    moved = F.pad(x, (1, 1, 1, 1), mode="replicate")
    moved = moved[:, :, down : down + rows, right : right + columns]
    if x.shape[1] == 3:
        mirrored = torch.rand(len(x)) < 0.5
        moved = torch.where(mirrored[:, None, None, None], moved.flip(3), moved)
    return moved
