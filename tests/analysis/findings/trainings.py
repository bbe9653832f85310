"""Made-up trainings with one fault of a chosen size, for the tests of the rules.

`training` is a small classifier in which nothing is wrong: two layers with weights, a
ReLU behind each, and outputs that part from epoch to epoch. A test changes what it is
about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.synthetic import Batch, run_from_samples

from actrace.analysis.findings.diagnose import diagnose
from actrace.analysis.findings.finding import Finding
from actrace.store.run import Run

LAYERS = {"fc1": "Linear", "act1": "ReLU", "fc2": "Linear", "act2": "ReLU", "head": "Linear"}
EPOCHS, STEPS, SAMPLES, UNITS, CLASSES = 6, 8, 20, 10, 4

Activations = dict[str, NDArray[np.float64]]
#: Changes a batch's activations, knowing phase, epoch and batch of the epoch.
Change = Callable[[Activations, str, int, int], None]


def nothing(activations: Activations, phase: str, epoch: int, batch: int) -> None:
    """Leave a batch as it is."""


def training(
    change: Change = nothing,
    *,
    epochs: int = EPOCHS,
    steps: int = STEPS,
    classes: tuple[int, ...] = (5, 5, 5, 5),
    phases: tuple[str, ...] = ("train", "valid"),
    kinds: Mapping[str, str] = LAYERS,
    loss: Callable[[str, int], float] = lambda phase, epoch: 2.0 / (epoch + 1),
    labelled: bool = True,
    **options: Any,
) -> Run:
    """Return the run of a training, by default of one that is well.

    classes : samples of each class in a batch
    """
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(len(classes)), classes)
    # The same validation samples in each epoch, as in life.
    inputs = {phase: rng.normal(size=(steps, len(target), UNITS)) for phase in phases}
    made: dict[str, list[Batch]] = {phase: [] for phase in phases}
    for epoch in range(epochs):
        for phase in phases:
            if phase == "train":
                inputs[phase] = rng.normal(size=(steps, len(target), UNITS))
            for batch in range(steps if phase == "train" else max(steps // 2, 1)):
                x = inputs[phase][batch] * (1 + 0.1 * epoch)
                y = inputs[phase][batch][:, ::-1] * (1 + 0.2 * epoch)
                logits = x[:, : len(classes)] * 0.5
                logits[np.arange(len(target)), target] += 0.8 * (epoch + 1)
                activations = {
                    "fc1": x,
                    "act1": np.maximum(x, 0.0),
                    "fc2": y,
                    "act2": np.maximum(y, 0.0),
                    "head": logits,
                }
                change(activations, phase, epoch, batch)
                activations = {name: activations[name] for name in kinds if name in activations}
                made[phase].append(
                    Batch(activations, epoch, target if labelled else None, loss(phase, epoch))
                )
    return run_from_samples(made, layers=list(kinds), output="head", kinds=kinds, **options)


def grave(run: Run, rule: str, **thresholds: float) -> list[Finding]:
    """Return the warnings and errors of one rule."""
    given = {rule: thresholds} if thresholds else None
    found = diagnose(run, rules=rule, thresholds=given, progress=False)
    return [finding for finding in found if finding.severity != "info"]
