"""Which layers and bins several runs have in common. Imports NumPy and xarray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from actrace.analysis import select
from actrace.errors import AxisError, ComparisonError
from actrace.store.names import listed

__all__ = ["CommonBins", "MatchedLayers", "common_bins", "match_layers", "of_layers"]

#: Share of the narrowest bin by which edges that are the same may differ.
_ROUNDING: Final = 1e-6
#: What a layer is, beside its name.
_KINDS: Final = ("layer_type", "layer_shape", "layer_units")


@dataclass(frozen=True, slots=True)
class MatchedLayers:
    """The baseline's layers, and how each run's differ from them.

    Attributes
    ----------
    names : tuple of str
        Of the baseline's layers that are compared, in the order of their first call.
    missing : dict of str to tuple of str
        Run -> those that it lacks.
    added : dict of str to tuple of str
        Run -> layers that the baseline lacks.
    changed : dict of str to dict of str to str
        Run -> layer -> what differs, as ``layer_shape 8x8 -> 8x4``.
    """

    names: tuple[str, ...]
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    added: dict[str, tuple[str, ...]] = field(default_factory=dict)
    changed: dict[str, dict[str, str]] = field(default_factory=dict)


def match_layers(
    runs: Mapping[str, xr.DataTree], baseline: str, layers: str | Iterable[str] | None = None
) -> MatchedLayers:
    """Return the baseline's layers, matched by name with those of the other runs.

    Parameters
    ----------
    runs : dict of str to DataTree
    baseline : str
        One of their names.
    layers : str or iterable of str, optional
        Names or patterns of the baseline's layers; all when left out.

    Raises
    ------
    LayerNotFoundError
        The baseline has no such layer.
    ComparisonError
        A run has none of them.
    """
    first = runs[baseline]
    names = np.array(select.layer_names(first))
    chosen = select.select_layers(first, layers)
    order = of_layers(first, "layer_order", names[chosen], -1).astype(np.int64)
    # Layers that were never called come last.
    called = np.where(order < 0, np.iinfo(np.int64).max, order)
    found = MatchedLayers(tuple(names[chosen][np.argsort(called, kind="stable")].tolist()))
    for name, run in runs.items():
        if name == baseline:
            continue
        mine = select.layer_names(run)
        both = [layer for layer in found.names if layer in set(mine)]
        if not both:
            raise ComparisonError(
                f"run {name!r} has none of the layers of {baseline!r}: it has {listed(mine)}, and "
                f"{listed(found.names)} were expected; layers are matched by name"
            )
        if len(both) < len(found.names):
            found.missing[name] = tuple(x for x in found.names if x not in set(both))
        if extra := tuple(layer for layer in mine if layer not in set(names.tolist())):
            found.added[name] = extra
        if changes := _changes(first, run, both):
            found.changed[name] = changes
    return found


def _changes(first: xr.DataTree, other: xr.DataTree, names: list[str]) -> dict[str, str]:
    told: dict[str, list[str]] = {}
    for kind in _KINDS:
        was, now = (of_layers(run, kind, np.array(names), "") for run in (first, other))
        for layer, a, b in zip(names, was.tolist(), now.tolist(), strict=True):
            if a != b:
                told.setdefault(layer, []).append(f"{kind} {a or '-'} -> {b or '-'}")
    return {layer: ", ".join(words) for layer, words in told.items()}


def of_layers(run: xr.DataTree, kind: str, names: NDArray[Any], otherwise: Any) -> NDArray[Any]:
    """Return what a variable of the run's root says of these of its layers.

    Parameters
    ----------
    run : DataTree
    kind : str
        The variable, as ``layer_units``.
    names : ndarray of str
    otherwise : scalar
        What stands where the run has no such variable.
    """
    if kind not in run.variables:
        return np.full(len(names), otherwise)
    have = list(select.layer_names(run))
    values: NDArray[Any] = run.dataset[kind].to_numpy()[[have.index(str(name)) for name in names]]
    return values


@dataclass(frozen=True, slots=True)
class CommonBins:
    """The bins that the counts of all runs can be given in exactly.

    Attributes
    ----------
    edges : ndarray, shape (n_bins + 1,), float64
    joins : dict of str to ndarray of int64, or None
        Run -> index of its first cell (under- and overflow are cells of their own)
        of each common cell; None where its bins are the common ones.
    """

    edges: NDArray[np.float64]
    joins: dict[str, NDArray[np.int64] | None]


def common_bins(runs: Mapping[str, xr.DataTree]) -> CommonBins:
    """Return the coarsest of the runs' axes, if all others refine it.

    Counts on a finer axis add up to those on a coarser one whose edges are among its
    own, with no loss but that an element exactly on the last edge of the coarser one
    is counted as overflow. Anything else would have to spread the mass of a bin over
    others, and would show distances that are not there.

    Raises
    ------
    AxisError
        No run's edges are among those of every other.
    """
    edges = {name: select.bin_edges(run) for name, run in runs.items()}
    coarsest = min(edges.values(), key=len)
    joins: dict[str, NDArray[np.int64] | None] = {}
    for name, own in edges.items():
        if np.array_equal(own, coarsest):
            joins[name] = None
            continue
        # Edges made by different steps differ in their last digits.
        slack = _ROUNDING * min(np.diff(own).min(), np.diff(coarsest).min())
        at = np.searchsorted(own, coarsest - slack)
        if at[-1] >= len(own) or (np.abs(own[at] - coarsest) > slack).any():
            other = next(k for k, v in edges.items() if v is coarsest)
            raise AxisError(
                f"the bins of runs {other!r} and {name!r} do not fit: {_words(coarsest)} and "
                f"{_words(own)}; compare runs of one axis, or of axes of which one has all the "
                "edges of the other"
            )
        joins[name] = np.concatenate([[0], at + 1]).astype(np.int64)
    return CommonBins(coarsest, joins)


def _words(edges: NDArray[np.float64]) -> str:
    return f"{len(edges) - 1} bins from {edges[0]:g} to {edges[-1]:g}"
