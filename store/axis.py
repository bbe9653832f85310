"""The bin axis of a run: where one bin ends and the next begins.

One axis serves every layer, batch, rank and run, so counts add up with no
rebinning. An axis is a small value that checks itself, as in boost-histogram:
`Asinh` (the default), `Linear` and `Edges`. May import NumPy alone.

A bin is half-open, ``[left, right)``, the last one closed, exactly as
`numpy.histogram`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from actrace.errors import AxisError

__all__ = ["Asinh", "Axis", "Edges", "Linear", "axis_from_dict"]

MAX_BINS = 65_535


@dataclass(frozen=True, slots=True)
class Axis:
    """Base of the axes: `edges` and what follows from them.

    Attributes
    ----------
    edges : ndarray, shape (n_bins + 1,), float64, strictly increasing
        Bin edges, read-only.
    """

    kind: ClassVar[str] = "axis"
    edges: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    @property
    def left(self) -> NDArray[np.float64]:
        """Left edge of each bin, shape (n_bins,), float64."""
        return self.edges[:-1]

    @property
    def right(self) -> NDArray[np.float64]:
        """Right edge of each bin, shape (n_bins,), float64."""
        return self.edges[1:]

    def to_dict(self) -> dict[str, Any]:
        """Return what `axis_from_dict` rebuilds this axis from, JSON-ready."""
        raise NotImplementedError

    def _set_edges(self, edges: NDArray[np.float64]) -> None:
        if edges.ndim != 1 or len(edges) < 3:
            raise AxisError(
                f"an axis needs at least 2 bins, got {max(edges.size - 1, 0)}; give 3 or more edges"
            )
        if len(edges) - 1 > MAX_BINS:
            raise AxisError(
                f"an axis has at most {MAX_BINS} bins, got {len(edges) - 1}; use fewer, wider bins"
            )
        if not np.isfinite(edges).all():
            raise AxisError(
                "axis edges must be finite, got NaN or infinity among them; "
                "what lies outside the axis is counted as under- and overflow"
            )
        steps = np.diff(edges)
        if not (steps > 0).all():
            at = int(np.argmax(steps <= 0))
            raise AxisError(
                "axis edges must increase, got "
                f"{edges[at]:g} before {edges[at + 1]:g} at position {at}; "
                "sort them and drop repeated ones, or use fewer bins"
            )
        edges = edges.copy()
        edges.flags.writeable = False
        object.__setattr__(self, "edges", edges)


def _check_range(kind: str, start: float, stop: float, bins: int) -> None:
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise AxisError(f"{kind}: bins must be a whole number, got {bins!r}")
    if bins < 2:
        raise AxisError(f"{kind}: an axis needs at least 2 bins, got {bins}")
    if bins > MAX_BINS:
        raise AxisError(f"{kind}: an axis has at most {MAX_BINS} bins, got {bins}")
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise AxisError(f"{kind}: start and stop must be finite, got {start!r} and {stop!r}")
    if not start < stop:
        raise AxisError(f"{kind}: start must lie below stop, got {start!r} and {stop!r}")


@dataclass(frozen=True, slots=True)
class Linear(Axis):
    """Return an axis of equally wide bins between `start` and `stop`.

    Parameters
    ----------
    start, stop : float
        First and last edge, in activation units.
    bins : int
        Number of bins, 2 or more.

    Raises
    ------
    AxisError
        Fewer than 2 bins, or `start` not below `stop`.

    Examples
    --------
    >>> Linear(-10, 10, 200).n_bins
    200
    """

    kind: ClassVar[str] = "linear"
    start: float
    stop: float
    bins: int

    def __post_init__(self) -> None:
        _check_range("Linear", self.start, self.stop, self.bins)
        self._set_edges(np.linspace(self.start, self.stop, self.bins + 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready description."""
        return {
            "kind": self.kind,
            "start": float(self.start),
            "stop": float(self.stop),
            "bins": int(self.bins),
        }


@dataclass(frozen=True, slots=True)
class Asinh(Axis):
    """Return an axis that is regular in ``asinh(value / scale)``.

    Bins are linear near zero and logarithmic far from it, so no range has to
    be guessed: with the defaults a bin is 0.004 wide at zero, 0.04 at 1 and
    0.4 at 10.

    Parameters
    ----------
    start, stop : float, default -1000, 1000
        First and last edge, in activation units.
    bins : int, default 512
        Number of bins, 2 or more. An even number on a symmetric range puts an
        edge at exactly zero.
    scale : float, default 0.1
        Where the axis turns from linear to logarithmic, in activation units.

    Raises
    ------
    AxisError
        Fewer than 2 bins, `start` not below `stop`, or `scale` not positive.

    Examples
    --------
    >>> axis = Asinh()
    >>> axis.n_bins, float(axis.edges[256])
    (512, 0.0)
    """

    kind: ClassVar[str] = "asinh"
    start: float = -1000.0
    stop: float = 1000.0
    bins: int = 512
    scale: float = 0.1

    def __post_init__(self) -> None:
        _check_range("Asinh", self.start, self.stop, self.bins)
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise AxisError(f"Asinh: scale must be above 0, got {self.scale!r}")
        low, high = math.asinh(self.start / self.scale), math.asinh(self.stop / self.scale)
        edges = np.sinh(np.linspace(low, high, self.bins + 1)) * self.scale
        if self.start == -self.stop:
            # Rounding must not make the two sides differ, nor move zero.
            edges = (edges - edges[::-1]) / 2
        edges[0], edges[-1] = self.start, self.stop
        self._set_edges(edges)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready description."""
        return {
            "kind": self.kind,
            "start": float(self.start),
            "stop": float(self.stop),
            "bins": int(self.bins),
            "scale": float(self.scale),
        }


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Edges(Axis):
    """Return an axis with the edges given.

    Parameters
    ----------
    edges : sequence of float, length 3 or more, increasing
        Bin edges, in activation units.

    Raises
    ------
    AxisError
        Fewer than 2 bins, or edges that are not finite and increasing.

    Examples
    --------
    >>> Edges([-1, 0, 0.5, 4]).n_bins
    3
    """

    kind: ClassVar[str] = "edges"

    def __init__(self, edges: Sequence[float] | NDArray[Any]) -> None:
        try:
            values = np.asarray(edges, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise AxisError(f"axis edges must be numbers, got {edges!r}") from error
        self._set_edges(values)

    def __repr__(self) -> str:
        return f"Edges([{self.edges[0]:g} ... {self.edges[-1]:g}], {self.n_bins} bins)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edges) and np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash((self.kind, self.edges.tobytes()))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready description."""
        return {"kind": self.kind, "edges": [float(edge) for edge in self.edges]}


def axis_from_dict(description: Mapping[str, Any]) -> Axis:
    """Return the axis that `Axis.to_dict` described.

    Raises
    ------
    AxisError
        An unknown kind or missing numbers.
    """
    kinds: dict[str, type[Axis]] = {"linear": Linear, "asinh": Asinh, "edges": Edges}
    values = dict(description) if isinstance(description, Mapping) else {}
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise AxisError(f"unknown axis kind {kind!r}; known are {', '.join(sorted(kinds))}")
    try:
        return kinds[kind](**values)
    except TypeError as error:
        raise AxisError(f"axis {kind!r} cannot be built from {values!r}") from error
