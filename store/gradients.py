"""The gradient groups of a phase: what is in them, and what a batch gives them.

A phase has up to two, one by parameter and one by layer. They grow in lock-step
with the phase, a row a batch; a group begins with the first batch that had a
gradient, and rows before and between hold no elements. May import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actrace.store.axis import Asinh, Axis, axis_from_dict
from actrace.store.schema import (
    GRADIENT_COUNTERS,
    GRADIENT_GROUP,
    GRADIENT_MOMENTS,
    Variable,
    gradient_variables,
)

__all__ = [
    "GRADIENT_AXIS",
    "GradientInfo",
    "GradientRow",
    "ParameterInfo",
    "gradient_attributes",
    "gradient_values",
    "growing_variables",
    "info_from",
]

#: Gradients are small and span many powers of ten: from the scale, at which a
#: bin is 1e-9 wide, to 1000 a bin is about a tenth of its value wide.
GRADIENT_AXIS: Final = Asinh(-1000.0, 1000.0, 512, 1e-8)

_COUNTER_NAMES: Final = tuple(variable.name for variable in GRADIENT_COUNTERS)
_MOMENT_NAMES: Final = tuple(variable.name for variable in GRADIENT_MOMENTS)


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One row of the parameter dimension.

    Attributes
    ----------
    name : str
        Name in the model (``conv1.weight``).
    shape : tuple of int
        Empty for a parameter of one number.
    """

    name: str
    shape: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """Numbers in the parameter."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GradientInfo:
    """What the gradient groups of a run are about.

    Attributes
    ----------
    parameters : tuple of ParameterInfo
    sharded : bool
        Each rank recorded its own shard of the gradients, not all of them.
    outputs : bool
        Gradients of the layers' outputs are recorded besides.
    axis : Axis
    """

    parameters: tuple[ParameterInfo, ...]
    sharded: bool = False
    outputs: bool = False
    axis: Axis = GRADIENT_AXIS


@dataclass(slots=True)
class GradientRow:
    """The statistics of one batch's gradients, by parameter or by layer.

    Attributes
    ----------
    count : ndarray, shape (n, n_bins), uint64
    counters : ndarray, shape (len(schema.GRADIENT_COUNTERS), n), uint64
    moments : ndarray, shape (len(schema.GRADIENT_MOMENTS), n), float64
    scale : float
        Loss scale that the values were divided by, NaN where none was seen.
    seen : bool
        The batch had a gradient.
    """

    count: NDArray[np.uint64]
    counters: NDArray[np.uint64]
    moments: NDArray[np.float64]
    scale: float = float("nan")
    seen: bool = False

    @classmethod
    def empty(cls, n: int, n_bins: int) -> GradientRow:
        """Return a row without a gradient."""
        return cls(
            count=np.zeros((n, n_bins), np.uint64),
            counters=np.zeros((len(GRADIENT_COUNTERS), n), np.uint64),
            moments=np.full((len(GRADIENT_MOMENTS), n), np.nan),
        )

    def take(
        self,
        count: NDArray[Any],
        counters: NDArray[Any],
        moments: NDArray[np.float64],
        scale: float,
    ) -> None:
        """Hold a copy of these from now on; of `counters` as many as a gradient has."""
        np.copyto(self.count, count, casting="unsafe")
        np.copyto(self.counters, counters[: len(self.counters)], casting="unsafe")
        np.copyto(self.moments, moments)
        self.scale, self.seen = scale, True


def gradient_values(rows: Sequence[GradientRow]) -> dict[str, NDArray[Any]]:
    """Return variable -> values of some batches of a gradient group, batch first."""
    values: dict[str, NDArray[Any]] = {
        "count": np.stack([row.count for row in rows]),
        "gradient_scale": np.array([row.scale for row in rows]),
    }
    values |= zip(_COUNTER_NAMES, np.stack([row.counters for row in rows], 1), strict=True)
    values |= zip(_MOMENT_NAMES, np.stack([row.moments for row in rows], 1), strict=True)
    return values


def growing_variables(group: str) -> dict[str, Variable]:
    """Return the growing variables of a gradient group by name."""
    return {v.name: v for v in gradient_variables(group) if v.dims[-1] == "batch"}


def gradient_attributes(group: str, info: GradientInfo) -> dict[str, Any]:
    """Return the attributes of a gradient group."""
    coordinates = [v.name for v in gradient_variables(group) if v.dims[-1] != "batch"]
    attributes: dict[str, Any] = {"axis": info.axis.to_dict()}
    if group == GRADIENT_GROUP:
        attributes["gradients"] = "sharded" if info.sharded else "whole"
        coordinates.remove("parameter")
    attributes["coordinates"] = " ".join(coordinates)
    return attributes


def info_from(
    names: Iterable[str], shapes: Iterable[str], attributes: Mapping[str, Any]
) -> GradientInfo:
    """Return what a group's lists and attributes say.

    Raises
    ------
    AxisError, ValueError
        They say what no writer writes.
    """
    return GradientInfo(
        tuple(
            ParameterInfo(name, tuple(int(n) for n in shape.split("x") if n))
            for name, shape in zip(names, shapes, strict=True)
        ),
        sharded=attributes.get("gradients") == "sharded",
        axis=axis_from_dict(attributes.get("axis") or {}),
    )
