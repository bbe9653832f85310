"""The labelled group of a run as it is recorded: targets in, windows out.

Learns the task from the first usable target, adds each batch to the open
window, and says why where it cannot. A target that does not fit is warned of
once and counted; it never stops a training. May import torch and NumPy.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actrace.capture.labels.sums import LabelledSums
from actrace.capture.labels.targets import Labelling, infer_task, labelling, likely_tasks
from actrace.errors import TargetError
from actrace.store.axis import Axis
from actrace.store.rows import OutputInfo

__all__ = ["MAX_UNITS", "LabelWork"]

#: Batches that pass with no target in sight before outputs are no longer kept.
_PATIENCE: Final = 16
#: Units that are labelled at most: with 512 bins the open window takes 67 MB.
MAX_UNITS: Final = 4096


class LabelWork:
    """Everything about targets in a recording.

    Parameters
    ----------
    axis : Axis
    criterion : Module or None
    task : str or None
    classes : tuple of str or None
    compiled : bool
        Count with Numba.
    warn : callable
        Says something to the user, once.
    known : OutputInfo or None
        What a resumed run's group is about.

    Attributes
    ----------
    lost : int
        Batches whose labels could not be counted.
    reason : str or None
        Why, of the first of them.
    """

    def __init__(
        self,
        axis: Axis,
        criterion: nn.Module | None,
        task: str | None,
        classes: tuple[str, ...] | None,
        *,
        compiled: bool,
        warn: Callable[[str], None],
        known: OutputInfo | None = None,
    ) -> None:
        self._axis = axis
        # Weak: a hook on the criterion leads back to here.
        self._criterion = None if criterion is None else weakref.ref(criterion)
        self._task = task
        self._classes = classes
        self._compiled = compiled
        self.say = warn
        self._known = known
        self._seen_target = False
        self._asked = criterion is not None or task is not None or classes is not None
        self.labels: Labelling | None = None
        self.sums: LabelledSums | None = None
        self.lost = 0
        self.reason: str | None = None
        self.off = False

    def warm_up(self) -> None:
        """Compile what the task will need, as far as it can be told by now."""
        criterion = None if self._criterion is None else self._criterion()
        for task in likely_tasks(criterion, self._task):
            n = 1 if task == "binary" else 2
            names = () if task == "regression" else ("0", "1")
            labels = Labelling(task, n, names, names[:n] or ("0", "1"), 0.0)
            values = torch.zeros(1, n)
            target = torch.zeros(1) if task in ("single-label", "binary") else values
            sums = LabelledSums(labels, self._axis, compiled=self._compiled)
            outputs, wanted = labels.read(values, target)
            sums.add(outputs, sums.find(outputs), wanted)

    def wanted(self, batches: int) -> bool:
        """Return whether the output of the next batch is worth keeping."""
        return not self.off and (self._asked or self._seen_target or batches < _PATIENCE)

    def seen(self) -> None:
        """Note that targets do come."""
        self._seen_target = True

    def read(
        self, values: torch.Tensor, target: torch.Tensor, squashed: bool
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return outputs and targets as `Labelling.read`, settling the task first.

        Raises
        ------
        TargetError
            They do not fit.
        """
        if target.numel() == 0 and values.numel() == 0 and self.labels is None:
            raise TargetError("got an empty batch, which tells no task")
        if self.labels is None:
            criterion = None if self._criterion is None else self._criterion()
            task = infer_task(values, target, criterion, self._task)
            labels = labelling(task, values, target, criterion, self._classes, squashed)
            result = labels.read(values, target)
            self._check_known(labels)
            # The labels last: a signal between the two leaves all of it to the next batch.
            self.sums = LabelledSums(labels, self._axis, compiled=self._compiled)
            self.labels = labels
            return result
        return self.labels.read(values, target)

    def say_once(self, reason: str) -> None:
        """Say why a batch has no labels, the first time."""
        if self.reason is None:
            self.reason = reason
            self.say(
                f"the targets of a batch cannot be recorded: {reason}. "
                "The training goes on without them"
            )

    def info(self, layer: str) -> OutputInfo:
        """Return what the store is told of the group; `labels` must be known."""
        labels = self.labels
        if labels is None:
            raise TargetError("no target was seen yet")
        return OutputInfo(layer, labels.task, labels.classes, labels.units, labels.threshold)

    def _check_known(self, labels: Labelling) -> None:
        if labels.n_units > MAX_UNITS:
            self.off = True
            raise TargetError(
                f"got an output of {labels.n_units} units, and more than {MAX_UNITS} would take "
                "too much memory; the layer is recorded, its labels are not"
            )
        known = self._known
        if known is not None and (known.task, known.classes, known.units) != (
            labels.task,
            labels.classes,
            labels.units,
        ):
            self.off = True
            raise TargetError(
                f"got a {labels.task} task with {len(labels.units)} units, expected "
                f"{known.task} with {len(known.units)} as in the run that is resumed"
            )
