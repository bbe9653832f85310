"""Trains one case and keeps its run, with a file of what is true of it beside. May import torch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.pathologies.cases import Case
from benchmarks.pathologies.data import Split, load
from benchmarks.pathologies.loop import Epoch, prepare, run
from benchmarks.pathologies.models import weighted_layers
from benchmarks.pathologies.witness import witnesses
from torch import Tensor, nn

from actrace.store.paths import run_path

__all__ = ["Label", "is_recorded", "label_path", "read_label", "record_case"]


@dataclass(frozen=True, slots=True)
class Label:
    """What is true of a run, whatever a rule says of it.

    Attributes
    ----------
    faults, allowed : tuple of str
        Rules that must find something, and those that may besides.
    architecture, data, half : str
    planted : str
        The fault in words, empty where there is none.
    accuracy, train_accuracy : float
        Of the last epoch, as the loop saw them; of a regression the share of the variance
        that is explained.
    loss, valid_loss : tuple of float
        By epoch.
    healthy : bool or None
        Whether a training without a fault is what it is called; None with a fault.
    shows : bool
        Whether the fault shows in the run, by the witness of each rule; True without one.
    witnesses : mapping of str to float
        Rule -> the number by which it is told, for all rules; see `WITNESSES`.
    seconds : float
        Processor time that it took.
    """

    faults: tuple[str, ...]
    allowed: tuple[str, ...]
    architecture: str
    data: str
    half: str
    planted: str
    accuracy: float
    train_accuracy: float
    loss: tuple[float, ...]
    valid_loss: tuple[float, ...]
    healthy: bool | None
    shows: bool
    witnesses: Mapping[str, float | None]
    seconds: float


def label_path(directory: Path, case: Case) -> Path:
    """Return the file that holds a case's label; it is written last."""
    return directory / f"{case.name}.json"


def is_recorded(directory: Path, case: Case) -> bool:
    """Return whether the case's run and label stand there."""
    return label_path(directory, case).is_file() and (directory / f"{case.name}.zarr").is_dir()


def record_case(case: Case, directory: Path, data: Path | None) -> Label:
    """Train and record a case in place of what stands there, and return its label.

    Raises
    ------
    FileNotFoundError
        The data set is not in `data`.
    """
    label_path(directory, case).unlink(missing_ok=True)
    loop = prepare(case.training, _split(case.training.data, data))
    if case.fault is not None:
        case.fault.plant(loop)
    began, before = time.process_time(), _weights(loop.model)
    epochs = run(loop, directory / case.name)
    seconds = time.process_time() - began
    seen = witnesses(run_path(directory / case.name), epochs, _moved(before, _weights(loop.model)))
    label = _label(case, epochs, seen, seconds)
    text = json.dumps(asdict(label), indent=1)
    label_path(directory, case).write_text(text + "\n", encoding="utf-8")
    return label


def read_label(directory: Path, case: Case) -> Label:
    """Return what is true of a recorded case."""
    found: dict[str, Any] = json.loads(label_path(directory, case).read_text(encoding="utf-8"))
    return Label(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})


def is_healthy(epochs: list[Epoch], reaches: float) -> bool:
    """Return whether a training learnt, and did not overfit.

    It reaches its score; its validation loss ends within a tenth of its lowest; and it is
    no more than five hundredths better in training than in validation.
    """
    last = epochs[-1]
    lowest = min(epoch.valid_loss for epoch in epochs)
    return (
        last.valid_score >= reaches
        and last.valid_loss <= 1.1 * lowest
        and last.score - last.valid_score <= 0.05
    )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Return layer -> its weights as they are now, for every linear or convolutional layer."""
    weighted = {id(layer) for layer in weighted_layers(model)}
    return {
        name: module.weight.detach().clone()
        for name, module in model.named_modules()
        if id(module) in weighted
    }


def _moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Return layer -> how far its weights went, in shares of their first norm."""
    return {
        name: float((after[name] - first).norm() / first.norm().clamp(min=1e-12))
        for name, first in before.items()
    }


def _label(
    case: Case, epochs: list[Epoch], seen: Mapping[str, tuple[float, bool]], seconds: float
) -> Label:
    return Label(
        faults=case.rules,
        allowed=case.allowed,
        architecture=case.training.architecture,
        data=case.training.data,
        half=case.half,
        planted="" if case.fault is None else case.fault.words,
        accuracy=round(epochs[-1].valid_score, 4),
        train_accuracy=round(epochs[-1].score, 4),
        loss=tuple(epoch.loss for epoch in epochs),
        valid_loss=tuple(epoch.valid_loss for epoch in epochs),
        healthy=None if case.reaches is None else is_healthy(epochs, case.reaches),
        shows=all(seen[rule][1] for rule in case.rules),
        witnesses={
            rule: float(f"{value:.4g}") if math.isfinite(value) else None
            for rule, (value, _) in seen.items()
        },
        seconds=round(seconds, 2),
    )


@cache
def _split(name: str, data: Path | None) -> Split:
    return load(name, data)
