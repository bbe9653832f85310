"""What a run's targets mean, and whether they fit the outputs they came with.

Finds the task from the criterion, or else from dtypes and shapes, and turns an
output and its target into plain arrays. May import torch and NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actrace.errors import RecorderError, TargetError
from actrace.store.schema import TASKS

__all__ = ["Labelling", "check_classes", "infer_task", "labelling", "likely_tasks"]

SINGLE, BINARY, MULTI, REGRESSION = TASKS

_SINGLE_CRITERIA: Final = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_YES_NO_CRITERIA: Final = (
    nn.BCEWithLogitsLoss,
    nn.BCELoss,
    nn.SoftMarginLoss,
    nn.MultiLabelSoftMarginLoss,
)
_REGRESSION_CRITERIA: Final = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.PoissonNLLLoss,
    nn.GaussianNLLLoss,
)


def check_classes(classes: int | Sequence[str] | None, task: str | None) -> tuple[str, ...] | None:
    """Return the class names that a user gave, None if none.

    Raises
    ------
    RecorderError
        An unknown task, names that are not distinct, or classes that the task
        cannot have.
    """
    if task is not None and task not in TASKS:
        raise RecorderError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    if classes is None:
        return None
    if isinstance(classes, (bool, str)):
        raise RecorderError(f"classes takes names or their number, got {classes!r}")
    if isinstance(classes, int):
        names = tuple(str(at) for at in range(classes))
    else:
        names = tuple(str(name) for name in classes)
    if not names or len(set(names)) != len(names):
        raise RecorderError(f"classes must be one or more distinct names, got {classes!r}")
    if task == REGRESSION:
        raise RecorderError("a regression has no classes; leave classes out or choose another task")
    if task == BINARY and len(names) != 2:
        raise RecorderError(
            f"a binary task has 2 classes, no and yes, got {len(names)}: {', '.join(names)}"
        )
    return names


def likely_tasks(criterion: nn.Module | None, told: str | None) -> tuple[str, ...]:
    """Return the tasks that a criterion can mean, none if it does not tell."""
    if told is not None:
        return (told,)
    if isinstance(criterion, _SINGLE_CRITERIA):
        return (SINGLE,)
    if isinstance(criterion, _YES_NO_CRITERIA):
        return (BINARY, MULTI)
    return (REGRESSION,) if isinstance(criterion, _REGRESSION_CRITERIA) else ()


def infer_task(
    values: torch.Tensor, target: torch.Tensor, criterion: nn.Module | None, told: str | None
) -> str:
    """Return the task, one of `schema.TASKS`.

    Parameters
    ----------
    values : Tensor, shape (N, ...)
        Output of the output layer.
    target : Tensor
    criterion : Module or None
        Its type settles the kind of task where it is known.
    told : str or None
        What the user said.

    Raises
    ------
    TargetError
        Neither criterion nor shapes tell.
    """
    likely = likely_tasks(criterion, told)
    one_unit = values.numel() == values.shape[0] if values.ndim else True
    if len(likely) == 1:
        return likely[0]
    if likely:
        return BINARY if one_unit else MULTI
    whole = not target.dtype.is_floating_point
    dim = _class_dim(values, target)
    if whole and dim is not None and values.shape[dim] > 1:
        return SINGLE
    if values.numel() == target.numel():
        if whole or bool(((target == 0) | (target == 1)).all()):
            return BINARY if one_unit else MULTI
        return REGRESSION
    raise TargetError(
        f"targets of shape {_shape(target)} and dtype {_dtype(target)} do not tell the task of "
        f"outputs of shape {_shape(values)}; expected {_shape(values[..., 0])} class numbers or "
        f"{_shape(values)} numbers; pass task= to record()"
    )


@dataclass(frozen=True, slots=True)
class Labelling:
    """A task with its sizes: how outputs and targets are read.

    Attributes
    ----------
    task : str
        One of `schema.TASKS`.
    n_units : int
    classes, units : tuple of str
        As in `OutputInfo`.
    threshold : float
        Output above which a binary or multi-label unit says yes; NaN otherwise.
    ignore_index : int or None
        Class number that means "no target".
    """

    task: str
    n_units: int
    classes: tuple[str, ...]
    units: tuple[str, ...]
    threshold: float = float("nan")
    ignore_index: int | None = None

    def read(
        self, values: torch.Tensor, target: torch.Tensor
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return outputs, shape (n, n_units), float64, and targets for them.

        Targets are class numbers, shape (n,), int64, for single-label and
        binary; 0 and 1, shape (n, n_units), uint8, for multi-label; numbers,
        shape (n, n_units), float64, for regression. Targets to be ignored are
        left out.

        Raises
        ------
        TargetError
            Another shape, another number of units, or values out of range.
        """
        if self.task == SINGLE:
            rows, numbers = _class_numbers(values, target)
            self._check_units(rows)
            if self.ignore_index is not None:
                kept = numbers != self.ignore_index
                rows, numbers = rows[kept], numbers[kept]
            if numbers.size and not (numbers.min() >= 0 and numbers.max() < self.n_units):
                raise TargetError(
                    f"got class numbers from {numbers.min()} to {numbers.max()}, expected 0 to "
                    f"{self.n_units - 1} for {self.n_units} output units"
                )
            return rows, numbers
        if target.numel() != values.numel():
            raise TargetError(
                f"got targets of shape {_shape(target)}, expected {_shape(values)} as the outputs"
            )
        if self.task == BINARY:
            flags = _flags(target).reshape(-1)
            return _array(values).reshape(-1, 1), flags.astype(np.int64)
        rows = _units_last(values)
        self._check_units(rows)
        wanted = _units_last(target.reshape(values.shape))
        if self.task == MULTI:
            return rows, _flags(torch.from_numpy(wanted))
        return rows, wanted

    def _check_units(self, rows: NDArray[np.float64]) -> None:
        if rows.shape[1] != self.n_units:
            raise TargetError(
                f"got {rows.shape[1]} output units, expected {self.n_units} as in the first batch"
            )


def labelling(
    task: str,
    values: torch.Tensor,
    target: torch.Tensor,
    criterion: nn.Module | None,
    names: tuple[str, ...] | None,
    squashed: bool,
) -> Labelling:
    """Return how to read outputs like `values`.

    Parameters
    ----------
    task : str
    values, target : Tensor
        The first output and its target.
    criterion : Module or None
        Tells the threshold (0 for logits, 0.5 for probabilities) and the class
        number to ignore.
    names : tuple of str or None
        Class names that the user gave.
    squashed : bool
        The output layer is a sigmoid: its outputs are probabilities.

    Raises
    ------
    TargetError
        The number of classes given is not that of the output units.
    """
    classes: tuple[str, ...]
    units: tuple[str, ...]
    if task == BINARY:
        classes = names or ("0", "1")
        if len(classes) != 2:
            raise TargetError(f"got {len(classes)} classes, expected 2 for one output unit")
        n_units, units = 1, (classes[1],)
    else:
        if task == SINGLE:
            dim = _class_dim(values, target)
            n_units = values.numel() if values.ndim < 2 else values.shape[1 if dim is None else dim]
        else:
            n_units = _units_last(values[:0] if values.ndim else values).shape[1]
        units = tuple(str(at) for at in range(n_units))
        classes = () if task == REGRESSION else (names or units)
        if task != REGRESSION:
            units = classes
            if len(classes) != n_units:
                raise TargetError(
                    f"got {len(classes)} classes for an output of {n_units} units; "
                    "classes= must name each unit"
                )
    threshold = float("nan")
    if task in (BINARY, MULTI):
        threshold = 0.5 if squashed or isinstance(criterion, nn.BCELoss) else 0.0
    ignore = getattr(criterion, "ignore_index", None)
    return Labelling(
        task, n_units, classes, units, threshold, ignore if isinstance(ignore, int) else None
    )


def _class_dim(values: torch.Tensor, target: torch.Tensor) -> int | None:
    """Return where classes lie in outputs whose targets are class numbers; None if not told.

    Dimension 1, as PyTorch's cross entropy has it, or else the last, where targets are
    those of a sequence's steps. They may lie end to end, or have a last dimension of 1.
    """
    for dim in (1, values.ndim - 1) if values.ndim > 1 else ():
        shape = values.shape[:dim] + values.shape[dim + 1 :]
        if target.shape in (shape, (*shape, 1), (math.prod(shape),)):
            return dim
    return None


def _array(values: torch.Tensor) -> NDArray[np.float64]:
    return values.detach().to(torch.float64).numpy()


def _units_last(values: torch.Tensor) -> NDArray[np.float64]:
    """Return (n, units): dimension 1 of images, the last of everything else."""
    if values.ndim < 2:
        return _array(values).reshape(-1, 1)
    if values.ndim >= 4:
        values = values.movedim(1, -1)
    return _array(values).reshape(-1, values.shape[-1])


def _class_numbers(
    values: torch.Tensor, target: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if values.ndim == 1:  # one sample without batch dimension
        values, target = values.unsqueeze(0), target.unsqueeze(0)
    if values.ndim == 0:
        raise TargetError("got a single number as output, expected one unit for each class")
    if target.dtype.is_floating_point:
        if target.shape == values.shape:  # soft or one-hot targets
            target = target.argmax(dim=1)
        elif bool((target != target.trunc()).any()):
            raise TargetError(
                f"got {_dtype(target)} targets that are no class numbers, expected whole numbers"
            )
    dim = _class_dim(values, target)
    if dim is None:
        expected = values.shape[:1] + values.shape[2:]
        raise TargetError(
            f"got targets of shape {_shape(target)}, expected {tuple(expected)} "
            f"for outputs of shape {_shape(values)}"
        )
    rows = values.movedim(dim, -1).reshape(-1, values.shape[dim])
    return _array(rows), target.detach().reshape(-1).to(torch.int64).numpy()


def _flags(target: torch.Tensor) -> NDArray[np.uint8]:
    wanted = target.detach()
    if not bool(((wanted == 0) | (wanted == 1)).all()):
        raise TargetError(
            f"got targets from {float(wanted.min()):g} to {float(wanted.max()):g}, "
            "expected 0 and 1 alone"
        )
    return wanted.to(torch.uint8).numpy()


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
